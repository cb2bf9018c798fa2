// What a process may do while calls run: signals that interrupt the thread of a call,
// and a fork, whose child makes calls of its own.
#include <curl/curl.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/time/time.h"
#include "core/backoff.h"
#include "core/call_record.h"
#include "core/stop_reason.h"
#include "curl_wrap/engine.h"
#include "curl_wrap/perform.h"
#include "curl_wrap/request.h"
#include "curl_wrap/response.h"
#include "gtest/gtest.h"
#include "tests/curl_wrap/app.h"
#include "tests/curl_wrap/raw_app.h"

namespace forbear::curl {
namespace {

constexpr absl::Duration kLong = absl::Seconds(20);
// How late a busy machine may be.
constexpr absl::Duration kLate = absl::Seconds(10);

std::atomic<int>& Interruptions() {
  static std::atomic<int> count{0};
  return count;
}

// While it lives, the thread that made it gets SIGUSR1 every few milliseconds; whatever
// it waits in returns EINTR.
class SignalStorm {
 public:
  SignalStorm() {
    Interruptions() = 0;
    struct sigaction ours = {};
    ours.sa_handler = +[](int) { ++Interruptions(); };
    sigaction(SIGUSR1, &ours, &before_);
    sigevent event = {};
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_signo = SIGUSR1;
    event._sigev_un._tid = gettid();
    EXPECT_EQ(timer_create(CLOCK_MONOTONIC, &event, &timer_), 0);
    itimerspec often = {};
    often.it_value.tv_nsec = often.it_interval.tv_nsec = 3'000'000;
    EXPECT_EQ(timer_settime(timer_, 0, &often, nullptr), 0);
  }
  ~SignalStorm() {
    timer_delete(timer_);
    sigaction(SIGUSR1, &before_, nullptr);
  }
  SignalStorm(const SignalStorm&) = delete;
  SignalStorm& operator=(const SignalStorm&) = delete;

 private:
  struct sigaction before_ = {};
  timer_t timer_ = nullptr;
};

enum class Way { kHandle, kRaw };

class SignalTest : public ::testing::TestWithParam<Way> {
 protected:
  struct Seen {
    CallResult result;
    std::string body;
    int interruptions = 0;
  };

  static std::shared_ptr<Client> ClientOf300Ms() {
    ClientOptions options;
    options.retry.backoff.initial = absl::Milliseconds(300);
    options.retry.backoff.jitter = Jitter::kNone;
    options.retry.backoff.lone_part = 1;
    return NewClient(options);
  }
  Seen Call() {
    Seen seen;
    if (GetParam() == Way::kHandle) {
      App app(client_, server_->Url());
      const SignalStorm storm;
      seen.result = app.Perform(kLong);
      seen.body = app.sink.body;
    } else {
      RawApp app(client_, server_->Url());
      RawOptions options;
      options.deadline = kLong;
      const SignalStorm storm;
      seen.result = app.Perform(options);
      seen.body = app.sink.body;
    }
    seen.interruptions = Interruptions();
    EXPECT_EQ(seen.result.code, CURLE_OK);
    EXPECT_EQ(seen.result.stop_reason, StopReason::kSuccess)
        << FormatCallRecord(seen.result.record);
    EXPECT_EQ(seen.body, "good");
    // That it rained is what makes the rest mean something.
    EXPECT_GE(seen.interruptions, 10);
    return seen;
  }
  // Between two sends, as the server has heard them.
  void ExpectGap(absl::Duration wait) {
    const std::vector<Arrival> all = server_->log().Snapshot();
    ASSERT_EQ(all.size(), 2u);
    const absl::Duration gap = all[1].since_start - all[0].since_start;
    // Both were heard by one clock; the first may have been heard late.
    EXPECT_GE(gap, wait - absl::Milliseconds(5));
    EXPECT_LE(gap, wait + kLate);
  }

