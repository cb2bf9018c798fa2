// What Forbear adds to a unary call of gRPC when nothing fails, and to one that waits,
// beside what it may.
//
//   grpc_bench [--quick] [--benchmark_filter=WORD]
//
// The server is a process of its own, on the loopback, outside of Valgrind. See
// grpc_cases.h for the calls; docs/benchmarks.md says how far the numbers reach. Each
// comparison has a control: the baseline once more. What that differs from 1.00 by is
// noise. Exit status 0 unless something did not run: speed is no test.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "benchmarks/callgrind.h"
#include "benchmarks/cpu_time.h"
#include "benchmarks/goals.h"
#include "benchmarks/grpc_cases.h"
#include "benchmarks/grpc_streams.h"
#include "benchmarks/grpc_waiting.h"
#include "benchmarks/own_process.h"
#include "benchmarks/request_settings.h"
#include "benchmarks/rounds.h"
#include "benchmarks/side_by_side.h"
#include "tests/testing/grpc_server.h"
#include "tests/testing/server_process.h"

namespace forbear::bench {
namespace {

constexpr int kWaiting = 2000;  // calls

// The inner program's cases are named "CASE@ADDRESS", and answered late.
Loop MakeLoopOf(const std::string& name) {
  const size_t at = name.find('@');
  if (at == std::string::npos) return Loop();
  absl::string_view what = absl::string_view(name).substr(0, at);
  const std::string address = name.substr(at + 1);
  if (absl::ConsumePrefix(&what, "stream ")) {
    const std::shared_ptr<GrpcStreamCase> one =
        MakeGrpcStreamCase(what, address);
    if (one == nullptr) return Loop();
    return [one](int64_t n) { one->Run(n); };
  }
  const std::shared_ptr<GrpcCase> one =
      MakeGrpcCase(what, address, /*late=*/true);
  if (one == nullptr) return Loop();
  return [one](int64_t n) { one->Run(n); };
}

// 1.00, as far as that is written.
constexpr double kSame = 1.005;

// What the first argument of the inner program is called, and what it measures.
struct WaitingWay {
  const char* name;
  WaitingCalls (*measure)(int calls, const std::string& address);
};
constexpr WaitingWay kWaitingWays[] = {{"plain", MeasureInFlight},
                                       {"forbear", MeasureOursInFlight},
                                       {"backoff", MeasureInBackoff}};

int PrintWaiting(char** argv) {
  for (const WaitingWay& way : kWaitingWays) {
    if (absl::string_view(argv[2]) != way.name) continue;
    const WaitingCalls n = way.measure(std::atoi(argv[3]), argv[4]);
    std::printf("%d %f\n", n.threads, n.bytes);
    return 0;
  }
  return 1;
}

class Bench {
 public:
  Bench(std::string address, std::string stream_address,
        RequestSettings settings)
      : address_(std::move(address)),
        stream_address_(std::move(stream_address)),
        settings_(std::move(settings)) {}

  // Instructions and allocations of a blocking call.
  void CompareCounts() {
    const auto bare = Counted("bare");
    const auto retries = Counted("retries");
    AddCounts("bare", bare);
    AddCounts("bare, control", Counted("bare"), bare);
    AddCounts("gRPC's defaults", Counted("default"), bare);
    AddCounts("gRPC's retryPolicy", retries, bare);
    AddCounts("empty interceptor", Counted("empty"), bare);
    AddCounts("a factory that makes none", Counted("null"), bare);
    AddCounts("no policy for the method", Counted("untouched"), bare, kSame);
    const auto ours = Counted("forbear");
    AddCounts("Forbear", ours, bare, 1.12, 1.08, 7);
    AddRatio("Forbear, to gRPC's retryPolicy", ours, retries, 1.00, 0.96);
    const auto record = Counted("record");
    AddCounts("Forbear, record read", record, bare);
    AddRatio("Forbear, record read, to gRPC's retryPolicy", record, retries, {},
             {});
  }

  // How long a blocking call takes, and what processor time.
  void CompareTimes() {
    const auto spreads = Timed("sync", [&](GrpcCase* one) {
      std::vector<double> micros;
      const double before = CpuMicros();
      one->RunTimed(settings_.in_round, &micros);
      const double cpu = CpuMicros() - before;
      std::sort(micros.begin(), micros.end());
      return std::vector<double>{micros[micros.size() / 2],
                                 micros[micros.size() * 99 / 100],
                                 cpu / static_cast<double>(micros.size())};
    });
    AddSpreads("p50", spreads[0]);
    AddSpreads("p99", spreads[1]);
    AddSpreads("processor time", spreads[2]);
  }

