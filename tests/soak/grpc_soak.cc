// grpc_soak: everything that Forbear does over gRPC, all at once, for minutes, against
// servers that answer anything; and what must be true is checked all the time.
//
//   grpc_soak [--minutes 20] [--seed N] [--plant WORD]
//
// --plant puts a fault of that kind in, and is content only if it is found:
//   report    a call that is reported twice
//   sends     a record that has a send less than there were
//   fd        descriptors that stay open
//   body, answers      servers: an answer that is not whole; a message of a stream twice
//   requests  a stream that leaves its first message out
//   strict, hedges, again    what may be acted upon once is sent again, as if that were
//             harmless: unary calls by retries, by hedges; streams
//
// Calls by each of gRPC's unary APIs, hedged or not, and streams of each shape by each
// of its APIs; some of them cancelled by other threads at any moment, some started from
// another one's end, some abandoned; channels that come and go under them; servers that
// stop and start again; one that speaks HTTP/2 by hand (GOAWAY, RST_STREAM). What is
// checked: each call ends once; answers and requests are whole, and of a stream's
// messages there come and go as many as there should, none twice; what may be acted
// upon once does not come again after it was; a record's attempts are those that came;
// each call is made again from its record; at the end there are as many descriptors and
// threads as at the beginning, and memory has not grown. Leaks are the address
// sanitizer's to find (./dev soak).
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <deque>
#include <functional>
#include <iterator>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "runtime/client.h"
#include "tests/interceptors/raw_http2_server.h"
#include "tests/soak/checked_rpc.h"
#include "tests/soak/dice.h"
#include "tests/soak/frame.h"
#include "tests/soak/ledger.h"
#include "tests/soak/pace.h"
#include "tests/soak/rpc_call.h"
#include "tests/soak/rpc_door.h"
#include "tests/soak/rpc_servers.h"
#include "tests/soak/rpc_session.h"
#include "tests/soak/rpc_stream.h"
#include "tests/soak/stop_sign.h"
#include "tests/soak/stream_servers.h"
#include "tests/soak/weather.h"
#include "tests/testing/grpc_library.h"

namespace forbear::soak {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kMostPerSecond = 1500;
constexpr int kMostInFlight = 300;

constexpr int kStreamers = 8;
constexpr int kStreamsAtOnce = 8;  // of each

// gRPC's own threads that stay: there are the more of them the more there was to do,
// and fewer when it likes.
const char* const kPools[] = {"default-executo", "event_engine",
                              "grpc_global_tim", "grpcpp_sync_ser",
                              "resolver-execut", "timer_manager"};

// Sessions that nobody uses any more, until they may end and a thread that may do so
// destroys them.
class Graveyard {
 public:
  ~Graveyard() { EmptyAll(); }

  std::shared_ptr<RpcSession> Session(std::shared_ptr<Client> client,
                                      const std::string& address, Dice* dice) {
    return std::shared_ptr<RpcSession>(
        new RpcSession(std::move(client), address, dice),
        [this](RpcSession* session) {
          const std::lock_guard<std::mutex> lock(mutex_);
          dead_.push_back({std::unique_ptr<RpcSession>(session),
                           std::chrono::system_clock::now() + kLongest});
        });
  }

  // Those that may end. Not on a thread of gRPC's.
  void Empty() {
    std::vector<Dead> ending;
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto now = std::chrono::system_clock::now();
    const auto first =
        std::partition(dead_.begin(), dead_.end(), [now](const Dead& dead) {
          return now < dead.until && !dead.session->MayEnd();
        });
    std::move(first, dead_.end(), std::back_inserter(ending));
    dead_.erase(first, dead_.end());
  }
  // All, when they may.
  void EmptyAll() {
    std::vector<Dead> ending;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      ending.swap(dead_);
    }
    for (const Dead& dead : ending) dead.session->WaitToEnd(dead.until);
  }

 private:
  // One whose server is gone for good never gets ready.
  static constexpr auto kLongest = std::chrono::seconds(5);

  struct Dead {
    std::unique_ptr<RpcSession> session;
    std::chrono::system_clock::time_point
        until;  // it may end then at the latest
  };

  std::mutex mutex_;
  std::vector<Dead> dead_;
};

// --- What all ways share. ---

class World {
 public:
  explicit World(const Flags& flags)
      : seed(flags.seed),
        plant(flags.plant),
        ledger(MostCalls(flags, kMostPerSecond)),
        door(&ledger),
        servers(3, seed + 1000, &door, plant == "body"),
        streams(3, seed + 2000, &door, plant == "answers"),
        reader_([this] { ReadQueue(); }) {
    Dice dice(seed);
    ClientOptions options;
    options.retry = RandomRpcClient(&dice).retry;
    RandomShared(&dice, &options);
    shared = *Client::Create(options);
  }
  ~World() { Close(); }

