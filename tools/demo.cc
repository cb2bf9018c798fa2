#include "tools/demo.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "core/call_record.h"
#include "core/random.h"
#include "runtime/client.h"
#include "runtime/clock.h"
#include "tests/testing/provider.h"
#include "tools/demo_senders.h"

namespace forbear::tools {
namespace {

constexpr char kUsage[] =
    "usage: forbear demo [--calls N] [--seed N] [--json]\n"
    "\n"
    "Starts a rate-limited, flaky service on this machine, for HTTP and for "
    "gRPC.\n"
    "Ten workers make 100 calls each way: with two retry loops as people "
    "write\n"
    "them, and through Forbear. Takes under a minute. The table on stdout "
    "counts\n"
    "sends at the service's own door; progress goes to stderr.\n"
    "\n"
    "  --calls N  how many each client makes, 1 … 100000 (default 100). Takes\n"
    "             about N/3 s, and the loops a little more\n"
    "  --seed N   which arrivals fail (default: a new one each time, printed)\n"
    "  --json     one JSON object on stdout instead of the table\n"
    "\n"
    "exit code: 0 all clients ran, 1 the service did not start, 2 wrong "
    "usage\n";

constexpr int kWorkers = 10;
constexpr double kRate = 3;
constexpr double kBurst = 3;
constexpr double kErrors = 0.05;  // of the requests that are let in
// Answers that are lost with their connection, in a hundred calls.
constexpr double kResets = 0.03;

struct Options {
  int calls = 100;
  uint64_t seed = 0;
  bool json = false;
};

// One client against one service of its own, so that the rows do not compete.
struct Lane {
  std::string client;
  std::string protocol;
  // Makes the calls of one worker.
  std::function<CallFn(int worker)> make;
  std::unique_ptr<testing::Provider> provider;

  std::atomic<int> asked{0};
  std::atomic<int> answered{0};
  double wall_s = 0;
  int64_t sends = 0;

  int64_t wasted() const { return sends - answered; }
};

// The record that shows most: the one with the most attempts.
class BestRecord {
 public:
  void Offer(const CallRecord& record) {
    std::lock_guard<std::mutex> lock(mutex_);
    if (!best_ || record.total_attempts > best_->total_attempts) best_ = record;
  }
  std::optional<CallRecord> Take() {
    std::lock_guard<std::mutex> lock(mutex_);
    return std::exchange(best_, std::nullopt);
  }

