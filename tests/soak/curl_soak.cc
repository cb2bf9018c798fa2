// curl_soak: everything that Forbear does over libcurl, all at once, for minutes,
// against servers that answer anything; and what must be true is checked all the time.
//
//   curl_soak [--minutes 20] [--seed N] [--plant report|body|post|fd]
//
// --plant puts a fault of that kind in, and is content only if it is found.
//
// What is checked: each transfer is reported once, and none after Shutdown; answers and
// request bodies are whole; what may be acted upon once is not sent again after it was;
// a record's attempts are those that came; each call is made again from its record; at
// the end there are as many descriptors and threads as at the beginning, and memory has
// not grown. Leaks are the address sanitizer's to find (./dev soak).
#include <curl/curl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "core/stop_reason.h"
#include "curl_wrap/engine.h"
#include "curl_wrap/engine_options.h"
#include "curl_wrap/handle.h"
#include "curl_wrap/multi.h"
#include "curl_wrap/perform.h"
#include "curl_wrap/request.h"
#include "curl_wrap/response.h"
#include "runtime/client.h"
#include "tests/soak/dice.h"
#include "tests/soak/frame.h"
#include "tests/soak/ledger.h"
#include "tests/soak/pace.h"
#include "tests/soak/servers.h"
#include "tests/soak/stop_sign.h"
#include "tests/soak/transfer.h"
#include "tests/soak/weather.h"

namespace forbear::soak {
namespace {

using ::forbear::curl::Engine;
using ::forbear::curl::EngineOptions;
using ::forbear::curl::Handle;
using ::forbear::curl::Multi;
using ::forbear::curl::Request;
using ::forbear::curl::Response;
using Clock = std::chrono::steady_clock;

constexpr int kMostPerSecond = 2000;

// --- What all ways share. ---

class World {
 public:
  explicit World(const Flags& flags)
      : seed(flags.seed),
        plant(flags.plant),
        ledger(MostCalls(flags, kMostPerSecond)),
        servers(3, seed + 1000, &ledger, plant == "body") {
    Dice dice(seed);
    // The one that lasts has no queue that is too short, and no limit.
    ClientOptions options;
    options.retry = RandomClient(&dice).retry;
    RandomShared(&dice, &options);
    shared = *Client::Create(options);
  }

  // A number for another transfer; 0: not now.
  uint64_t NextId() { return pace_.Take() ? ledger.Begin() : 0; }
  std::shared_ptr<Transfer> NewTransfer(Transfer::Way way,
                                        const std::shared_ptr<Client>& client,
                                        Dice* dice) {
    const uint64_t id = NextId();
    if (id == 0) return nullptr;
    return std::make_shared<Transfer>(id, way, client, servers, &ledger,
                                      plant == "post", dice);
  }
  std::shared_ptr<Client> AClient(Dice* dice) const {
    return dice->One(2) ? shared : *Client::Create(RandomClient(dice));
  }
  void Check(Transfer* t, const curl::CallResult& result,
             const std::string* body) {
    t->Check(result, body);
    if (plant == "report" && t->id() % 100 == 99) {
      t->Check(result, body);
    }
  }

  const uint64_t seed;
  const std::string plant;
  StopSign stopping;
  Ledger ledger;
  Servers servers;
  std::shared_ptr<Client> shared;

 private:
  Pace pace_{kMostPerSecond};
};

// --- Engines. ---

// An engine and its books.
struct Session {
  std::shared_ptr<Client> client;
  std::unique_ptr<Engine> engine;
  std::atomic<uint64_t> started{0};
  std::atomic<uint64_t> reported{0};
  std::atomic<bool> down{false};  // Shutdown has returned
  Tally pins;
  uint64_t serial = 0;
};

// Where those who start transfers find an engine.
class Slot {
 public:
  // Null: there is none. Else Unpin it.
  Session* Pin() {
    std::lock_guard<std::mutex> lock(mutex_);
    if (session_ != nullptr) session_->pins.Add();
    return session_;
  }
  void Set(Session* session) {
    std::lock_guard<std::mutex> lock(mutex_);
    session_ = session;
  }