  // All calls have ended; no more may be started.
  void Close() {
    if (!reader_.joinable()) return;
    in_flight.WaitForNone();
    queue_.Shutdown();
    reader_.join();
    graveyard.EmptyAll();
  }

  // Starts a call. Null: not now.
  std::shared_ptr<RpcCall> StartOne(const std::shared_ptr<RpcSession>& session,
                                    RpcCall::Way way, Dice* dice) {
    const uint64_t id = NextId();
    if (id == 0) return nullptr;
    auto call = std::make_shared<RpcCall>(id, way, session,
                                          Books(/*known=*/true), dice);
    const bool chains = dice->One(8);
    in_flight.Add();
    call->Start(&queue_, [this, session, chains, id] {
      // Another one, from the end of this one: on a callback thread, as a rule.
      if (chains && !stopping) {
        Dice own(seed ^ id);
        StartOne(session, Async(&own), &own);
      }
      in_flight.Remove();
    });
    return call;
  }
  CheckedRpc::Books Books(bool known) {
    return {&ledger, &played, known ? &door : nullptr, plant};
  }
  static RpcCall::Way Async(Dice* dice) {
    return static_cast<RpcCall::Way>(1 + dice->Below(RpcCall::kWays - 1));
  }
  std::shared_ptr<Client> AClient(Dice* dice) const {
    return dice->One(2) ? shared : *Client::Create(RandomRpcClient(dice));
  }
  // Starts a stream. Null: not now.
  std::shared_ptr<RpcStream> StartStream(
      const std::shared_ptr<RpcSession>& session, bool known, Dice* dice) {
    const uint64_t id = NextId();
    if (id == 0) return nullptr;
    auto stream = std::make_shared<RpcStream>(id, session, Books(known), dice);
    stream->Start();
    return stream;
  }
  // For Weather.
  void Stir(Weather* weather) {
    if (weather->Which(2) == 0) {
      servers.Stir(weather);
    } else {
      streams.Stir(weather);
    }
  }
  void PrintPlayed() const {
    const auto number = [](const std::atomic<uint64_t>& n) {
      return static_cast<unsigned long>(n);
    };
    printf(
        "streams %lu, of which sent again %lu, abandoned %lu; hedges %lu, of "
        "which won %lu\n",
        number(played.streams), number(played.sent_again),
        number(played.abandoned), number(played.hedges),
        number(played.hedges_won));
  }
  // A number for another call; 0: not now.
  uint64_t NextId() { return pace_.Take() ? ledger.Begin() : 0; }

  const uint64_t seed;
  const std::string plant;
  StopSign stopping;
  Tally in_flight;
  Ledger ledger;
  CheckedRpc::Played played;
  RpcDoor door;
  RpcServers servers;
  StreamServers streams;
  std::shared_ptr<Client> shared;
  Graveyard graveyard;

 private:
  void ReadQueue() {
    void* tag = nullptr;
    bool ok = false;
    while (queue_.Next(&tag, &ok)) RpcCall::Finished(tag);
  }

  Pace pace_{kMostPerSecond};
  grpc::CompletionQueue queue_;
  std::thread reader_;
};

// Where those who start calls find a channel.
class Slot {
 public:
  // Null: there is none.
  std::shared_ptr<RpcSession> Get() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return session_;
  }
  void Set(std::shared_ptr<RpcSession> session) {
    const std::lock_guard<std::mutex> lock(mutex_);
    session_.swap(session);
  }

 private:
  std::mutex mutex_;
  std::shared_ptr<RpcSession> session_;
};

// Calls that others may cancel.
class Targets {
 public:
  void Add(std::weak_ptr<CheckedRpc> call) {
    const std::lock_guard<std::mutex> lock(mutex_);
    calls_.push_back(std::move(call));
    if (calls_.size() > 300) calls_.pop_front();
  }
  std::shared_ptr<CheckedRpc> Any(Dice* dice) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (calls_.empty()) return nullptr;
    return calls_[dice->Below(calls_.size())].lock();
  }

 private:
  std::mutex mutex_;
  std::deque<std::weak_ptr<CheckedRpc>> calls_;
};

