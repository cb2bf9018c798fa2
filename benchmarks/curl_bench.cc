// What Forbear adds to a request by libcurl when nothing fails, beside what it may.
//
//   curl_bench [--quick] [--benchmark_filter=WORD]
//
// The server is an nginx of its own, on the loopback, outside of Valgrind. See
// curl_cases.h for the requests; docs/benchmarks.md says how far the numbers reach.
// Each comparison has a control: the baseline once more. What that differs from 1.00
// by is noise. Exit status 0 unless something did not run: speed is no test.
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
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "benchmarks/callgrind.h"
#include "benchmarks/cpu_time.h"
#include "benchmarks/curl_cancels.h"
#include "benchmarks/curl_cases.h"
#include "benchmarks/curl_waiting.h"
#include "benchmarks/goals.h"
#include "benchmarks/own_process.h"
#include "benchmarks/ratios.h"
#include "benchmarks/request_settings.h"
#include "benchmarks/rounds.h"
#include "benchmarks/side_by_side.h"
#include "tests/testing/nginx.h"

namespace forbear::bench {
namespace {

struct Comparison {
  const char* what = nullptr;
  const char* baseline = nullptr;
  const char* ours = nullptr;  // null: there is none yet
  std::optional<double> must;
  const char* path = nullptr;  // where processor time is measured
  CountedThreads threads = CountedThreads::kOne;
};
constexpr Comparison kComparisons[] = {
    {"GET", "plain get", "handle get", 1.05, "/soon"},
    {"POST", "plain post", "handle post", 1.05, "/soon"},
    {"GET, 64 in flight", "multi get", "engine get", 1.05, "/busy",
     CountedThreads::kAll},
    {"GET, made for each", "multi get", "engine request", std::nullopt, "/busy",
     CountedThreads::kAll},
    {"GET, each by hand", "multi request", "engine request", 1.05, "/busy",
     CountedThreads::kAll},
};

bool Wants(const RequestSettings& settings, const Comparison& c) {
  return absl::StrContains(c.what, settings.filter) ||
         absl::StrContains(c.baseline, settings.filter) ||
         (c.ours != nullptr && absl::StrContains(c.ours, settings.filter));
}

// The inner program's cases are named "CASE@URL".
Loop MakeLoopOf(const std::string& name) {
  const size_t at = name.find('@');
  if (at == std::string::npos) return Loop();
  const std::shared_ptr<CurlCase> one =
      MakeCurlCase(name.substr(0, at), name.substr(at + 1));
  if (one == nullptr) return Loop();
  return [one](int64_t n) { one->Run(n); };
}

// Of the baseline in microseconds of processor time per request.
std::vector<Spread> CpuRounds(const std::vector<Loop>& loops,
                              const RequestSettings& settings) {
  return Rounds(loops.size(), settings.rounds, [&](size_t i) {
    const double before = CpuMicros();
    loops[i](settings.in_round);
    return std::vector<double>{(CpuMicros() - before) /
                               static_cast<double>(settings.in_round)};
  })[0];
}

// Under callgrind the program is so slow that the answer of a server that answers
// /soon is there before it is waited for, and no two requests are in flight. So that
// server takes a few milliseconds: limit_req lets through what comes sooner than
// that after what was before, but late. `return` alone would come before it.
constexpr char kHttp[] = R"(
    limit_req_zone $binary_remote_addr zone=counted:1m rate=250r/s;
    limit_req_zone $binary_remote_addr zone=busy:1m rate=6400r/s;
    limit_req_zone $binary_remote_addr zone=held:1m rate=1r/m;)";
constexpr char kServer[] = R"(
    access_log off;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    location /bad { return 500 "sorry"; }
    location /soon { return 200 $$; }
    location /held {
      limit_req zone=held burst=100000;
      try_files /none @answer;
    }
    location /counted {
      limit_req zone=counted burst=1000;
      try_files /none @answer;
    }
    location /busy {
      limit_req zone=busy burst=1000;
      try_files /none @answer;
    }
    location @answer { return 200 $$; })";

