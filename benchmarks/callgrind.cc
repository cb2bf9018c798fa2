#include "benchmarks/callgrind.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <istream>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/ascii.h"
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

// "(12) name" gives a name its number, "(12)" means it.
std::string NameIn(absl::string_view text,
                   absl::flat_hash_map<std::string, std::string>* names) {
  const size_t end = text.find(')');
  if (end == absl::string_view::npos) return std::string(text);
  std::string& name = (*names)[text.substr(0, end)];
  text.remove_prefix(end + 1);
  if (!text.empty())
    name = std::string(absl::StripLeadingAsciiWhitespace(text));
  return name;
}

bool Allocates(absl::string_view function) {
  // Two calls of one recursion have names with a quote.
  function = function.substr(0, function.find('\''));
  return function == "malloc" || function == "calloc" ||
         function == "realloc" || function == "aligned_alloc" ||
         function == "posix_memalign" || function == "memalign";
}

Counts Read(std::istream* file) {
  Counts counts;
  absl::flat_hash_map<std::string, std::string> names;
  bool in_allocator = false;  // which may call another one
  bool allocates = false;
  for (std::string line; std::getline(*file, line);) {
    absl::string_view text = line;
    int64_t n = 0;
    if (absl::ConsumePrefix(&text, "summary: ")) {
      if (absl::SimpleAtoi(text, &n)) {
        counts.instructions = static_cast<double>(n);
      }
    } else if (absl::ConsumePrefix(&text, "fn=")) {
      in_allocator = Allocates(NameIn(text, &names));
    } else if (absl::ConsumePrefix(&text, "cfn=")) {
      allocates = Allocates(NameIn(text, &names)) && !in_allocator;
    } else if (absl::ConsumePrefix(&text, "calls=")) {
      if (allocates && absl::SimpleAtoi(text.substr(0, text.find(' ')), &n)) {
        counts.allocations += static_cast<double>(n);
      }
    }
  }
  return counts;
}

// Of a whole run, or of what is Counted.
absl::StatusOr<Counts> CountRun(const std::string& name, int64_t operations,
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
  if (!whole) {
    // It is a thread's own switch, and none for how often a function was called.
    args.emplace_back("--toggle-collect=forbear::bench::Counted*");
  }
  args.insert(args.end(), {self, kFlag, name, absl::StrCat(operations)});
  const int status = RunValgrind(std::move(args));
  std::ifstream file(out);
  const Counts total = Read(&file);
  unlink(out);
  if (status != 0 || total.instructions <= 0) {
    return absl::UnavailableError(
        "valgrind --tool=callgrind did not run (apt-get install valgrind)");
  }
  return total;
}

}  // namespace

absl::StatusOr<Counts> CountsOf(const std::string& name, int64_t operations,
                                CountedThreads threads) {
  const bool whole = threads == CountedThreads::kAll;
  const int64_t few = operations / 3;
  const absl::StatusOr<Counts> some = CountRun(name, few, whole);
  if (!some.ok()) return some.status();
  const absl::StatusOr<Counts> all = CountRun(name, operations, whole);
  if (!all.ok()) return all.status();
  const auto n = static_cast<double>(operations - few);
  return Counts{(all->instructions - some->instructions) / n,
                (all->allocations - some->allocations) / n};
}

absl::StatusOr<double> Instructions(const std::string& name, int64_t operations,
                                    CountedThreads threads) {
  if (threads == CountedThreads::kOne) {
    const absl::StatusOr<Counts> once = CountRun(name, operations, false);
    if (!once.ok()) return once.status();
    return once->instructions / static_cast<double>(operations);
  }
  const absl::StatusOr<Counts> counts =
      CountsOf(name, 3 * operations, CountedThreads::kAll);
  if (!counts.ok()) return counts.status();
  return counts->instructions;
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