  // What one of many calls takes: the inverse of the throughput.
  void CompareThroughput() {
    const auto spreads = Timed("many", [&](GrpcCase* one) {
      using Clock = std::chrono::steady_clock;
      const auto begin = Clock::now();
      const double before = CpuMicros();
      one->Run(settings_.in_round * 2);
      const double cpu = CpuMicros() - before;
      const std::chrono::duration<double, std::micro> took =
          Clock::now() - begin;
      const auto n = static_cast<double>(settings_.in_round * 2);
      return std::vector<double>{took.count() / n, cpu / n};
    });
    AddSpreads("32 in flight, time per call", spreads[0]);
    AddSpreads("32 in flight, processor time", spreads[1]);
  }

  // Memory and threads of calls that wait.
  void CompareWaiting() {
    const int many = kWaiting;
    const auto measured = [&](const char* way) {
      return NumbersOfOwnProcess(
          {"--waiting", way, absl::StrCat(many), address_}, 2);
    };
    const auto plain = measured("plain");
    const auto control = measured("plain");
    AddWaiting("plain, in flight", plain);
    AddWaiting("control: more than plain", control, &plain);
    AddWaiting("Forbear, in flight: more than plain", measured("forbear"),
               &plain);
    AddWaiting("Forbear, in backoff: more than plain", measured("backoff"),
               &plain, 2, 4096);
  }

  // Instructions of all threads, and time, of one message of a stream.
  void CompareStreams() {
    const auto counted = [&](const char* channel) {
      return CountsOf(absl::StrCat("stream ", channel, "@", stream_address_),
                      settings_.counted * 10, CountedThreads::kAll);
    };
    const auto bare = counted("bare");
    const auto empty = counted("empty");
    AddCounts("a message of a stream, bare", bare);
    AddCounts("a message, control", counted("bare"), bare);
    AddCounts("a message, no policy for the method", counted("untouched"), bare,
              kSame);
    AddCounts("a message, empty hijack", empty, bare);
    const auto ours = counted("forbear");
    AddCounts("a message, Forbear", ours, bare);
    AddRatio("a message, Forbear: to an empty hijack", ours, empty, 1.15, {});
    static constexpr const char* kStreams[] = {"bare", "bare", "empty",
                                               "forbear"};
    std::vector<std::unique_ptr<GrpcStreamCase>> cases;
    for (const char* channel : kStreams) {
      cases.push_back(MakeGrpcStreamCase(channel, stream_address_));
    }
    const std::vector<Spread> spreads =
        Rounds(cases.size(), settings_.rounds, [&](size_t i) {
          const auto begin = std::chrono::steady_clock::now();
          cases[i]->Run(settings_.in_round * 4);
          const std::chrono::duration<double, std::micro> took =
              std::chrono::steady_clock::now() - begin;
          return std::vector<double>{
              took.count() / static_cast<double>(settings_.in_round * 4)};
        })[0];
    static constexpr const char* kNames[] = {
        "a message, time, bare", "a message, time, control: to bare",
        "a message, time, empty hijack: to bare",
        "a message, time, Forbear: to bare"};
    for (size_t i = 0; i < spreads.size(); ++i) {
      goals_.AtMost(kNames[i], spreads[i].median, i == 0 ? "us" : "x", {}, {},
                    spreads[i].Range());
    }
  }

  bool Print() const {
    goals_.Print();
    return goals_.complete();
  }

 private:
  static constexpr const char* kTimed[] = {
      "bare", "bare", "retries", "empty", "untouched", "forbear", "record"};
  static constexpr const char* kTimedNames[] = {
      "bare",
      "control: to bare",
      "retryPolicy: to bare",
      "empty interceptor: to bare",
      "no policy: to bare",
      "Forbear: to bare",
      "Forbear, record read: to bare"};

  absl::StatusOr<Counts> Counted(const char* channel) const {
    return CountsOf(absl::StrCat("sync ", channel, "@", address_),
                    settings_.counted);
  }

  // Of the ways of kTimed, one after the other.
  template <typename Measure>
  std::vector<std::vector<Spread>> Timed(const char* how,
                                         const Measure& measure) const {
    std::vector<std::unique_ptr<GrpcCase>> cases;
    for (const char* channel : kTimed) {
      cases.push_back(MakeGrpcCase(absl::StrCat(how, " ", channel), address_));
    }
    return Rounds(cases.size(), settings_.rounds,
                  [&](size_t i) { return measure(cases[i].get()); });
  }

  void AddSpreads(absl::string_view what, const std::vector<Spread>& spreads) {
    for (size_t i = 0; i < spreads.size(); ++i) {
      goals_.AtMost(absl::StrCat(what, ", ", kTimedNames[i]), spreads[i].median,
                    i == 0 ? "us" : "x", {}, {}, spreads[i].Range());
    }
  }