 private:
  std::mutex mutex_;
  std::optional<CallRecord> best_;
};

void RunLane(int calls, Lane* lane) {
  const MonotonicTime begin = MonotonicNow();
  std::atomic<int> next{0};
  std::vector<std::thread> workers;
  workers.reserve(kWorkers);
  for (int w = 0; w < kWorkers; ++w) {
    workers.emplace_back([lane, calls, &next, w] {
      const CallFn call = lane->make(w);
      for (int i = next++; i < calls; i = next++) {
        ++lane->asked;
        if (call(absl::StrCat(lane->client, "-", i))) ++lane->answered;
      }
    });
  }
  for (std::thread& worker : workers) worker.join();
  lane->wall_s = absl::ToDoubleSeconds(MonotonicNow() - begin);
  lane->sends = lane->provider->stats().sends;
}

std::string Progress(const std::vector<std::unique_ptr<Lane>>& lanes) {
  std::string line;
  for (const auto& lane : lanes) {
    absl::StrAppendFormat(&line, "%s%s/%s %d", line.empty() ? "" : "  ",
                          lane->client, lane->protocol, lane->answered.load());
  }
  return line;
}

// Overwrites one line on a terminal; elsewhere a line every five seconds.
void ShowProgress(const std::vector<std::unique_ptr<Lane>>& lanes,
                  absl::Notification* done) {
  const bool terminal = isatty(STDERR_FILENO) != 0;
  const absl::Duration pause =
      terminal ? absl::Milliseconds(200) : absl::Seconds(5);
  while (!done->WaitForNotificationWithTimeout(pause)) {
    absl::FPrintF(stderr, "%s%s%s", terminal ? "\r\033[K" : "", Progress(lanes),
                  terminal ? "" : "\n");
    std::fflush(stderr);
  }
  if (terminal) std::fputs("\r\033[K", stderr);
}

void PrintTable(const std::vector<std::unique_ptr<Lane>>& lanes) {
  absl::PrintF("%-12s %-8s %6s %9s %6s %7s %8s\n", "client", "protocol",
               "asked", "answered", "sends", "wasted", "wall");
  for (const auto& lane : lanes) {
    absl::PrintF("%-12s %-8s %6d %9d %6d %7d %7.1fs\n", lane->client,
                 lane->protocol, lane->asked.load(), lane->answered.load(),
                 lane->sends, lane->wasted(), lane->wall_s);
  }
}

void PrintJson(uint64_t seed, const std::vector<std::unique_ptr<Lane>>& lanes) {
  absl::PrintF("{\"seed\": %d, \"rows\": [", seed);
  const char* separator = "";
  for (const auto& lane : lanes) {
    absl::PrintF(
        "%s{\"client\": \"%s\", \"protocol\": \"%s\", \"asked\": %d, "
        "\"answered\": %d, \"sends\": %d, \"wasted\": %d, \"wall_s\": %.3f}",
        separator, lane->client, lane->protocol, lane->asked.load(),
        lane->answered.load(), lane->sends, lane->wasted(), lane->wall_s);
    separator = ", ";
  }
  absl::PrintF("]}\n");
}

// Returns an exit code, or nothing if the options are good.
std::optional<int> Parse(const std::vector<std::string>& args,
                         Options* options) {
  // Small enough to read aloud.
  options->seed = std::random_device()() % 1000000;
  for (size_t i = 0; i < args.size(); ++i) {
    const absl::string_view arg = args[i];
    const bool has_value = i + 1 < args.size();
    if (arg == "--help" || arg == "-h") {
      std::fputs(kUsage, stdout);
      return 0;
    }
    if (arg == "--json") {
      options->json = true;
      continue;
    }
    if (arg == "--seed" && has_value &&
        absl::SimpleAtoi(args[i + 1], &options->seed)) {
      ++i;
      continue;
    }
    if (arg == "--calls" && has_value &&
        absl::SimpleAtoi(args[i + 1], &options->calls) && options->calls >= 1 &&
        options->calls <= 100000) {
      ++i;
      continue;
    }
    if (arg == "--seed" || arg == "--calls") {
      absl::FPrintF(
          stderr, "forbear demo: %s is '%s'; it must be a number%s\n\n%s", arg,
          has_value ? args[i + 1] : "",
          arg == "--calls" ? " from 1 to 100000" : ", 0 or more", kUsage);
      return 2;
    }
    absl::FPrintF(stderr, "forbear demo: '%s' is not understood\n\n%s", arg,
                  kUsage);
    return 2;
  }
  return std::nullopt;
}

}  // namespace

int RunDemo(const std::vector<std::string>& args) {
  Options options;
  if (auto code = Parse(args, &options)) return *code;

  const int resets = static_cast<int>(std::lround(kResets * options.calls));
  BestRecord best_http, best_grpc;
  const auto client = [] { return *Client::Create(); };
  std::vector<std::unique_ptr<Lane>> lanes;
  for (const std::string protocol : {"http", "grpc"}) {
    for (const std::string name : {"sleep-1", "exponential", "forbear"}) {
      auto lane = std::make_unique<Lane>();
      lane->client = name;
      lane->protocol = protocol;

      testing::Provider::Options service;
      service.model.rate = kRate;
      service.model.burst = kBurst;
      service.model.error_fraction = kErrors;
      service.model.lost_answers = resets;
      service.model.lost_answers_within = options.calls;
      service.model.latency = absl::Milliseconds(5);
      service.model.seed = options.seed;  // the same faults for everyone
      absl::StatusOr<std::unique_ptr<testing::Provider>> provider =
          testing::Provider::Create(service);
      if (!provider.ok()) {
        absl::FPrintF(stderr, "forbear demo: the service did not start: %s\n",
                      provider.status().ToString());
        return 1;
      }
      lane->provider = *std::move(provider);

      const bool http = protocol == "http";
      const std::string where = http
                                    ? lane->provider->http().Url("/v1/complete")
                                    : lane->provider->grpc().address();
      const auto plain = [http, where] {
        return http ? PlainHttp(where) : PlainGrpc(where);
      };
      if (name == "sleep-1") {
        lane->make = [plain](int) { return WithSleepOne(plain()); };
      } else if (name == "exponential") {
        lane->make = [plain, seed = options.seed](int worker) {
          return WithExponential(plain(), MixRandom(seed, worker));
        };
      } else if (http) {
        lane->make = [where, shared = client(), &best_http](int) {
          return ForbearHttp(shared, where, [&best_http](const CallRecord& r) {
            best_http.Offer(r);
          });
        };
      } else {
        lane->make = [where, shared = client(), &best_grpc](int) {
          return ForbearGrpc(shared, where, [&best_grpc](const CallRecord& r) {
            best_grpc.Offer(r);
          });
        };
      }
      lanes.push_back(std::move(lane));
    }
  }

  if (!options.json) {
    absl::PrintF(
        "A service that takes %g calls a second (%g at once), refuses the rest "
        "with\n"
        "429 and Retry-After (gRPC: RESOURCE_EXHAUSTED and a pushback), fails "
        "%g %% of\n"
        "those it takes, and loses the answer of %d. %d workers make %d POSTs "
        "with\n"
        "idempotency keys, each client against a service of its own. No client "
        "can\n"
        "be done before %.1fs. Seed %d.\n\n",
        kRate, kBurst, 100 * kErrors, resets, kWorkers, options.calls,
        std::max(0.0, (options.calls - kBurst) / kRate), options.seed);
    std::fflush(stdout);
  }

  absl::Notification done;
  std::thread progress([&lanes, &done] { ShowProgress(lanes, &done); });
  std::vector<std::thread> runs;
  runs.reserve(lanes.size());
  for (const auto& lane : lanes) {
    runs.emplace_back([&] { RunLane(options.calls, lane.get()); });
  }
  for (std::thread& run : runs) run.join();
  done.Notify();
  progress.join();

  if (options.json) {
    PrintJson(options.seed, lanes);
    return 0;
  }
  PrintTable(lanes);
  absl::PrintF(
      "\nwasted: sends that brought no answer to the caller, counted by the "
      "service.\n");
  for (BestRecord* best : {&best_http, &best_grpc}) {
    if (auto record = best->Take()) {
      absl::PrintF("\nOne call through Forbear, attempt by attempt:\n%s",
                   FormatCallRecord(*record));
    }
  }
  return 0;
}

}  // namespace forbear::tools
