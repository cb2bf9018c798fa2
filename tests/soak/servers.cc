#include "tests/soak/servers.h"

#include <iterator>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "tests/testing/fault.h"

namespace forbear::soak {

using ::forbear::testing::HttpRequest;
using ::forbear::testing::HttpServer;
using ::forbear::testing::Reply;

absl::string_view ErrorBody(uint64_t id, int status) {
  return KnownBytes(id * 31 + status, 1 + (id * 7 + status) % 600);
}

Servers::Servers(int count, uint64_t seed, Ledger* ledger, bool bad_bytes)
    : ledger_(ledger), bad_bytes_(bad_bytes) {
  for (int i = 0; i < count; ++i) {
    HttpServer::Options options;
    options.log.max_kept = 16;
    options.log.max_body_copy = 0;
    all_.push_back(std::make_unique<One>(
        seed + i, std::move(*HttpServer::Create(options))));
    One* const one = all_.back().get();
    one->server->SetHandler([this, one](const HttpRequest& request) {
      return Answer(one, request);
    });
  }
}

std::string Servers::Any(Dice* dice) const {
  return all_[dice->Below(all_.size())]->server->Url("");
}

void Servers::Stir(Weather* weather) {
  One& one = *all_[weather->Which(all_.size())];
  weather->Change(one.server.get(), &one.good_percent);
}

Reply Servers::Bad(Dice* dice, uint64_t id, size_t size,
                   absl::string_view flags, bool* acted) {
  const std::string whole(KnownBytes(id, 2000));
  const size_t part = dice->Below(whole.size());
  switch (dice->Below(12)) {
    case 0:
      return Reply::ResetBeforeHead().After(dice->Millis(0, 5));
    case 1:
      return Reply::CloseAfterRead();
    case 2: {
      Reply reply = Reply::CloseAfterRead().OnlyOnReusedConnection();
      reply.body = std::string(KnownBytes(id, size));
      return reply;
    }
    case 3:
      return dice->One(3) ? Reply::Hang() : Reply::ResetBeforeHead();
    case 4:
      return Reply::Truncate(whole, part);
    case 5:
      return Reply::ResetMidBody(whole, part);
    case 6:
      if (dice->One(4)) return Reply::Raw("what is this?\r\n\r\n");
      break;
    default:
      break;
  }
  static constexpr int kStatuses[] = {429, 429, 429, 429, 503, 503, 500, 502,
                                      504, 529, 408, 425, 404, 401, 400};
  const int status = kStatuses[dice->Below(std::size(kStatuses))];
  *acted = status != 429 && status != 425;
  Reply reply = Reply::Of(status, absl::StrContains(flags, 'z')
                                      ? std::string()
                                      : std::string(ErrorBody(id, status)));
  if ((status == 429 || status == 503) && dice->One(2)) {
    reply = reply.With("Retry-After", dice->One(300) ? "1" : "0");
  }
  if (dice->One(10)) reply = reply.BodyAfter(dice->Millis(1, 60));
  if (dice->One(10)) reply = reply.InPieces(100, dice->Millis(0, 5));
  return reply;
}

Reply Servers::Answer(One* one, const HttpRequest& request) {
  Dice& dice = one->dice;
  const std::vector<absl::string_view> parts =
      absl::StrSplit(request.path, '/');
  uint64_t id = 0;
  size_t size = 0;
  size_t body = 0;
  int hop = 0;
  if (parts.size() != 7 || !absl::SimpleAtoi(parts[2], &id) ||
      !absl::SimpleAtoi(parts[3], &size) ||
      !absl::SimpleAtoi(parts[4], &body) || !absl::SimpleAtoi(parts[6], &hop)) {
    ledger_->Fault(absl::StrCat("a request came for ", request.path));
    return Reply::Of(400);
  }
  const absl::string_view flags = parts[5];
  bool acted = true;
  Reply reply;
  if (absl::StrContains(flags, 'r') && hop < 2 && dice.One(hop == 0 ? 2 : 8)) {
    static constexpr int kStatuses[] = {302, 303, 307, 307, 308};
    const int status = kStatuses[dice.Below(std::size(kStatuses))];
    // The same request is asked for elsewhere: nothing was done with it here.
    acted = status < 307;
    reply = Reply::Of(status, std::string(ErrorBody(id, status)))
                .With("Location", absl::StrCat("/t/", id, "/", size, "/", body,
                                               "/", flags, "/", hop + 1));
    if (dice.One(20)) reply = reply.ThenClose();
  } else if (static_cast<int>(dice.Below(100)) < one->good_percent) {
    reply = Reply::Of(200, std::string(KnownBytes(id, size)));
    if (bad_bytes_ && size > 0 && dice.One(20)) reply.body[size / 2] ^= 1;
    if (dice.One(4)) reply = reply.Chunked();
    if (dice.One(6)) reply = reply.After(dice.Millis(0, 30));
    if (dice.One(20)) reply = reply.BodyAfter(dice.Millis(0, 30));
    if (dice.One(10)) {
      reply = reply.InPieces(1 + size / dice.Between(2, 12), dice.Millis(0, 6));
    }
    if (dice.One(30)) reply = reply.ThenClose();
  } else {
    reply = Bad(&dice, id, size, flags, &acted);
    if (dice.One(20)) reply = reply.ThenClose();
  }
  Note(id,
       absl::StrCat(request.method, " hop ", hop, " with ", request.body.size(),
                    " bytes, number ", request.index_on_connection,
                    " on connection ", request.connection_id, " of ",
                    one->server->port(), ": ", reply.status, ", fault ",
                    testing::FaultName(reply.fault)));
  if (request.method == "POST" || request.method == "PUT") {
    const absl::string_view sent = KnownBytes(id + 1, body);
    if (absl::StrContains(flags, 'm') ? !absl::StrContains(request.body, sent)
                                      : request.body != sent) {
      ledger_->Fault(absl::StrCat("the body of transfer ", id, " came with ",
                                  request.body.size(), " bytes, not the ", body,
                                  " that were sent: ", HistoryOf(id)));
    }
  }
  // What a 302 or a 303 makes of a POST is a GET, which may come again.
  const bool strict = absl::StrContains(flags, 's') &&
                      request.method == "POST" &&
                      request.headers.count("idempotency-key") == 0;
  if (!ledger_->Arrived(id, strict, acted)) {
    ledger_->Fault(absl::StrCat("transfer ", id, ", flags ", flags,
                                ", came again: ", HistoryOf(id)));
  }
  return reply;
}

void Servers::Note(uint64_t id, std::string text) {
  std::lock_guard<std::mutex> lock(mutex_);
  last_.emplace_back(id, std::move(text));
  if (last_.size() > kNoted) last_.pop_front();
}

std::string Servers::HistoryOf(uint64_t id) const {
  std::lock_guard<std::mutex> lock(mutex_);
  std::string text;
  for (const auto& [of, line] : last_) {
    if (of == id) absl::StrAppend(&text, "\n    ", line);
  }
  return text;
}

}  // namespace forbear::soak
