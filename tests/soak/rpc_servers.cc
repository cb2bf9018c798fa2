#include "tests/soak/rpc_servers.h"

#include <grpcpp/support/status_code_enum.h>

#include <iterator>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "tests/interceptors/status_details.h"
#include "tests/testing/echo.pb.h"

namespace forbear::soak {

using ::forbear::testing::EchoMessage;
using ::forbear::testing::GrpcReply;
using ::forbear::testing::GrpcRequest;
using ::forbear::testing::GrpcServer;
using ::grpc::StatusCode;

RpcServers::RpcServers(int count, uint64_t seed, Ledger* ledger, bool bad_bytes)
    : ledger_(ledger), bad_bytes_(bad_bytes) {
  for (int i = 0; i < count; ++i) {
    GrpcServer::Options options;
    options.log.max_kept = 16;
    options.log.max_body_copy = 0;
    all_.push_back(std::make_unique<One>(seed + i));
    One* const one = all_.back().get();
    one->server = std::move(*GrpcServer::Create(options));
    one->server->SetHandler([this, one](const GrpcRequest& request) {
      return Answer(one, request);
    });
  }
}

std::string RpcServers::Any(Dice* dice) const {
  return all_[dice->Below(all_.size())]->server->address();
}

void RpcServers::Stir(Weather* weather) {
  One& one = *all_[weather->Which(all_.size())];
  weather->Change(one.server.get(), &one.good_percent);
}

GrpcReply RpcServers::Bad(Dice* dice, const std::string& good) {
  static constexpr StatusCode kCodes[] = {StatusCode::RESOURCE_EXHAUSTED,
                                          StatusCode::RESOURCE_EXHAUSTED,
                                          StatusCode::RESOURCE_EXHAUSTED,
                                          StatusCode::UNAVAILABLE,
                                          StatusCode::UNAVAILABLE,
                                          StatusCode::UNAVAILABLE,
                                          StatusCode::ABORTED,
                                          StatusCode::INTERNAL,
                                          StatusCode::UNKNOWN,
                                          StatusCode::NOT_FOUND,
                                          StatusCode::DEADLINE_EXCEEDED,
                                          StatusCode::PERMISSION_DENIED};
  if (dice->One(30)) return GrpcReply::Hang();
  GrpcReply reply =
      GrpcReply::Error(kCodes[dice->Below(std::size(kCodes))], "no");
  switch (dice->Below(10)) {
    case 0:
    case 1:
      reply = reply.Pushback(absl::StrCat(dice->Below(30)));
      break;
    case 2:
      if (dice->One(4)) reply = reply.Pushback("-1");
      break;
    case 3:
      reply = reply.WithDetails(rpc::RetryInfoBytes(dice->Millis(0, 20)));
      break;
    case 4:
      if (dice->One(2)) reply = reply.WithDetails("what is this?");
      break;
    case 5:
      reply = reply.HeadersFirst();
      break;
    case 6:
      if (dice->One(3)) reply.response = good;  // and an error after it
      break;
    default:
      break;
  }
  return reply;
}

GrpcReply RpcServers::Answer(One* one, const GrpcRequest& request) {
  const auto mark = request.metadata.find("x-soak");
  const std::vector<std::string> parts =
      absl::StrSplit(mark == request.metadata.end() ? "" : mark->second, '/');
  uint64_t id = 0;
  size_t size = 0;
  EchoMessage message;
  if (parts.size() != 3 || !absl::SimpleAtoi(parts[0], &id) ||
      !absl::SimpleAtoi(parts[1], &size) ||
      !message.ParseFromString(request.bytes)) {
    ledger_->Fault(absl::StrCat("a call of ", request.method, " came with ",
                                mark == request.metadata.end()
                                    ? std::string("no mark")
                                    : mark->second));
    return GrpcReply::Error(StatusCode::INVALID_ARGUMENT);
  }
  if (message.payload() !=
      KnownBytes(id + 1, static_cast<size_t>(message.n()))) {
    ledger_->Fault(absl::StrCat("the request of call ", id, " is not whole"));
  }
  message.set_payload(std::string(KnownBytes(id, size)));
  GrpcReply reply;
  {
    const std::lock_guard<std::mutex> lock(one->mutex);
    Dice& dice = one->dice;
    if (static_cast<int>(dice.Below(100)) < one->good_percent) {
      if (bad_bytes_ && dice.One(200)) message.set_payload("not this");
      reply = GrpcReply::Ok(message.SerializeAsString());
    } else {
      reply = Bad(&dice, message.SerializeAsString());
    }
    if (dice.One(5)) reply = reply.After(dice.Millis(0, 30));
  }
  const bool acted = reply.code != StatusCode::RESOURCE_EXHAUSTED;
  Note(id, reply.hang ? "hang" : absl::StrCat(int{reply.code}));
  if (!ledger_->Arrived(id, parts[2] == "s", acted)) {
    ledger_->Fault(absl::StrCat(
        "call ", id,
        " may be acted upon once, was, and came again:", HistoryOf(id)));
  }
  return reply;
}

void RpcServers::Note(uint64_t id, std::string text) {
  const std::lock_guard<std::mutex> lock(mutex_);
  last_.emplace_back(id, std::move(text));
  if (last_.size() > kNoted) last_.pop_front();
}

std::string RpcServers::HistoryOf(uint64_t id) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::string text;
  for (const auto& [of, what] : last_) {
    if (of == id) absl::StrAppend(&text, " ", what);
  }
  return text;
}

}  // namespace forbear::soak
