#include "tests/soak/stream_servers.h"

#include <grpcpp/support/status_code_enum.h>

#include <algorithm>
#include <optional>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "tests/interceptors/status_details.h"

namespace forbear::soak {

using ::forbear::rpc::SeenStream;
using ::forbear::rpc::StreamPlay;
using ::forbear::rpc::StreamServer;
using ::grpc::StatusCode;

namespace {

constexpr char kMethod[] = "Pull, Push or Chat";

// As Weather wants it: one that does not start again ends the program.
struct Restartable {
  StreamServer* const server;
  void Stop() const { server->Stop(); }
  absl::Status Start() const {
    server->Start();
    return absl::OkStatus();
  }
};

bool IsMessage(const std::string& text, uint64_t id, size_t i) {
  const std::string begin = StreamMessage(id, i, 0);
  return text.size() >= begin.size() &&
         text.size() - begin.size() <= kMostBytes &&
         text == StreamMessage(id, i, text.size() - begin.size());
}

}  // namespace

std::string StreamMessage(uint64_t id, size_t i, size_t n) {
  return absl::StrCat(id, "/", i, "/", KnownBytes(id + i, n));
}

StreamServers::StreamServers(int count, uint64_t seed, RpcDoor* door,
                             bool stutters)
    : door_(door), stutters_(stutters) {
  for (int i = 0; i < count; ++i) {
    all_.push_back(std::make_unique<One>(seed + i));
    One* const one = all_.back().get();
    one->server = std::make_unique<StreamServer>();
    one->server->SetPlayer(
        [this, one](const SeenStream& seen) { return Play(one, seen); },
        [this](const SeenStream& seen) { CheckHeard(seen); });
  }
}

std::string StreamServers::Any(Dice* dice) const {
  return all_[dice->Below(all_.size())]->server->address();
}

void StreamServers::Stir(Weather* weather) {
  One& one = *all_[weather->Which(all_.size())];
  Restartable server{one.server.get()};
  weather->Change(&server, &one.good_percent);
}

StreamPlay StreamServers::Bad(Dice* dice, size_t messages) {
  StreamPlay play = StreamPlay::Fails(RandomBadCode(dice));
  if (dice->One(3)) play.after = static_cast<int>(dice->Below(messages + 1));
  switch (dice->Below(12)) {
    case 0:
      play.hang = true;
      break;
    case 1:
      play.reset = true;
      break;
    case 2:
    case 3:
      play.pushback = absl::StrCat(dice->Below(30));
      break;
    case 4:
      if (dice->One(4)) play.pushback = "-1";
      break;
    case 5:
      play.details = rpc::RetryInfoBytes(dice->Millis(0, 20));
      break;
    case 6:
      if (dice->One(2)) play.details = "what is this?";
      break;
    default:
      break;
  }
  return play;
}

StreamPlay StreamServers::Play(One* one, const SeenStream& seen) {
  const std::optional<RpcMark> mark = door_->Read(kMethod, seen.metadata);
  if (!mark) return StreamPlay::Fails(StatusCode::INVALID_ARGUMENT);
  StreamPlay play;
  absl::Duration delay;
  {
    const std::lock_guard<std::mutex> lock(one->mutex);
    Dice& dice = one->dice;
    if (static_cast<int>(dice.Below(100)) < one->good_percent) {
      play = StreamPlay::Good().Count(static_cast<int>(mark->size));
    } else {
      play = Bad(&dice, mark->size);
    }
    play.head = dice.One(5);
    play.stutters = stutters_ && dice.One(50);
    if (dice.One(5)) delay = dice.Millis(0, 30);
  }
  const bool acted =
      play.code != StatusCode::RESOURCE_EXHAUSTED || play.hang || play.reset;
  door_->Arrived(*mark, acted,
                 absl::StrCat(play.hang    ? "hang"
                              : play.reset ? "reset"
                                           : absl::StrCat(int{play.code}),
                              play.head ? "+head" : "", "@", play.after));
  if (delay > absl::ZeroDuration()) never_.WaitFor(delay);
  return play;
}

void StreamServers::CheckHeard(const SeenStream& seen) {
  const std::optional<RpcMark> mark = door_->Read(kMethod, seen.metadata);
  if (!mark) return;
  const size_t most = std::max<size_t>(mark->size, 1);
  for (size_t i = 0; i < seen.payloads.size(); ++i) {
    if (i < most && IsMessage(seen.payloads[i], mark->id, i)) continue;
    door_->ledger()->Fault(
        absl::StrCat("message ", i, " of ", most, " that was heard of call ",
                     mark->id, " is not the one that was sent: it begins with ",
                     absl::CEscape(seen.payloads[i].substr(0, 20))));
    return;
  }
}

}  // namespace forbear::soak