 private:
  std::mutex mutex_;
  Session* session_ = nullptr;
};

// The engine into which this thread is in Start.
thread_local const Session* starting = nullptr;

void StartOne(World* world, Session* session, Dice* dice,
              std::vector<uint64_t>* ids);

void OnDone(World* world, Session* session,
            const std::shared_ptr<Transfer>& transfer, bool chains,
            const Response& response) {
  if (session->down && starting != session) {
    world->ledger.Fault(absl::StrCat("transfer ", transfer->id(),
                                     " was reported after Shutdown"));
  }
  world->Check(transfer.get(), response, &response.body);
  // It may be started from here, on the same engine.
  if (chains) {
    Dice dice(world->seed ^ transfer->id());
    StartOne(world, session, &dice, nullptr);
  }
  // The last thing: the engine may be gone when all are counted.
  ++session->reported;
}

void StartOne(World* world, Session* session, Dice* dice,
              std::vector<uint64_t>* ids) {
  const bool with_handle = dice->One(4);
  const auto t = world->NewTransfer(
      with_handle ? Transfer::Way::kHandle : Transfer::Way::kRequest,
      session->client, dice);
  if (t == nullptr) return;
  const bool chains = dice->One(8);
  const auto engine_id = std::make_shared<std::atomic<uint64_t>>(0);
  t->cancel_self = [session, engine_id] {
    if (*engine_id != 0) session->engine->Cancel(*engine_id);
  };
  const curl::CallOptions options = t->options;
  ++session->started;
  const Session* const outer = std::exchange(starting, session);
  const auto done = [=](const Response& response) {
    OnDone(world, session, t, chains, response);
  };
  uint64_t id = 0;
  if (with_handle) {
    t->handle = Handle::Create(session->client);
    t->Dress(&*t->handle);
    id = session->engine->Start(&*t->handle, options, done);
  } else {
    Request request;
    t->Dress(&request);
    id = session->engine->Start(std::move(request), options, done);
  }
  starting = outer;
  *engine_id = id;
  if (ids != nullptr) ids->push_back(id);
}

void Starter(World* world, std::array<Slot, 2>* slots, uint64_t seed) {
  Dice dice(seed);
  std::vector<uint64_t> ids;  // of the session with this serial
  uint64_t serial = 0;
  while (!world->stopping) {
    Session* const session = (*slots)[dice.Below(2)].Pin();
    if (session == nullptr) {
      world->stopping.WaitFor(absl::Milliseconds(1));
      continue;
    }
    if (session->serial != serial) {
      serial = session->serial;
      ids.clear();
    }
    if (session->started - session->reported < 200) {
      for (int n = static_cast<int>(dice.Between(1, 16)); n > 0; --n) {
        StartOne(world, session, &dice, &ids);
      }
    }
    for (int n = static_cast<int>(dice.Below(3)); n > 0 && !ids.empty(); --n) {
      const size_t which =
          ids.size() - 1 - dice.Below(std::min<size_t>(ids.size(), 200));
      session->engine->Cancel(ids[which]);
    }
    if (ids.size() > 10000) ids.clear();
    if (dice.One(8)) {
      // One that is waited for.
      const auto t =
          world->NewTransfer(Transfer::Way::kRequest, session->client, &dice);
      if (t != nullptr) {
        Request request;
        t->Dress(&request);
        std::future<Response> future =
            session->engine->Send(std::move(request), t->options);
        if (future.wait_for(kStuck) != std::future_status::ready) {
          world->ledger.Fault(absl::StrCat("Send of transfer ", t->id(),
                                           " does not come to its end"));
          abort();
        }
        const Response response = future.get();
        world->Check(t.get(), response, &response.body);
      }
    }
    session->pins.Remove();
    world->stopping.WaitFor(dice.Millis(0, 20));
  }
}

EngineOptions RandomEngine(Dice* dice) {
  EngineOptions options;
  options.max_in_flight = static_cast<int>(dice->Between(1, 64));
  options.max_per_host = static_cast<int>(dice->Between(1, 24));
  options.max_transfers = dice->One(6) ? 40 : 1000;
  options.max_kept = dice->One(2) ? static_cast<int>(dice->Below(3)) : 100;
  if (dice->One(4)) options.max_body_bytes = 10000;
  return options;
}

// Makes an engine, and shuts it down under those who use it, again and again.
void Keeper(World* world, Slot* slot, int which) {
  Dice dice(world->seed + 100 + which);
  for (uint64_t serial = 1; !world->stopping; ++serial) {
    Session session;
    session.serial = serial * 2 + which;
    session.client = world->AClient(&dice);
    auto engine = Engine::Create(session.client, RandomEngine(&dice));
    if (!engine.ok()) {
      world->ledger.Fault(engine.status().ToString());
      return;
    }
    session.engine = std::move(*engine);
    slot->Set(&session);
    world->stopping.WaitFor(dice.Millis(300, 6000));
    const bool gone_first = dice.One(2);
    if (gone_first) slot->Set(nullptr);
    absl::Duration grace =
        dice.One(3) ? absl::ZeroDuration() : dice.Millis(1, 500);
    // All calls have a limit of their own.
    if (dice.One(6)) grace = absl::InfiniteDuration();
    std::thread other;
    if (dice.One(4)) {
      other = std::thread(
          [&session] { session.engine->Shutdown(absl::Milliseconds(50)); });
    }
    session.engine->Shutdown(grace);
    session.down = true;
    slot->Set(nullptr);
    if (other.joinable()) other.join();
    session.pins.WaitForNone();
    if (session.reported != session.started) {
      world->ledger.Fault(absl::StrCat(
          "Shutdown(", absl::FormatDuration(grace), ") has returned, and of ",
          session.started.load(), " transfers ", session.reported.load(),
          " are reported"));
    }
    const uint64_t before = session.started;
    StartOne(world, &session, &dice, nullptr);
    if (session.reported != session.started) {
      world->ledger.Fault(
          absl::StrCat("started after Shutdown: ", session.started - before,
                       ", and not reported at once"));
    }
  }
}

// --- Handles that block. ---

// Whom others may cancel.
class Target {
 public:
  void Set(Handle* handle) {
    std::lock_guard<std::mutex> lock(mutex_);
    handle_ = handle;
  }
  void Cancel() {
    std::lock_guard<std::mutex> lock(mutex_);
    if (handle_ != nullptr) handle_->Cancel();
  }