// Makes a channel to one of `servers`, and drops it under those who use it, again and
// again.
template <typename Servers>
void Keeper(World* world, const Servers& servers, Slot* slot, uint64_t seed) {
  Dice dice(seed);
  while (!world->stopping) {
    slot->Set(world->graveyard.Session(world->AClient(&dice),
                                       servers.Any(&dice), &dice));
    const auto until =
        Clock::now() + absl::ToChronoMilliseconds(dice.Millis(20, 3000));
    while (!world->stopping && Clock::now() < until) {
      world->stopping.WaitFor(absl::Milliseconds(10));
      world->graveyard.Empty();
    }
    slot->Set(nullptr);
  }
}

void Starter(World* world, std::array<Slot, 2>* slots, Targets* targets,
             uint64_t seed) {
  Dice dice(seed);
  while (!world->stopping) {
    const std::shared_ptr<RpcSession> session = (*slots)[dice.Below(2)].Get();
    if (session != nullptr && world->in_flight.count() < kMostInFlight) {
      for (int n = static_cast<int>(dice.Between(1, 16)); n > 0; --n) {
        const auto call = world->StartOne(session, World::Async(&dice), &dice);
        if (call != nullptr) targets->Add(call);
      }
    }
    world->stopping.WaitFor(dice.Millis(0, 20));
  }
}

void Blocker(World* world, std::array<Slot, 2>* slots, uint64_t seed) {
  Dice dice(seed);
  while (!world->stopping) {
    const std::shared_ptr<RpcSession> session = (*slots)[dice.Below(2)].Get();
    if (session == nullptr || world->in_flight.count() >= kMostInFlight ||
        world->StartOne(session, RpcCall::Way::kSync, &dice) == nullptr) {
      world->stopping.WaitFor(absl::Milliseconds(2));
    }
    if (dice.One(4)) world->stopping.WaitFor(dice.Millis(0, 5));
  }
}

// Some streams, and waits for them, again and again.
void Streamer(World* world, std::array<Slot, 2>* slots, Targets* targets,
              uint64_t seed) {
  Dice dice(seed);
  while (!world->stopping) {
    const std::shared_ptr<RpcSession> session = (*slots)[dice.Below(2)].Get();
    std::vector<std::shared_ptr<RpcStream>> streams;
    for (int64_t n = dice.Between(1, kStreamsAtOnce); n > 0; --n) {
      if (session == nullptr) break;
      auto stream = world->StartStream(session, /*known=*/true, &dice);
      if (stream == nullptr) break;
      targets->Add(stream);
      streams.push_back(std::move(stream));
    }
    for (const auto& stream : streams) stream->Wait();
    if (streams.empty()) world->stopping.WaitFor(absl::Milliseconds(2));
  }
}

void Canceller(World* world, Targets* targets, uint64_t seed) {
  Dice dice(seed);
  while (!world->stopping) {
    if (const auto call = targets->Any(&dice)) call->Cancel();
    world->stopping.WaitFor(dice.Millis(0, 20));
  }
}

// One server after the other that speaks HTTP/2 by hand.
void Rawer(World* world) {
  using rpc::Act;
  constexpr Act kActs[] = {Act::kAnswer,         Act::kAnswer,
                           Act::kUnavailable,    Act::kRefuse,
                           Act::kReset,          Act::kGoAway,
                           Act::kGoAwayAndClose, Act::kGoAwayAfterAndClose,
                           Act::kClose};
  Dice dice(world->seed + 400);
  while (!world->stopping) {
    std::vector<Act> acts;
    for (int i = 0; i < 500; ++i) {
      acts.push_back(kActs[dice.Below(std::size(kActs))]);
    }
    acts.push_back(Act::kAnswer);
    rpc::RawHttp2Server server(std::move(acts));
    int attempts = 0;
    for (int n = 0; n < 10 && !world->stopping; ++n) {
      const auto session = world->graveyard.Session(world->AClient(&dice),
                                                    server.address(), &dice);
      for (int i = static_cast<int>(dice.Between(1, 10)); i > 0; --i) {
        std::shared_ptr<CheckedRpc> call;
        if (dice.One(3)) {
          const auto stream =
              world->StartStream(session, /*known=*/false, &dice);
          if (stream == nullptr) break;
          stream->Wait();
          call = stream;
        } else {
          const uint64_t id = world->NextId();
          if (id == 0) break;
          const auto unary =
              std::make_shared<RpcCall>(id, RpcCall::Way::kSync, session,
                                        world->Books(/*known=*/false), &dice);
          absl::Notification ended;
          unary->Start(nullptr, [&ended] { ended.Notify(); });
          ended.WaitForNotification();
          call = unary;
        }
        if (call->passes_through()) ++attempts;
        attempts += call->attempts();
      }
      world->graveyard.Empty();
      world->stopping.WaitFor(dice.Millis(0, 50));
    }
    if (server.sends() > attempts) {
      world->ledger.Fault(absl::StrCat("there came ", server.sends(),
                                       " sends to a server by hand, and the "
                                       "records have ",
                                       attempts, " attempts"));
    }
  }
}