absl::StatusOr<std::unique_ptr<testing::Nginx>> StartServer() {
  testing::Nginx::Options options;
  options.http = kHttp;
  options.server =
      absl::StrReplaceAll(kServer, {{"$$", std::string(kBodyBytes, 'b')}});
  return testing::Nginx::Start(options);
}

absl::StatusOr<WaitingNumbers> Waiting(int transfers, double spread,
                                       const std::string& url) {
  const absl::StatusOr<std::vector<double>> n = NumbersOfOwnProcess(
      {"--waiting", absl::StrCat(transfers), absl::StrCat(spread), url}, 5);
  if (!n.ok()) return n.status();
  return WaitingNumbers{(*n)[0], (*n)[1], (*n)[2], (*n)[3], (*n)[4]};
}

int PrintWaiting(char** argv) {
  const WaitingNumbers n =
      MeasureWaiting(std::atoi(argv[2]), std::atof(argv[3]), argv[4]);
  std::printf("%f %f %f %f %f\n", n.megabytes, n.micros, n.late_median,
              n.late_p99, n.late_max);
  return 0;
}

class Bench {
 public:
  Bench(const testing::Nginx* server, RequestSettings settings)
      : server_(*server), settings_(std::move(settings)) {}

  void Compare(const Comparison& c) {
    CompareInstructions(c);
    CompareCpu(c);
  }

  // Of transfers that wait. The control of their time is raw libcurl's, for two requests.
  void Wait() {
    const int many = settings_.quick ? 10000 : 50000;
    const auto memory = Waiting(many, 0, server_.Url("/bad"));
    const auto of =
        [](const absl::StatusOr<WaitingNumbers>& n,
           double WaitingNumbers::*which) -> absl::StatusOr<double> {
      if (!n.ok()) return n.status();
      return (*n).*which;
    };
    const std::string name = absl::StrCat(many, " waiting");
    goals_.AtMost(absl::StrCat(name, ": memory above idle"),
                  of(memory, &WaitingNumbers::megabytes), "MB",
                  80.0 * many / 50000);
    const Loop raw = MakeLoopOf(CaseAt("multi get", "/busy"));
    const double before = CpuMicros();
    raw(settings_.in_round * 10);
    const double plain =
        (CpuMicros() - before) / static_cast<double>(settings_.in_round * 10);
    goals_.AtMost(
        absl::StrCat(name, ": processor time each"),
        of(memory, &WaitingNumbers::micros), "us", 60, {},
        absl::StrFormat("two attempts; two plain requests: %.1f", 2 * plain));
    const int fewer = many * 2 / 5;
    const auto late = Waiting(fewer, 3, server_.Url("/bad"));
    goals_.AtMost(absl::StrCat(fewer, " waiting: late by, p99"),
                  of(late, &WaitingNumbers::late_p99), "ms", 10, {},
                  late.ok() ? absl::StrFormat("median %.2f, max %.1f",
                                              late->late_median, late->late_max)
                            : "");
  }

  // How soon a call ends that another thread cancels.
  void Cancel() {
    struct Case {
      const char* name = nullptr;
      CancelWay way = CancelWay::kThread;
      const char* path = nullptr;
      std::optional<double> must;
    };
    static constexpr Case kCases[] = {
        {"control: a thread is woken", CancelWay::kThread, "", std::nullopt},
        {"cancel in an attempt", CancelWay::kAttempt, "/held", 1},
        {"cancel in a backoff", CancelWay::kBackoff, "/bad", 1},
        {"cancel in an engine", CancelWay::kEngine, "/held", 1}};
    const int times = settings_.quick ? 100 : 300;
    // The first one is answered; those after it wait for a minute and more.
    AskOnce(server_.Url("/held"));
    for (const Case& c : kCases) {
      const std::vector<double> millis =
          MeasureCancels(c.way, times, server_.Url(c.path));
      goals_.AtMost(absl::StrCat(c.name, ", p99"),
                    millis[millis.size() * 99 / 100], "ms", c.must, {},
                    absl::StrFormat("median %.3f, max %.2f",
                                    millis[millis.size() / 2], millis.back()));
    }
  }

  bool Print() const {
    goals_.Print();
    return goals_.complete();
  }

