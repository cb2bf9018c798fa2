#include "tests/soak/rpc_servers.h"

#include <grpcpp/support/status_code_enum.h>

#include <optional>

#include "absl/strings/str_cat.h"
#include "tests/interceptors/status_details.h"
#include "tests/testing/echo.pb.h"

namespace forbear::soak {

using ::forbear::testing::EchoMessage;
using ::forbear::testing::GrpcReply;
using ::forbear::testing::GrpcRequest;
using ::forbear::testing::GrpcServer;
using ::grpc::StatusCode;

RpcServers::RpcServers(int count, uint64_t seed, RpcDoor* door, bool bad_bytes)
    : door_(door), bad_bytes_(bad_bytes) {
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
  if (dice->One(30)) return GrpcReply::Hang();
  GrpcReply reply = GrpcReply::Error(RandomBadCode(dice), "no");
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
  const std::optional<RpcMark> mark =
      door_->Read(request.method, request.metadata);
  if (!mark) return GrpcReply::Error(StatusCode::INVALID_ARGUMENT);
  EchoMessage message;
  if (!message.ParseFromString(request.bytes) ||
      message.payload() !=
          KnownBytes(mark->id + 1, static_cast<size_t>(message.n()))) {
    door_->ledger()->Fault(
        absl::StrCat("the request of call ", mark->id, " is not whole"));
  }
  message.set_payload(std::string(KnownBytes(mark->id, mark->size)));
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
  door_->Arrived(*mark, acted,
                 reply.hang ? "hang" : absl::StrCat(int{reply.code}));
  return reply;
}

}  // namespace forbear::soak