 private:
  std::mutex mutex_;
  Handle* handle_ = nullptr;
};

void Blocker(World* world, Target* target, uint64_t seed) {
  Dice dice(seed);
  while (!world->stopping) {
    const std::shared_ptr<Client> client = world->AClient(&dice);
    CURL* const others = dice.One(3) ? curl_easy_init() : nullptr;
    {
      Handle handle = others == nullptr ? Handle::Create(client)
                                        : Handle::Borrow(others, client);
      target->Set(&handle);
      for (int n = static_cast<int>(dice.Between(1, 60));
           n > 0 && !world->stopping; --n) {
        const auto t =
            world->NewTransfer(Transfer::Way::kHandle, client, &dice);
        if (t == nullptr) {
          world->stopping.WaitFor(absl::Milliseconds(2));
          continue;
        }
        t->Dress(&handle);
        t->cancel_self = [&handle] { handle.Cancel(); };
        const curl::CallResult result = handle.Perform(t->options);
        world->Check(t.get(), result, nullptr);
        handle.Reset();
        if (dice.One(4)) world->stopping.WaitFor(dice.Millis(0, 5));
      }
      target->Set(nullptr);
    }
    if (others != nullptr) curl_easy_cleanup(others);
  }
}

void Canceller(World* world, std::array<Target, 2>* targets) {
  Dice dice(world->seed + 300);
  while (!world->stopping) {
    (*targets)[dice.Below(targets->size())].Cancel();
    world->stopping.WaitFor(dice.Millis(0, 60));
  }
}

// --- A loop of one's own. ---

// A transfer that is none of Forbear's.
struct Stranger {
  CURL* easy = nullptr;
  std::string body;
  static size_t OnBody(char* data, size_t size, size_t n, void* self) {
    static_cast<Stranger*>(self)->body.append(data, size * n);
    return size * n;
  }
};

class MultiLoop {
 public:
  MultiLoop(World* world, Dice* dice)
      : world_(world), dice_(dice), client_(world->AClient(dice)) {
    auto made = Multi::Create(multi_, client_, RandomEngine(dice));
    if (made.ok()) {
      forbear_ = std::move(*made);
    } else {
      world->ledger.Fault(made.status().ToString());
    }
  }
  ~MultiLoop() {
    for (auto& [easy, stranger] : strangers_) {
      curl_multi_remove_handle(multi_, easy);
      curl_easy_cleanup(easy);
    }
    chains_ = false;
    forbear_.reset();
    if (out_ != 0) {
      world_->ledger.Fault(
          absl::StrCat("~Multi has returned, and ", out_, " are not reported"));
    }
    curl_multi_cleanup(multi_);
  }
  MultiLoop(const MultiLoop&) = delete;
  MultiLoop& operator=(const MultiLoop&) = delete;