 private:
  std::string CaseAt(const char* name, const char* path) const {
    return absl::StrCat(name, "@", server_.Url(path));
  }

  void AddRatio(const std::string& name, const absl::StatusOr<double>& value,
                const absl::StatusOr<double>& baseline,
                std::optional<double> must) {
    if (!value.ok() || !baseline.ok()) {
      goals_.AtMost(name, value.ok() ? baseline : value, "", {});
      return;
    }
    goals_.AtMost(name, *value / *baseline, "x", must, {},
                  absl::StrFormat("%.4f, %+.0f instructions",
                                  *value / *baseline, *value - *baseline));
  }

  void CompareInstructions(const Comparison& c) {
    const auto count = [&](const char* name) {
      return Instructions(CaseAt(name, "/counted"), settings_.counted,
                          c.threads);
    };
    const absl::StatusOr<double> baseline = count(c.baseline);
    goals_.AtMost(absl::StrCat(c.what, ", plain: instructions"), baseline, "",
                  {});
    AddRatio(absl::StrCat(c.what, ", control: to plain"), count(c.baseline),
             baseline, {});
    if (c.ours == nullptr) return;
    AddRatio(absl::StrCat(c.what, ", Forbear: to plain"), count(c.ours),
             baseline, c.must);
  }

  void CompareCpu(const Comparison& c) {
    std::vector<Loop> loops = {MakeLoopOf(CaseAt(c.baseline, c.path)),
                               MakeLoopOf(CaseAt(c.baseline, c.path))};
    if (c.ours != nullptr) loops.push_back(MakeLoopOf(CaseAt(c.ours, c.path)));
    const std::vector<Spread> cpu = CpuRounds(loops, settings_);
    goals_.AtMost(absl::StrCat(c.what, ", plain: processor time"),
                  cpu[0].median, "us", {}, {},
                  absl::StrFormat("%.1f … %.1f", cpu[0].min, cpu[0].max));
    goals_.AtMost(absl::StrCat(c.what, ", control: time to plain"),
                  cpu[1].median, "x", {}, {}, cpu[1].Range());
    if (c.ours == nullptr) return;
    goals_.AtMost(absl::StrCat(c.what, ", Forbear: time to plain"),
                  cpu[2].median, "x", c.must, {}, cpu[2].Range());
  }

  const testing::Nginx& server_;
  const RequestSettings settings_;
  Goals goals_;
};

int Main(int argc, char** argv) {
  RequestSettings settings;
  if (!settings.Parse("curl_bench", argc, argv)) return 2;

  const absl::StatusOr<std::unique_ptr<testing::Nginx>> nginx = StartServer();
  if (!nginx.ok()) {
    std::fprintf(stderr, "curl_bench needs a server: %s\n",
                 std::string(nginx.status().message()).c_str());
    return 1;
  }

  const SecondThread second;
  Bench bench(nginx->get(), settings);
  bool compared = false;
  for (const Comparison& c : kComparisons) {
    if (!Wants(settings, c)) continue;
    bench.Compare(c);
    compared = true;
  }
  if (absl::StrContains("waiting", settings.filter)) {
    bench.Wait();
    compared = true;
  }
  if (absl::StrContains("cancels", settings.filter)) {
    bench.Cancel();
    compared = true;
  }
  if (!compared) std::fputs("the filter lets nothing through\n", stderr);
  return bench.Print() && compared ? 0 : 1;
}

}  // namespace
}  // namespace forbear::bench

int main(int argc, char** argv) {
  // The server is here; libcurl still looks for them, as it always does.
  for (const char* proxy :
       {"http_proxy", "all_proxy", "ALL_PROXY", "FORBEAR_OFF", "FORBEAR_LOG"}) {
    unsetenv(proxy);
  }
  using forbear::bench::IsCounted;
  using forbear::bench::RunCounted;
  if (argc == 5 && absl::string_view(argv[1]) == "--waiting") {
    return forbear::bench::PrintWaiting(argv);
  }
  if (IsCounted(argc, argv)) {
    const forbear::bench::SecondThread second;
    return RunCounted(argv, forbear::bench::MakeLoopOf);
  }
  return forbear::bench::Main(argc, argv);
}