  void AddCounts(absl::string_view name, const absl::StatusOr<Counts>& counts) {
    goals_.AtMost(absl::StrCat(name, ": instructions"),
                  NumberOf(counts, &Counts::instructions), "", {});
    goals_.AtMost(absl::StrCat(name, ": allocations"),
                  NumberOf(counts, &Counts::allocations), "", {});
  }
  // `more`: allocations beyond those of the baseline.
  void AddCounts(absl::string_view name, const absl::StatusOr<Counts>& counts,
                 const absl::StatusOr<Counts>& baseline,
                 std::optional<double> must = {},
                 std::optional<double> stretch = {},
                 std::optional<double> more = {}) {
    AddRatio(absl::StrCat(name, ", to bare"), counts, baseline, must, stretch);
    if (more && baseline.ok()) *more += baseline->allocations;
    goals_.AtMost(absl::StrCat(name, ": allocations"),
                  NumberOf(counts, &Counts::allocations), "", more);
  }

  void AddRatio(const std::string& name, const absl::StatusOr<Counts>& counts,
                const absl::StatusOr<Counts>& baseline,
                std::optional<double> must, std::optional<double> stretch) {
    if (!counts.ok() || !baseline.ok()) {
      goals_.AtMost(name, counts.ok() ? baseline.status() : counts.status(), "",
                    {});
      return;
    }
    const double ratio = counts->instructions / baseline->instructions;
    goals_.AtMost(
        name, ratio, "x", must, stretch,
        absl::StrFormat("%.4f, %+.0f instructions", ratio,
                        counts->instructions - baseline->instructions));
  }

  static absl::StatusOr<double> NumberOf(const absl::StatusOr<Counts>& counts,
                                         double Counts::*which) {
    if (!counts.ok()) return counts.status();
    return (*counts).*which;
  }

  using Numbers = absl::StatusOr<std::vector<double>>;
  static absl::StatusOr<double> MoreOf(const Numbers& numbers,
                                       const Numbers* baseline, size_t which) {
    if (!numbers.ok()) return numbers.status();
    if (baseline == nullptr) return (*numbers)[which];
    if (!baseline->ok()) return baseline->status();
    return (*numbers)[which] - (**baseline)[which];
  }
  void AddWaiting(absl::string_view name, const Numbers& numbers,
                  const Numbers* baseline = nullptr,
                  std::optional<double> threads = {},
                  std::optional<double> bytes = {}) {
    const std::string what = absl::StrCat(kWaiting, " ", name);
    goals_.AtMost(absl::StrCat(what, ", threads"), MoreOf(numbers, baseline, 0),
                  "", threads);
    goals_.AtMost(absl::StrCat(what, ", each"), MoreOf(numbers, baseline, 1),
                  "bytes", bytes);
  }

  const std::string address_;
  const std::string stream_address_;
  const RequestSettings settings_;
  Goals goals_;
};

int Main(int argc, char** argv) {
  RequestSettings settings;
  if (!settings.Parse("grpc_bench", argc, argv)) return 2;

  const testing::ServerProcess server([](int* port) {
    std::shared_ptr<testing::GrpcServer> running =
        testing::GrpcServer::Create().value();
    running->SetHandler(BenchAnswer);
    *port = running->port();
    return running;
  });
  const testing::ServerProcess streams(StartStreamServer);
  Bench bench(server.address(), streams.address(), settings);
  struct {
    const char* name;
    void (Bench::*run)();
  } const parts[] = {{"counts", &Bench::CompareCounts},
                     {"times", &Bench::CompareTimes},
                     {"throughput", &Bench::CompareThroughput},
                     {"waiting", &Bench::CompareWaiting},
                     {"streams", &Bench::CompareStreams}};
  bool any = false;
  for (const auto& part : parts) {
    if (!absl::StrContains(part.name, settings.filter)) continue;
    (bench.*part.run)();
    any = true;
  }
  if (!any) {
    std::fputs(
        "the filter lets nothing through: counts, times, throughput, waiting, "
        "streams\n",
        stderr);
  }
  return bench.Print() && any ? 0 : 1;
}

}  // namespace
}  // namespace forbear::bench

int main(int argc, char** argv) {
  for (const char* variable : {"http_proxy", "grpc_proxy", "https_proxy",
                               "FORBEAR_OFF", "FORBEAR_LOG"}) {
    unsetenv(variable);
  }
  using forbear::bench::IsCounted;
  using forbear::bench::RunCounted;
  if (argc == 5 && absl::string_view(argv[1]) == "--waiting") {
    return forbear::bench::PrintWaiting(argv);
  }
  if (IsCounted(argc, argv)) {
    return RunCounted(argv, forbear::bench::MakeLoopOf);
  }
  return forbear::bench::Main(argc, argv);
}
