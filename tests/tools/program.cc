#include "tests/tools/program.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <fstream>
#include <iterator>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace forbear::testing {
namespace {

constexpr std::chrono::seconds kPatience(60);

// Two ends that the program's other children do not get.
struct Ends {
  int here = -1;
  int there = -1;
};

Ends Pipe() {
  std::array<int, 2> ends = {-1, -1};
  EXPECT_EQ(pipe2(ends.data(), O_CLOEXEC), 0);
  return {ends[0], ends[1]};
}

Ends Terminal() {
  const int here = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
  EXPECT_GE(here, 0);
  EXPECT_EQ(grantpt(here), 0);
  EXPECT_EQ(unlockpt(here), 0);
  std::array<char, 128> name = {};
  EXPECT_EQ(ptsname_r(here, name.data(), name.size()), 0);
  const int there = open(name.data(), O_RDWR | O_NOCTTY | O_CLOEXEC);
  EXPECT_GE(there, 0) << name.data();
  return {here, there};
}

std::vector<std::string> Environment(const ProgramOptions& options) {
  std::vector<std::string> all;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    if (!absl::StartsWith(*variable, "FORBEAR_")) all.emplace_back(*variable);
  }
  all.insert(all.end(), options.environment.begin(), options.environment.end());
  return all;
}

std::vector<char*> Pointers(std::vector<std::string>* texts) {
  std::vector<char*> pointers;
  for (std::string& text : *texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

// Until both are at their end. False: it took too long.
bool ReadBoth(int out, int err, ProgramResult* result) {
  const auto end = std::chrono::steady_clock::now() + kPatience;
  std::array<pollfd, 2> fds = {pollfd{out, POLLIN, 0}, pollfd{err, POLLIN, 0}};
  while (fds[0].fd >= 0 || fds[1].fd >= 0) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        end - std::chrono::steady_clock::now());
    if (left.count() <= 0) return false;
    poll(fds.data(), fds.size(), static_cast<int>(left.count()));
    for (pollfd& fd : fds) {
      if (fd.fd < 0 || fd.revents == 0) continue;
      std::array<char, 4096> buffer = {};
      const ssize_t n = read(fd.fd, buffer.data(), buffer.size());
      if (n > 0) {
        (&fd == &fds[0] ? result->out : result->err)
            .append(buffer.data(), static_cast<size_t>(n));
      } else {
        fd.fd = -1;  // the end; of a terminal: EIO
      }
    }
  }
  return true;
}

}  // namespace

ProgramResult RunForbear(const std::vector<std::string>& args,
                         const ProgramOptions& options) {
  std::vector<std::string> argv = {absl::StrCat(
      getenv("TEST_SRCDIR"), "/", getenv("TEST_WORKSPACE"), "/tools/forbear")};
  argv.insert(argv.end(), args.begin(), args.end());
  std::vector<std::string> environment = Environment(options);

  const Ends out = Pipe();
  const Ends err = options.terminal ? Terminal() : Pipe();
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null",
                                   O_RDONLY, 0);
  if (options.out_path.empty()) {
    posix_spawn_file_actions_adddup2(&actions, out.there, STDOUT_FILENO);
  } else {
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO,
                                     options.out_path.c_str(), O_WRONLY, 0);
  }
  posix_spawn_file_actions_adddup2(&actions, err.there, STDERR_FILENO);
  pid_t pid = -1;
  const int failed =
      posix_spawn(&pid, argv[0].c_str(), &actions, nullptr,
                  Pointers(&argv).data(), Pointers(&environment).data());
  posix_spawn_file_actions_destroy(&actions);
  close(out.there);
  close(err.there);

  ProgramResult result;
  EXPECT_EQ(failed, 0) << argv[0] << " cannot be run";
  if (failed == 0) {
    if (!ReadBoth(out.here, err.here, &result)) {
      ADD_FAILURE() << "it runs for more than a minute";
      kill(pid, SIGKILL);
    }
    int status = 0;
    EXPECT_EQ(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status)) result.exit_code = WEXITSTATUS(status);
  }
  close(out.here);
  close(err.here);
  return result;
}

std::string TempPath(const std::string& name) {
  static std::atomic<int> count{0};
  return absl::StrCat(::testing::TempDir(), "/", count++, "-", name);
}

void WriteFile(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace forbear::testing