  void Run() {
    if (forbear_ == nullptr) return;
    const auto until =
        Clock::now() + absl::ToChronoMilliseconds(dice_->Millis(200, 4000));
    const bool drains = dice_->One(2);
    for (;;) {
      const bool over = world_->stopping || Clock::now() >= until;
      if (over && (!drains || (out_ == 0 && strangers_.empty()))) return;
      if (over) chains_ = false;
      if (!over && out_ < 40) {
        for (int n = static_cast<int>(dice_->Below(4)); n > 0; --n) AddOne();
        if (dice_->One(10)) AddStranger();
      }
      if (!ids_.empty() && dice_->One(6)) {
        forbear_->Cancel(ids_[dice_->Below(ids_.size())]);
      }
      if (ids_.size() > 60) ids_.pop_front();
      int running = 0;
      const CURLMcode code = forbear_->Perform(&running);
      if (code != CURLM_OK) {
        world_->ledger.Fault(absl::StrCat("Multi::Perform: ", int{code}));
      }
      ReadMessages();
      if (running != 0) forbear_->Poll(nullptr, 0, 20, nullptr);
    }
  }

 private:
  void AddOne() {
    const bool with_handle = dice_->One(2);
    const auto t = world_->NewTransfer(
        with_handle ? Transfer::Way::kHandle : Transfer::Way::kRequest, client_,
        dice_);
    if (t == nullptr) return;
    ++out_;
    const auto multi_id = std::make_shared<uint64_t>(0);
    t->cancel_self = [this, multi_id] {
      if (*multi_id != 0) forbear_->Cancel(*multi_id);
    };
    const bool chains = dice_->One(8);
    const auto done = [this, t, chains](const Response& response) {
      --out_;
      world_->Check(t.get(), response, &response.body);
      if (chains && chains_) AddOne();
    };
    const curl::CallOptions options = t->options;
    if (with_handle) {
      t->handle = Handle::Create(client_);
      t->Dress(&*t->handle);
      *multi_id = forbear_->Add(&*t->handle, options, done);
    } else {
      Request request;
      t->Dress(&request);
      *multi_id = forbear_->Add(std::move(request), options, done);
    }
    ids_.push_back(*multi_id);
  }
  void AddStranger() {
    auto stranger = std::make_unique<Stranger>();
    CURL* const easy = stranger->easy = curl_easy_init();
    const uint64_t id = world_->NextId();
    if (id == 0) {
      curl_easy_cleanup(easy);
      return;
    }
    curl_easy_setopt(
        easy, CURLOPT_URL,
        absl::StrCat(world_->servers.Any(dice_), "/t/", id, "/100/0/-/0")
            .c_str());
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, 300L);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, &Stranger::OnBody);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, stranger.get());
    curl_multi_add_handle(multi_, easy);
    strangers_.emplace(easy, std::move(stranger));
    // It is nobody's to report.
    curl::CallResult result;
    result.stop_reason = StopReason::kPermanentError;
    world_->ledger.Reported(id, result.stop_reason, result.record,
                            /*counted=*/false);
  }
  void ReadMessages() {
    int left = 0;
    while (const CURLMsg* const message = forbear_->InfoRead(&left)) {
      if (message->msg != CURLMSG_DONE) continue;
      CURL* const easy = message->easy_handle;
      const CURLcode code = message->data.result;
      const auto found = strangers_.find(easy);
      if (found == strangers_.end()) {
        world_->ledger.Fault("Multi: a message of a transfer of Forbear's");
        continue;
      }
      long status = 0;
      curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
      if (code == CURLE_OK && status == 200 &&
          found->second->body.size() != 100) {
        world_->ledger.Fault("Multi: a stranger's answer is not whole");
      }
      curl_multi_remove_handle(multi_, easy);
      curl_easy_cleanup(easy);
      strangers_.erase(found);
    }
  }

  World* const world_;
  Dice* const dice_;
  const std::shared_ptr<Client> client_;
  CURLM* const multi_ = curl_multi_init();
  std::unique_ptr<Multi> forbear_;
  std::map<CURL*, std::unique_ptr<Stranger>> strangers_;
  std::deque<uint64_t> ids_;
  int out_ = 0;
  bool chains_ = true;
};

