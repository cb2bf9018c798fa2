// provider: plays one scenario over HTTP and gRPC on this machine's loopback, counts at
// its door, and writes down what came.
#include "tests/testing/provider.h"

#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "benchmarks/arena/door.h"
#include "benchmarks/arena/scenario.h"
#include "tests/testing/arrival_log.h"

namespace forbear::arena {
namespace {

using std::chrono::steady_clock;
using testing::Provider;

constexpr char kUsage[] =
    "usage: provider --list\n"
    "       provider --scenario NAME --log FILE [--max-seconds N] "
    "[--begin-in-ms N]\n"
    "\n"
    "Prints where it listens, as one line of JSON: {\"http\": PORT, \"grpc\": "
    "PORT,\n"
    "\"begin_ns\": when its time begins on CLOCK_MONOTONIC, or null: with the "
    "first\n"
    "request}. At SIGTERM, SIGINT, or after --max-seconds (default 300), it "
    "writes\n"
    "FILE, as in door.h, and ends.\n"
    "\n"
    "exit code: 0, 1 something did not work, 2 wrong usage\n";

struct Options {
  bool list = false;
  std::string scenario;
  std::string log;
  int max_seconds = 300;
  std::optional<int> begin_in_ms;
};

bool Parse(int argc, char** argv, Options* options) {
  constexpr option kOptions[] = {
      {"list", no_argument, nullptr, 'l'},
      {"scenario", required_argument, nullptr, 's'},
      {"log", required_argument, nullptr, 'o'},
      {"max-seconds", required_argument, nullptr, 'm'},
      {"begin-in-ms", required_argument, nullptr, 'b'},
      {nullptr, 0, nullptr, 0},
  };
  int found;
  while ((found = getopt_long(argc, argv, "", kOptions, nullptr)) != -1) {
    switch (found) {
      case 'l':
        options->list = true;
        break;
      case 's':
        options->scenario = optarg;
        break;
      case 'o':
        options->log = optarg;
        break;
      case 'm':
        if (!absl::SimpleAtoi(optarg, &options->max_seconds)) return false;
        break;
      case 'b':
        if (!absl::SimpleAtoi(optarg, &options->begin_in_ms.emplace())) {
          return false;
        }
        break;
      default:
        return false;
    }
  }
  return optind == argc &&
         (options->list || (!options->scenario.empty() &&
                            !options->log.empty() && options->max_seconds > 0));
}

int64_t Nanoseconds(steady_clock::time_point time) {
  return std::chrono::nanoseconds(time.time_since_epoch()).count();
}

bool Write(const std::string& path, const std::string& text) {
  std::FILE* const file = std::fopen(path.c_str(), "w");
  if (file == nullptr) return false;
  const bool written =
      std::fwrite(text.data(), 1, text.size(), file) == text.size();
  return std::fclose(file) == 0 && written;
}

int Fail(const std::string& what) {
  absl::FPrintF(stderr, "provider: %s\n", what);
  return 1;
}

int Play(const Options& options) {
  const Scenario* const scenario = FindScenario(options.scenario);
  if (scenario == nullptr) {
    Fail("no scenario " + options.scenario + "; --list names them");
    return 2;
  }
  // Before there are other threads, so that none of them gets these.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);

  Provider::Options provided = scenario->provider;
  std::string begin = "null";
  if (options.begin_in_ms.has_value()) {
    provided.begin_at =
        steady_clock::now() + std::chrono::milliseconds(*options.begin_in_ms);
    begin = absl::StrFormat("%d", Nanoseconds(*provided.begin_at));
  }
  const absl::StatusOr<std::unique_ptr<Provider>> provider =
      Provider::Create(provided);
  if (!provider.ok()) return Fail(provider.status().ToString());
  const Heartbeat heartbeat;
  absl::PrintF("{\"http\": %d, \"grpc\": %d, \"begin_ns\": %s}\n",
               (*provider)->http().port(), (*provider)->grpc().port(), begin);
  std::fflush(stdout);

  const timespec most = {options.max_seconds, 0};
  while (sigtimedwait(&signals, nullptr, &most) < 0 && errno == EINTR) {
  }

  const std::vector<testing::Arrival> arrivals = ArrivalsOf(**provider);
  DoorRun run;
  run.scenario = scenario->name;
  if (const auto began = (*provider)->began_at()) {
    run.began_ns = Nanoseconds(*began);
  }
  run.sends =
      (*provider)->http().log().Count() + (*provider)->grpc().log().Count();
  run.late = heartbeat.lateness();
  if (!Write(options.log, DoorText(run, arrivals))) {
    return Fail(options.log + ": " + std::strerror(errno));
  }
  return 0;
}

}  // namespace
}  // namespace forbear::arena

int main(int argc, char** argv) {
  forbear::arena::Options options;
  if (!forbear::arena::Parse(argc, argv, &options)) {
    std::fputs(forbear::arena::kUsage, stderr);
    return 2;
  }
  if (options.list) {
    std::fputs(forbear::arena::ScenariosJson().c_str(), stdout);
    return 0;
  }
  return forbear::arena::Play(options);
}