// All ways for a while, so that what is made once and kept is there.
void WarmUp(World* world) {
  Dice dice(world->seed + 700);
  // Whose calls wait for nothing but an answer, and not long for that.
  ClientOptions options;
  options.retry = RandomRetry(&dice, absl::Milliseconds(300));
  options.endpoint.pacing = options.quota.pacing = false;
  options.endpoint.breaker.enabled = false;
  const std::shared_ptr<Client> client = *Client::Create(options);
  std::vector<std::shared_ptr<RpcStream>> streams;
  for (int n = 0; n < 5; ++n) {
    const auto session =
        world->graveyard.Session(client, world->servers.Any(&dice), &dice);
    for (int i = 0; i < 40; ++i) {
      world->StartOne(session, static_cast<RpcCall::Way>(i % RpcCall::kWays),
                      &dice);
      world->stopping.WaitFor(absl::Milliseconds(1));
    }
    const auto other =
        world->graveyard.Session(client, world->streams.Any(&dice), &dice);
    for (int i = 0; i < 20; ++i) {
      auto stream = world->StartStream(other, /*known=*/true, &dice);
      if (stream != nullptr) streams.push_back(std::move(stream));
      world->stopping.WaitFor(absl::Milliseconds(1));
    }
  }
  for (const auto& stream : streams) stream->Wait();
  streams.clear();
  world->in_flight.WaitForNone();
  world->graveyard.EmptyAll();
  // Until servers have noticed that these have left.
  world->stopping.WaitFor(absl::Milliseconds(300));
}

int Soak(const Flags& flags) {
  World world(flags);
  WarmUp(&world);
  Frame frame("grpc", flags, &world.ledger,
              {std::begin(kPools), std::end(kPools)});

  std::array<Slot, 2> slots;
  std::array<Slot, 2> stream_slots;
  Targets targets;
  Targets stream_targets;
  std::vector<std::function<void()>> all;
  for (int i = 0; i < 2; ++i) {
    const uint64_t seed = flags.seed + i;
    all.emplace_back(
        [&, seed, i] { Keeper(&world, world.servers, &slots[i], seed + 100); });
    all.emplace_back([&, seed, i] {
      Keeper(&world, world.streams, &stream_slots[i], seed + 150);
    });
    all.emplace_back(
        [&, seed] { Starter(&world, &slots, &targets, seed + 200); });
    all.emplace_back([&, seed] { Blocker(&world, &slots, seed + 250); });
  }
  for (int i = 0; i < kStreamers; ++i) {
    all.emplace_back([&, i] {
      Streamer(&world, &stream_slots, &stream_targets, flags.seed + 500 + i);
    });
  }
  all.emplace_back([&] { Canceller(&world, &targets, flags.seed + 300); });
  all.emplace_back(
      [&] { Canceller(&world, &stream_targets, flags.seed + 350); });
  all.emplace_back([&] { Rawer(&world); });
  Weather weather(flags.seed + 600, flags.plant, &world.stopping,
                  &world.ledger);
  all.emplace_back([&] { weather.Run(&world, world.shared.get()); });
  return frame.Run(&world.stopping, all, [&] {
    world.Close();
    world.PrintPlayed();
    // What streams of tests expect of gRPC's queues (tests/interceptors/stream_app.h).
    if (::testing::UnitTest::GetInstance()->ad_hoc_test_result().Failed()) {
      world.ledger.Fault("gRPC's queues bring what they should not: see above");
    }
  });
}

}  // namespace
}  // namespace forbear::soak

int main(int argc, char** argv) {
  const auto flags =
      forbear::soak::ParseFlags("grpc",
                                {"report", "sends", "fd", "body", "answers",
                                 "requests", "strict", "hedges", "again"},
                                argc, argv);
  if (!flags) return 2;
  const int status = forbear::soak::Soak(*flags);
  // Not only for its own sake: what looks for leaks looks for the owners of memory in
  // threads, too, and does not find those of gRPC's any more once the numbers of threads
  // have come round ("not found in registry", with LSAN_OPTIONS=log_threads=1).
  if (forbear::testing::ShutGrpcDown()) return status;
  printf("FAULT: all calls and channels are gone, and gRPC is still in use\n");
  return 1;
}