  std::unique_ptr<HttpServer> server_ = StartServer();
  std::shared_ptr<Client> client_ = ClientOf300Ms();
};

TEST_P(SignalTest, AnAnswerThatTakesItsTime) {
  server_->Script({Reply::Of(200, "good").After(absl::Milliseconds(300))});
  const Stopwatch watch;
  const Seen seen = Call();
  EXPECT_GE(watch.Elapsed(), absl::Milliseconds(295));
  EXPECT_EQ(seen.result.record.total_attempts, 1);
  EXPECT_EQ(server_->log().Count(), 1);
  EXPECT_EQ(server_->log().CountCancelled(), 0);
}

TEST_P(SignalTest, ABackoff) {
  server_->Script({Reply::Of(503, "bad"), Reply::Of(200, "good")});
  Call();
  ExpectGap(absl::Milliseconds(300));
}

TEST_P(SignalTest, AWaitThatTheServerAskedFor) {
  server_->Script(
      {Reply::Of(429, "bad").With("Retry-After", "1"), Reply::Of(200, "good")});
  Call();
  ExpectGap(absl::Seconds(1));
}

INSTANTIATE_TEST_SUITE_P(Ways, SignalTest,
                         ::testing::Values(Way::kHandle, Way::kRaw),
                         [](const ::testing::TestParamInfo<Way>& info) {
                           return info.param == Way::kHandle ? "Handle" : "Raw";
                         });

// ---- fork.

// Each call fails once, and then does not.
bool Succeeds(const CallResult& result) {
  return result.code == CURLE_OK && result.http_status == 200 &&
         result.stop_reason == StopReason::kSuccess;
}

// What a child does: its exit status. Nothing of its parent's is used but a URL.
int MakeCallsOfItsOwn(const std::string& url) {
  const std::shared_ptr<Client> client = NewClient();
  {
    Handle handle = Handle::Create(client);
    handle.SetOpt(CURLOPT_URL, (url + "/handle").c_str());
    if (!Succeeds(handle.Perform(Within(kLong)))) return 1;
  }
  {
    CURL* const easy = curl_easy_init();
    curl_easy_setopt(easy, CURLOPT_URL, (url + "/raw").c_str());
    curl_easy_setopt(
        easy, CURLOPT_WRITEFUNCTION,
        +[](char*, size_t size, size_t n, void*) { return size * n; });
    RawOptions options;
    options.deadline = kLong;
    const CallResult result = Perform(easy, options, client);
    curl_easy_cleanup(easy);
    if (!Succeeds(result)) return 2;
  }
// Thread sanitizer ends a child that makes a thread.
#ifndef _GLIBCXX_TSAN
  const std::unique_ptr<Engine> engine = *Engine::Create(client);
  const Response response =
      engine->Send(Request(url + "/engine"), Within(kLong)).get();
  if (!Succeeds(response)) return 3;
  if (response.body != "good") return 4;
  engine->Shutdown(absl::ZeroDuration());
#endif
  return 0;
}

TEST(ForkTest, AChildMakesCallsOfItsOwnAndItsParentGoesOn) {
  const std::unique_ptr<HttpServer> server = StartServer();
  const std::vector<Reply> fails_once = {Reply::Of(503, "bad"),
                                         Reply::Of(200, "good")};
  server->Script({Reply::Of(200, "good")});
  for (const char* path : {"/child/handle", "/child/raw", "/child/engine"}) {
    server->Script(path, fails_once);
  }
  const std::shared_ptr<Client> client = NewClient();
  App app(client, server->Url("/parent/handle"));
  RawApp raw(client, server->Url("/parent/raw"));
  const std::unique_ptr<Engine> engine = *Engine::Create(client);
  const auto call = [&] {
    EXPECT_TRUE(Succeeds(app.Perform(kLong)));
    EXPECT_TRUE(Succeeds(raw.Perform()));
    EXPECT_TRUE(Succeeds(
        engine->Send(Request(server->Url("/parent/engine")), Within(kLong))
            .get()));
  };
  call();

  const std::string url = server->Url("/child");
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    alarm(120);  // not for ever
    _exit(MakeCallsOfItsOwn(url));
  }
  call();  // beside it
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status)) << status;
  EXPECT_EQ(WEXITSTATUS(status), 0);
  call();  // and when it is gone

  // The parent's connections are still its own, and nobody else's.
  std::map<std::string, std::set<int64_t>> connections;
  std::map<std::string, int> sends;
  std::set<int64_t> of_parent;
  std::set<int64_t> of_child;
  for (const Arrival& a : server->log().Snapshot()) {
    ++sends[a.path];
    connections[a.path].insert(a.connection_id);
    (absl::StartsWith(a.path, "/parent") ? of_parent : of_child)
        .insert(a.connection_id);
  }
  for (const char* path : {"/parent/handle", "/parent/raw", "/parent/engine"}) {
    EXPECT_EQ(sends[path], 3) << path;
    EXPECT_EQ(connections[path].size(), 1u) << path;
  }
  EXPECT_EQ(sends["/child/handle"], 2);
  EXPECT_EQ(sends["/child/raw"], 2);
#ifndef _GLIBCXX_TSAN
  EXPECT_EQ(sends["/child/engine"], 2);
#endif
  for (const int64_t id : of_child) EXPECT_EQ(of_parent.count(id), 0u) << id;
}

}  // namespace
}  // namespace forbear::curl