void Looper(World* world) {
  Dice dice(world->seed + 400);
  while (!world->stopping) MultiLoop(world, &dice).Run();
}

// --- Plain handles. ---

void Performer(World* world) {
  Dice dice(world->seed + 500);
  while (!world->stopping) {
    const std::shared_ptr<Client> client = world->AClient(&dice);
    CURL* const easy = curl_easy_init();
    for (int n = static_cast<int>(dice.Between(1, 60));
         n > 0 && !world->stopping; --n) {
      const auto t = world->NewTransfer(Transfer::Way::kRaw, client, &dice);
      if (t == nullptr) {
        world->stopping.WaitFor(absl::Milliseconds(2));
        continue;
      }
      t->Dress(easy);
      const curl::CallResult result = curl::Perform(easy, t->options, client);
      world->Check(t.get(), result, nullptr);
      curl_easy_reset(easy);
      if (dice.One(4)) world->stopping.WaitFor(dice.Millis(0, 5));
    }
    curl_easy_cleanup(easy);
  }
}

// All ways once, so that what is made once and kept is there.
void WarmUp(World* world) {
  Dice dice(world->seed + 700);
  std::thread performer([&] {
    const auto t =
        world->NewTransfer(Transfer::Way::kRaw, world->shared, &dice);
    if (t == nullptr) return;
    CURL* const easy = curl_easy_init();
    t->Dress(easy);
    world->Check(t.get(), curl::Perform(easy, t->options, world->shared),
                 nullptr);
    curl_easy_cleanup(easy);
  });
  performer.join();
  Session session;
  session.client = world->shared;
  session.engine = *Engine::Create(world->shared);
  for (int i = 0; i < 20; ++i) {
    StartOne(world, &session, &dice, nullptr);
    world->stopping.WaitFor(absl::Milliseconds(1));
  }
  session.engine->Shutdown(absl::Seconds(2));
  session.engine.reset();
  // Until servers have noticed that these have left.
  world->stopping.WaitFor(absl::Milliseconds(300));
}

int Soak(const Flags& flags) {
  World world(flags);
  WarmUp(&world);
  Frame frame("curl", flags, &world.ledger);

  std::array<Slot, 2> slots;
  std::array<Target, 2> targets;
  std::vector<std::function<void()>> all;
  for (int i = 0; i < 2; ++i) {
    const uint64_t seed = flags.seed + i;
    all.emplace_back([&, i] { Keeper(&world, &slots[i], i); });
    all.emplace_back([&, seed] { Starter(&world, &slots, seed + 200); });
    all.emplace_back(
        [&, seed, i] { Blocker(&world, &targets[i], seed + 250); });
  }
  all.emplace_back([&] { Canceller(&world, &targets); });
  all.emplace_back([&] { Looper(&world); });
  all.emplace_back([&] { Performer(&world); });
  Weather weather(flags.seed + 600, flags.plant, &world.stopping,
                  &world.ledger);
  all.emplace_back([&] { weather.Run(&world.servers, world.shared.get()); });
  return frame.Run(&world.stopping, all);
}

}  // namespace
}  // namespace forbear::soak

int main(int argc, char** argv) {
  const auto flags = forbear::soak::ParseFlags(
      "curl", {"report", "body", "post", "fd"}, argc, argv);
  return flags ? forbear::soak::Soak(*flags) : 2;
}
