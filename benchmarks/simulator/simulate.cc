// ./dev simulate: the arena's scenarios in virtual time, and random buckets by the
// thousand. docs/arena.md.
#include <getopt.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "benchmarks/arena/scenario.h"
#include "benchmarks/simulator/play.h"
#include "benchmarks/simulator/sample.h"
#include "core/random.h"

namespace forbear::simulator {
namespace {

constexpr char kUsage[] =
    "usage: ./dev simulate [--scenario NAME]… [--runs N] [--buckets N] "
    "[--exact]\n"
    "                      [--seed N] [--peers] [--trace] [--json]\n"
    "\n"
    "Plays the arena's scenarios in virtual time: Forbear's decisions against "
    "the\n"
    "server's model, without sockets, threads and clocks (docs/arena.md).\n"
    "\n"
    "  --scenario NAME  S2, outage-hang, …, or a group: main, variants, "
    "buckets\n"
    "                   (default: main and variants). May be repeated\n"
    "  --runs N         of each scenario, with another seed each (default 50)\n"
    "  --buckets N      in place of scenarios: N random buckets, each "
    "announcing its\n"
    "                   waits in five ways\n"
    "  --exact          answers take as long as they should, and sends arrive "
    "in their\n"
    "                   order (default: ±40 %, and up to 4 ms late)\n"
    "  --seed N         of the first run, or of the buckets (default 1)\n"
    "  --peers          several processes know how many they are "
    "(quota.peers)\n"
    "  --trace          each arrival of the first run, with what is known "
    "then\n"
    "  --json           medians, one object per scenario and line\n";

struct Options {
  std::vector<std::string> scenarios;
  int runs = 50;
  int buckets = 0;
  bool exact = false;
  bool json = false;
  bool trace = false;
  bool peers = false;
  int64_t seed = 1;
};

Weather WeatherOf(const Options& options, uint64_t seed) {
  Weather weather = Rough(seed);
  if (options.exact) {
    weather.jitter = 0;
    weather.transit = absl::ZeroDuration();
  }
  weather.peers = options.peers;
  return weather;
}

// False, and says so: something is broken.
bool IsWhole(const Played& played, const std::string& name) {
  if (played.faults.empty()) return true;
  absl::FPrintF(stderr, "%s: BROKEN: %s\n", name, played.faults);
  return false;
}

bool Wanted(const arena::Scenario& scenario, const Options& options) {
  if (options.scenarios.empty()) return scenario.group != "buckets";
  return std::any_of(options.scenarios.begin(), options.scenarios.end(),
                     [&](const std::string& name) {
                       return name == scenario.name || name == scenario.group;
                     });
}

bool PlayScenarios(const Options& options) {
  bool whole = true;
  if (!options.json) {
    absl::PrintF(
        "%d runs each, %s; p50 / p90 / most\n\n", options.runs,
        options.exact ? "exact" : "answers ±40 %, sends up to 4 ms late");
    absl::PrintF("%-20s %-15s %-20s %5s %6s %8s %8s %7s %6s %s\n", "scenario",
                 "wasted", "× ideal", "waves", "/call", "outage", "/100 ms",
                 "p95 ms", "crowd", "not answered");
  }
  for (const arena::Scenario& scenario : arena::AllScenarios()) {
    if (!Wanted(scenario, options)) continue;
    for (const bool grpc : {false, true}) {
      if (grpc && !scenario.grpc) continue;
      Sample all;
      for (int i = 0; i < options.runs; ++i) {
        Weather weather =
            WeatherOf(options, static_cast<uint64_t>(options.seed + i));
        weather.grpc = grpc;
        if (options.trace && i == 0) weather.trace = stdout;
        const Played played = Play(scenario, scenario.ideal.wall, weather);
        whole = IsWhole(played, scenario.name) && whole;
        all.Add(played);
      }
      const char* const protocol = grpc ? "grpc" : "http";
      if (options.json) {
        absl::PrintF(
            R"({"scenario":"%s","protocol":"%s","runs":%d,"wasted":%g,)"
            R"("x_ideal":%.4f,"per_call":%.4f,"unanswered":%d})"
            "\n",
            scenario.name, protocol, options.runs, Part(all.wasted, 0.5),
            Part(all.x_ideal, 0.5), Part(all.per_call, 0.5),
            all.asked - all.answered);
        continue;
      }
      absl::PrintF(
          "%-20s %-15s %-20s %5.0f %6.3f %8.0f %8.0f %7.1f %6.2f %d of %d\n",
          grpc ? scenario.name + " grpc" : scenario.name,
          absl::StrFormat("%.0f / %.0f / %.0f", Part(all.wasted, 0.5),
                          Part(all.wasted, 0.9), Part(all.wasted, 1)),
          absl::StrFormat("%.3f / %.3f / %.3f", Part(all.x_ideal, 0.5),
                          Part(all.x_ideal, 0.9), Part(all.x_ideal, 1)),
          Part(all.waves, 0.5), Part(all.per_call, 0.5),
          Part(all.outage_sends, 0.5), Part(all.fullest, 0.5),
          1000 * Part(all.p95, 0.5), Part(all.crowding, 0.5),
          all.asked - all.answered, all.asked);
      std::fflush(stdout);
    }
  }
  return whole;
}

// 64 callers of a bucket of two a second wait half a minute at best.
constexpr absl::Duration kPatience = absl::Minutes(10);

bool PlayBuckets(const Options& options) {
  bool whole = true;
  const std::vector<std::string>& announcements = arena::Announcements();
  // One for each way, and one for all of them.
  std::vector<Sample> all(announcements.size() + 1);
  std::vector<Sample> binding(announcements.size() + 1);
  absl::Time said = absl::Now();
  for (int n = 1; n <= options.buckets; ++n) {
    absl::Duration ideal;
    for (size_t i = 0; i < announcements.size(); ++i) {
      const arena::Scenario bucket = arena::RandomBucket(
          static_cast<uint64_t>(options.seed), n, announcements[i]);
      if (i == 0) ideal = arena::IdealOf(bucket).wall;
      Weather weather =
          WeatherOf(options, MixRandom(static_cast<uint64_t>(options.seed),
                                       static_cast<uint64_t>(n)));
      weather.patience = kPatience;
      const Played played = Play(bucket, ideal, weather);
      whole = IsWhole(played, absl::StrCat(n, ": ", bucket.title)) && whole;
      for (const size_t row : {i, announcements.size()}) {
        all[row].Add(played);
        if (arena::Binds(bucket)) binding[row].Add(played);
      }
    }
    if (absl::Now() - said >= absl::Seconds(10)) {
      said = absl::Now();
      absl::FPrintF(stderr, "./dev simulate: %d of %d buckets\n", n,
                    options.buckets);
    }
  }
  absl::PrintF(
      "%d random buckets (seed %d), %s; × ideal where the limit binds: of "
      "%d\n\n",
      options.buckets, options.seed,
      options.exact ? "exact" : "answers ±40 %, sends up to 4 ms late",
      static_cast<int>(binding[0].wasted.size()));
  absl::PrintF("%-10s %-24s %-10s %-20s %s\n", "announced",
               "× ideal p50/p90/max", "binds p50", "wasted p50/p90/max",
               "not answered");
  for (size_t i = 0; i <= announcements.size(); ++i) {
    const Sample& s = all[i];
    absl::PrintF("%-10s %-24s %-10.3f %-20s %d of %d\n",
                 i < announcements.size() ? announcements[i] : "all",
                 absl::StrFormat("%.3f / %.3f / %.2f", Part(s.x_ideal, 0.5),
                                 Part(s.x_ideal, 0.9), Part(s.x_ideal, 1)),
                 Part(binding[i].x_ideal, 0.5),
                 absl::StrFormat("%.0f / %.0f / %.0f", Part(s.wasted, 0.5),
                                 Part(s.wasted, 0.9), Part(s.wasted, 1)),
                 s.asked - s.answered, s.asked);
  }
  return whole;
}

// True: `*number` is what the option says, within bounds.
template <typename Number>
bool ReadNumber(const char* option, const char* text, Number least, Number most,
                Number* number) {
  if (absl::SimpleAtoi(text, number) && *number >= least && *number <= most) {
    return true;
  }
  absl::FPrintF(stderr,
                "./dev simulate: %s must be from %d to %d, and is '%s'\n",
                option, least, most, text);
  return false;
}

bool Check(const Options& options) {
  for (const std::string& name : options.scenarios) {
    const auto& all = arena::AllScenarios();
    if (std::none_of(all.begin(), all.end(), [&](const arena::Scenario& s) {
          return s.name == name || s.group == name;
        })) {
      absl::FPrintF(stderr,
                    "./dev simulate: there is no scenario '%s'; ./dev arena "
                    "--list names them\n",
                    name);
      return false;
    }
  }
  return true;
}

int Main(int argc, char** argv) {
  static constexpr option kOptions[] = {
      {"scenario", required_argument, nullptr, 's'},
      {"runs", required_argument, nullptr, 'r'},
      {"buckets", required_argument, nullptr, 'b'},
      {"exact", no_argument, nullptr, 'e'},
      {"seed", required_argument, nullptr, 'd'},
      {"json", no_argument, nullptr, 'j'},
      {"trace", no_argument, nullptr, 't'},
      {"peers", no_argument, nullptr, 'p'},
      {"help", no_argument, nullptr, 'h'},
      {nullptr, 0, nullptr, 0}};
  Options options;
  for (int c; (c = getopt_long(argc, argv, "h", kOptions, nullptr)) != -1;) {
    bool good = true;
    switch (c) {
      case 's':
        options.scenarios.emplace_back(optarg);
        break;
      case 'r':
        good = ReadNumber("--runs", optarg, 1, 100000, &options.runs);
        break;
      case 'b':
        good = ReadNumber("--buckets", optarg, 1, 1000000, &options.buckets);
        break;
      case 'e':
        options.exact = true;
        break;
      case 'd':
        good = ReadNumber("--seed", optarg, int64_t{0}, int64_t{1} << 60,
                          &options.seed);
        break;
      case 'p':
        options.peers = true;
        break;
      case 't':
        options.trace = true;
        break;
      case 'j':
        options.json = true;
        break;
      case 'h':
        std::fputs(kUsage, stdout);
        return 0;
      default:
        good = false;
    }
    if (!good) {
      std::fputs(kUsage, stderr);
      return 2;
    }
  }
  if (optind < argc || !Check(options)) {
    std::fputs(kUsage, stderr);
    return 2;
  }
  const bool whole =
      options.buckets > 0 ? PlayBuckets(options) : PlayScenarios(options);
  return whole ? 0 : 1;
}

}  // namespace
}  // namespace forbear::simulator

int main(int argc, char** argv) { return forbear::simulator::Main(argc, argv); }
