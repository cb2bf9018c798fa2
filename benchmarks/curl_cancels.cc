#include "benchmarks/curl_cancels.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <future>
#include <memory>
#include <mutex>
#include <thread>

#include "absl/time/time.h"
#include "core/backoff.h"
#include "core/call_record.h"
#include "core/stop_reason.h"
#include "curl_wrap/engine.h"
#include "curl_wrap/handle.h"
#include "curl_wrap/request.h"
#include "curl_wrap/response.h"
#include "runtime/client.h"

namespace forbear::bench {
namespace {

using Clock = std::chrono::steady_clock;

// In which a call comes to where it is to be cancelled, and this thread to sleep.
void LetItCome() { std::this_thread::sleep_for(std::chrono::milliseconds(10)); }

double Millis(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double, std::milli>(to - from).count();
}

void Check(bool usual, const char* what) {
  if (usual) return;
  std::fprintf(stderr, "a cancel took another way than the usual one: %s\n",
               what);
  std::abort();
}

void CheckCancelled(StopReason reason, const CallRecord& record,
                    bool in_backoff) {
  Check(reason == StopReason::kCancelled, "its stop reason");
  Check(record.total_attempts == 1, "its attempts");
  Check((record.attempts[0].outcome.status == 500) == in_backoff,
        "where it was");
}

std::shared_ptr<Client> NewClient() {
  ClientOptions options;
  options.retry.backoff.initial = options.retry.backoff.max = absl::Seconds(20);
  options.retry.backoff.jitter = Jitter::kNone;
  options.retry.backoff.lone_part = 1;
  options.endpoint.breaker.enabled = false;
  options.endpoint.budget.enabled = false;
  return Client::Create(options).value();
}

// When a thread has done what it waits for, and when it was made to.
double WakeAThread() {
  std::mutex mutex;
  std::condition_variable changed;
  bool go = false;
  Clock::time_point end;
  std::thread sleeper([&] {
    std::unique_lock<std::mutex> lock(mutex);
    changed.wait(lock, [&] { return go; });
    end = Clock::now();
  });
  LetItCome();
  const Clock::time_point begin = Clock::now();
  {
    const std::lock_guard<std::mutex> lock(mutex);
    go = true;
  }
  changed.notify_one();
  sleeper.join();
  return Millis(begin, end);
}

curl::Handle NewHandle(const std::string& url) {
  curl::Handle handle = curl::Handle::Create(NewClient());
  handle.SetOpt(CURLOPT_URL, url.c_str());
  handle.SetOpt(
      CURLOPT_WRITEFUNCTION,
      +[](char*, size_t size, size_t n, void*) { return size * n; });
  return handle;
}

double CancelPerform(const std::string& url, bool in_backoff) {
  curl::Handle handle = NewHandle(url);
  curl::CallResult result;
  Clock::time_point end;
  std::thread caller([&] {
    result = handle.Perform();
    end = Clock::now();
  });
  LetItCome();
  const Clock::time_point begin = Clock::now();
  handle.Cancel();
  caller.join();
  CheckCancelled(result.stop_reason, result.record, in_backoff);
  return Millis(begin, end);
}

double CancelInEngine(curl::Engine* engine, const std::string& url) {
  std::promise<Clock::time_point> end;
  const uint64_t id = engine->Start(
      curl::Request(url), {}, [&](const curl::Response& response) {
        CheckCancelled(response.stop_reason, response.record,
                       /*in_backoff=*/false);
        end.set_value(Clock::now());
      });
  LetItCome();
  const Clock::time_point begin = Clock::now();
  engine->Cancel(id);
  return Millis(begin, end.get_future().get());
}

}  // namespace

std::vector<double> MeasureCancels(CancelWay way, int times,
                                   const std::string& url) {
  std::unique_ptr<curl::Engine> engine;
  if (way == CancelWay::kEngine) {
    engine = curl::Engine::Create(NewClient(), {}).value();
  }
  std::vector<double> millis;
  for (int i = 0; i < times; ++i) {
    switch (way) {
      case CancelWay::kThread:
        millis.push_back(WakeAThread());
        break;
      case CancelWay::kAttempt:
      case CancelWay::kBackoff:
        millis.push_back(CancelPerform(url, way == CancelWay::kBackoff));
        break;
      case CancelWay::kEngine:
        millis.push_back(CancelInEngine(engine.get(), url));
        break;
    }
  }
  std::sort(millis.begin(), millis.end());
  return millis;
}

void AskOnce(const std::string& url) {
  Check(NewHandle(url).Perform().http_status == 200, "its answer");
}

}  // namespace forbear::bench
