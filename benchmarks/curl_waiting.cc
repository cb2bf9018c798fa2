#include "benchmarks/curl_waiting.h"

#include <malloc.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "benchmarks/cpu_time.h"
#include "core/backoff.h"
#include "core/call_record.h"
#include "core/random.h"
#include "curl_wrap/engine.h"
#include "curl_wrap/request.h"
#include "curl_wrap/response.h"
#include "runtime/client.h"

namespace forbear::bench {
namespace {

constexpr int kInFlight = 64;
constexpr size_t kBody = 256;

double ResidentMegabytes() {
  std::ifstream statm("/proc/self/statm");
  double all = 0;
  double resident = 0;
  statm >> all >> resident;
  return resident * static_cast<double>(sysconf(_SC_PAGESIZE)) / 1e6;
}

// Two attempts and one wait, whatever the others do: what is measured is the wait, not
// what a breaker, a budget or a pace would make of a server that never answers well.
ClientOptions Options(absl::Duration wait) {
  ClientOptions options;
  options.retry.max_attempts = 2;
  options.retry.max_elapsed = absl::Hours(1);
  options.retry.backoff.initial = options.retry.backoff.max = wait;
  options.retry.backoff.jitter = Jitter::kNone;
  options.retry.backoff.lone_part = 1;
  options.endpoint.breaker.enabled = false;
  options.endpoint.budget.enabled = false;
  options.endpoint.pacing_parts.slow_start = false;
  options.quota.pacing_parts.slow_start = false;
  return options;
}

void Check(bool usual, const char* what) {
  if (usual) return;
  std::fprintf(stderr, "a transfer took another way than the usual one: %s\n",
               what);
  std::abort();
}

}  // namespace

WaitingNumbers MeasureWaiting(int transfers, double spread,
                              const std::string& url) {
  // Long enough for all first attempts, on a machine that is ten times as slow.
  const absl::Duration wait =
      absl::Seconds(2) + absl::Microseconds(250) * transfers;
  curl::EngineOptions engine_options;
  engine_options.max_in_flight = engine_options.max_per_host = kInFlight;
  engine_options.max_transfers = transfers;
  const std::unique_ptr<curl::Engine> engine =
      curl::Engine::Create(Client::Create(Options(wait)).value(),
                           engine_options)
          .value();
  const std::string body(kBody, 'b');
  std::vector<double> late(static_cast<size_t>(transfers));
  std::atomic<int> done{0};

  WaitingNumbers numbers;
  const double idle = ResidentMegabytes();
  const double cpu = CpuMicros();
  for (int i = 0; i < transfers; ++i) {
    curl::Request request(absl::StrCat(url, "?number=", i));
    for (const char* line :
         {"Authorization: Bearer 0123456789abcdef0123456789abcdef",
          "Accept: application/json", "User-Agent: example/1.0 (bench)",
          "X-Tenant: 6f1c1c9e-7a43-4d53-9a8a-0f4f1f0b2f11",
          "Content-Type: application/json", "Accept-Language: en"}) {
      request.AddHeader(line);
    }
    request.SetBody(body);
    curl::CallOptions options;
    options.idempotent = true;
    absl::Duration own = wait;
    if (spread > 0) {
      own += absl::Seconds(spread * UnitRandom(7, static_cast<uint64_t>(i)));
      options.retry = Options(own).retry;
    }
    engine->Start(std::move(request), options,
                  [&, i, own](const curl::Response& response) {
                    Check(response.http_status == 500, "its status");
                    Check(response.record.total_attempts == 2, "attempts");
                    late[static_cast<size_t>(i)] = absl::ToDoubleMilliseconds(
                        response.record.attempts[1].waited - own);
                    ++done;
                  });
  }
  while (engine->counts().waiting < static_cast<size_t>(transfers)) {
    Check(done == 0, "one ended before all waited");
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  numbers.megabytes = ResidentMegabytes() - idle;
  while (done < transfers) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  numbers.micros = (CpuMicros() - cpu) / transfers;
  std::sort(late.begin(), late.end());
  numbers.late_median = late[late.size() / 2];
  numbers.late_p99 = late[late.size() * 99 / 100];
  numbers.late_max = late.back();
  return numbers;
}

}  // namespace forbear::bench
