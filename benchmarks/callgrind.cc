#include "benchmarks/callgrind.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

namespace forbear::bench {
namespace {

constexpr char kFlag[] = "--under-callgrind";

// Runs valgrind with these arguments and nothing on its outputs. 0: done.
int RunValgrind(std::vector<std::string> args) {
  std::vector<char*> argv;
  argv.reserve(args.size() + 1);
  for (std::string& arg : args) argv.push_back(arg.data());
  argv.push_back(nullptr);
  // Whatever is looked up late would be counted.
  std::string bind_now = "LD_BIND_NOW=1";
  std::vector<char*> env = {bind_now.data()};
  for (char** e = environ; *e != nullptr; ++e) env.push_back(*e);
  env.push_back(nullptr);
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, 1, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_addopen(&files, 2, "/dev/null", O_WRONLY, 0);
  pid_t pid = 0;
  int status =
      posix_spawnp(&pid, argv[0], &files, nullptr, argv.data(), env.data());
  posix_spawn_file_actions_destroy(&files);
  if (status == 0 && waitpid(pid, &status, 0) != pid) status = -1;
  return status;
}

}  // namespace

// What callgrind counts: all that happens between entering and leaving it. Not
// in the unnamed namespace, where its name would be the compiler's business.
__attribute__((noinline)) void Counted(const std::function<void(int64_t)>& loop,
                                       int64_t operations) {
  loop(operations);
}

namespace {

// Of a whole run, or of what is Counted.
absl::StatusOr<int64_t> CountRun(const std::string& name, int64_t operations,
                                 bool whole) {
  char out[] = "/tmp/forbear-callgrind-XXXXXX";
  const int fd = mkstemp(out);
  if (fd < 0) return absl::UnavailableError("no temporary file in /tmp");
  close(fd);
  char self[4096];
  const ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
  if (length < 0) return absl::UnavailableError("no /proc/self/exe");
  self[length] = '\0';
  std::vector<std::string> args = {"valgrind", "--tool=callgrind",
                                   absl::StrCat("--callgrind-out-file=", out)};
  // It is a thread's own switch.
  if (!whole) args.emplace_back("--toggle-collect=forbear::bench::Counted*");
  args.insert(args.end(), {self, kFlag, name, absl::StrCat(operations)});
  const int status = RunValgrind(std::move(args));
  int64_t total = 0;
  std::ifstream file(out);
  for (std::string line; std::getline(file, line);) {
    absl::string_view text = line;
    if (absl::ConsumePrefix(&text, "summary: ")) {
      if (!absl::SimpleAtoi(text, &total)) total = 0;
    }
  }
  unlink(out);
  if (status != 0 || total <= 0) {
    return absl::UnavailableError(
        "valgrind --tool=callgrind did not run (apt-get install valgrind)");
  }
  return total;
}

}  // namespace

absl::StatusOr<double> Instructions(const std::string& name, int64_t operations,
                                    CountedThreads threads) {
  const bool whole = threads == CountedThreads::kAll;
  const absl::StatusOr<int64_t> once = CountRun(name, operations, whole);
  if (!once.ok()) return once.status();
  const auto n = static_cast<double>(operations);
  if (!whole) return static_cast<double>(*once) / n;
  const absl::StatusOr<int64_t> thrice = CountRun(name, 3 * operations, whole);
  if (!thrice.ok()) return thrice.status();
  return static_cast<double>(*thrice - *once) / (2 * n);
}

bool IsCounted(int argc, char** argv) {
  return argc == 4 && absl::string_view(argv[1]) == kFlag;
}

int RunCounted(char** argv, const MakeLoop& make) {
  const std::function<void(int64_t)> loop = make(argv[2]);
  int64_t operations = 0;
  if (!loop || !absl::SimpleAtoi(argv[3], &operations)) return 1;
  loop(100);  // whatever is done once
  Counted(loop, operations);
  return 0;
}

}  // namespace forbear::bench
