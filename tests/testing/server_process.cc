#include "tests/testing/server_process.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "absl/strings/str_cat.h"

namespace forbear::testing {
namespace {

void Check(bool ok, const char* what) {
  if (ok) return;
  std::fprintf(stderr, "ServerProcess: %s\n", what);
  std::abort();
}

// Until the other end of `end` is closed.
void Serve(const ServerProcess::Start& start, int port, int end) {
  int number = 0;
  const std::shared_ptr<void> server = start(&number);
  Check(server != nullptr && number != 0, "no server");
  Check(write(port, &number, sizeof(number)) == sizeof(number), "no parent");
  char byte;
  while (read(end, &byte, 1) > 0) {
  }
}

}  // namespace

ServerProcess::ServerProcess(const Start& start) {
  int up[2];
  int down[2];
  Check(pipe2(up, O_CLOEXEC) == 0 && pipe2(down, O_CLOEXEC) == 0, "no pipe");
  const pid_t child = fork();
  Check(child >= 0, "no process");
  if (child == 0) {
    close(up[0]);
    close(down[1]);
    Serve(start, up[1], down[0]);
    _exit(0);
  }
  close(up[1]);
  close(down[0]);
  child_ = child;
  end_ = down[1];
  Check(read(up[0], &port_, sizeof(port_)) == sizeof(port_), "no port");
  close(up[0]);
}

ServerProcess::~ServerProcess() {
  close(end_);
  waitpid(child_, nullptr, 0);
}

std::string ServerProcess::address() const {
  return absl::StrCat("127.0.0.1:", port_);
}

}  // namespace forbear::testing
