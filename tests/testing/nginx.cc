#include "tests/testing/nginx.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <system_error>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "tests/testing/certificate.h"

namespace forbear::testing {
namespace {

constexpr size_t kMaxArrivals = 100000;
constexpr absl::Duration kStartLimit = absl::Seconds(10);
constexpr absl::Duration kStopLimit = absl::Seconds(2);
constexpr absl::Duration kPoll = absl::Milliseconds(2);

// True as soon as `done` is; false if that takes longer than `limit`.
bool PollUntil(absl::Duration limit, const std::function<bool()>& done) {
  const absl::Time end = absl::Now() + limit;
  while (!done()) {
    if (absl::Now() >= end) return false;
    absl::SleepFor(kPoll);
  }
  return true;
}

bool Accepts(int port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(port));
  const bool connected =
      connect(fd, reinterpret_cast<const sockaddr*>(&address),
              sizeof(address)) == 0;
  close(fd);
  return connected;
}

// An empty directory, or "".
std::string MakeDirectory() {
  for (const char* variable : {"TEST_TMPDIR", "TMPDIR"}) {
    const char* parent = getenv(variable);
    if (parent == nullptr) continue;
    std::string path = absl::StrCat(parent, "/nginx-XXXXXX");
    if (mkdtemp(path.data()) != nullptr) return path;
  }
  std::string path = "/tmp/nginx-XXXXXX";
  return mkdtemp(path.data()) == nullptr ? "" : path;
}

constexpr char kTls[] = R"( ssl http2;
    ssl_certificate cert.pem;
    ssl_certificate_key key.pem;
)";

// Paths are relative to the directory in which nginx runs: a socket's path must
// be short.
std::string Configuration(const Nginx::Options& options, int port) {
  // Started by root, nginx gives its directories to another user, whom a
  // sandbox need not have.
  const char* user = geteuid() == 0 ? "user root root;" : "";
  return absl::StrCat(user, R"(
daemon off;
master_process off;
pid nginx.pid;
error_log error.log crit;
events { worker_connections 1024; }
http {
  log_format arrivals
    '$msec $request_time $status $content_length $connection $connection_requests $request';
  access_log access.log arrivals;
  client_body_temp_path tmp/body;
  proxy_temp_path tmp/proxy;
  fastcgi_temp_path tmp/fastcgi;
  uwsgi_temp_path tmp/uwsgi;
  scgi_temp_path tmp/scgi;
  client_max_body_size 64m;
  default_type text/plain;
  upstream ok { server unix:ok.sock; }
  server { listen unix:ok.sock; access_log off; return 200 "ok"; }
)",
                      options.http, "\n  server {\n    listen 127.0.0.1:", port,
                      options.tls ? kTls : ";\n", options.server, "\n  }\n}\n");
}

std::string ReadAll(const std::string& path) {
  std::ifstream file(path);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

// A line of the log format above.
Arrival ParseLine(absl::string_view line, absl::Time start) {
  Arrival arrival;
  const std::vector<absl::string_view> words =
      absl::StrSplit(line, absl::MaxSplits(' ', 7));
  double done_at = 0, took = 0;
  if (words.size() < 7 || !absl::SimpleAtod(words[0], &done_at) ||
      !absl::SimpleAtod(words[1], &took) ||
      !absl::SimpleAtoi(words[2], &arrival.status)) {
    return arrival;
  }
  const absl::Time arrived_at =
      absl::FromUnixMillis(std::llround(done_at * 1000)) -
      absl::Milliseconds(std::llround(took * 1000));
  arrival.since_start = std::max(absl::ZeroDuration(), arrived_at - start);
  int64_t number = 0;
  if (absl::SimpleAtoi(words[3], &number)) {
    arrival.body_bytes = static_cast<size_t>(number);
  }
  if (absl::SimpleAtoi(words[4], &number)) arrival.connection_id = number;
  if (absl::SimpleAtoi(words[5], &number)) {
    arrival.index_on_connection = number - 1;
  }
  arrival.method = std::string(words[6]);
  if (words.size() > 7) {
    arrival.path = std::string(words[7].substr(0, words[7].find(' ')));
  }
  return arrival;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Nginx>> Nginx::Start(const Options& options) {
  if (access(options.program.c_str(), X_OK) != 0) {
    return absl::NotFoundError(
        absl::StrCat("there is no ", options.program,
                     "; on Debian: apt-get install nginx-light"));
  }
  absl::StatusOr<LoopbackPort> port = LoopbackPort::Reserve(options.port);
  if (!port.ok()) return port.status();
  std::string directory = MakeDirectory();
  if (directory.empty()) {
    return absl::UnavailableError("cannot make a temporary directory");
  }
  std::unique_ptr<Nginx> nginx(
      new Nginx(*std::move(port), std::move(directory), options.tls));
  const absl::Status status = nginx->Spawn(options);
  if (!status.ok()) return status;
  return nginx;
}

Nginx::Nginx(LoopbackPort port, std::string directory, bool tls)
    : port_(std::move(port)),
      directory_(std::move(directory)),
      tls_(tls),
      start_(absl::Now()) {}

Nginx::~Nginx() {
  if (pid_ > 0) {
    // Until it is waited for, the process keeps its id, dead or alive.
    const auto ended = [this] { return waitpid(pid_, nullptr, WNOHANG) != 0; };
    kill(pid_, SIGTERM);
    if (!PollUntil(kStopLimit, ended)) {
      kill(pid_, SIGKILL);
      waitpid(pid_, nullptr, 0);
    }
  }
  std::error_code ignored;
  std::filesystem::remove_all(directory_, ignored);
}

absl::Status Nginx::Spawn(const Options& options) {
  std::error_code error;
  std::filesystem::create_directory(directory_ + "/tmp", error);
  const std::string configuration = directory_ + "/nginx.conf";
  std::ofstream(configuration) << Configuration(options, port());
  if (options.tls) {
    std::ofstream(directory_ + "/cert.pem") << kCertificate;
    std::ofstream(directory_ + "/key.pem") << kCertificateKey;
  }
  const std::string output = directory_ + "/output";

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 1, output.c_str(),
                                   O_WRONLY | O_CREAT | O_APPEND, 0600);
  posix_spawn_file_actions_adddup2(&actions, 1, 2);
  // A client's socket that lived on in nginx would not end when closed.
  posix_spawn_file_actions_addclosefrom_np(&actions, 3);
  posix_spawn_file_actions_addchdir_np(&actions, directory_.c_str());

  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setflags(&attributes,
                           POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);

  const std::string prefix = directory_ + "/";
  const char* const arguments[] = {options.program.c_str(),
                                   "-p",
                                   prefix.c_str(),
                                   "-c",
                                   "nginx.conf",
                                   "-e",
                                   "error.log",
                                   nullptr};
  char* const environment[] = {nullptr};
  const int failed =
      posix_spawn(&pid_, options.program.c_str(), &actions, &attributes,
                  const_cast<char* const*>(arguments), environment);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  if (failed != 0) {
    pid_ = -1;
    return absl::UnavailableError(
        absl::StrCat(options.program, ": ", strerror(failed)));
  }

  bool ended = false;
  const bool settled = PollUntil(kStartLimit, [&] {
    ended = waitpid(pid_, nullptr, WNOHANG) != 0;
    return ended || Accepts(port());
  });
  if (ended) {
    pid_ = -1;
    return absl::InvalidArgumentError(
        absl::StrCat("nginx ended at once: ", ReadAll(output)));
  }
  if (!settled) return absl::UnavailableError("nginx does not listen");
  return absl::OkStatus();
}

std::string Nginx::Url(absl::string_view path) const {
  return absl::StrCat(tls_ ? "https" : "http", "://127.0.0.1:", port(), path);
}

int64_t Nginx::Count() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  ReadAccessLog();
  return count_;
}

std::vector<Arrival> Nginx::Arrivals() const {
  std::vector<Arrival> arrivals;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    ReadAccessLog();
    arrivals.assign(arrivals_.begin(), arrivals_.end());
  }
  // The log is in the order in which requests ended.
  std::stable_sort(arrivals.begin(), arrivals.end(),
                   [](const Arrival& a, const Arrival& b) {
                     return a.since_start < b.since_start;
                   });
  return arrivals;
}

bool Nginx::WaitForCount(int64_t n, absl::Duration timeout) const {
  return PollUntil(timeout, [this, n] { return Count() >= n; });
}

void Nginx::ReadAccessLog() const {
  std::ifstream file(directory_ + "/access.log");
  file.seekg(read_to_);
  char buffer[1 << 16];
  while (file.read(buffer, sizeof(buffer)), file.gcount() > 0) {
    read_to_ += file.gcount();
    absl::StrAppend(&incomplete_line_,
                    absl::string_view(buffer, file.gcount()));
    size_t begin = 0, end = 0;
    while ((end = incomplete_line_.find('\n', begin)) != std::string::npos) {
      arrivals_.push_back(ParseLine(
          absl::string_view(incomplete_line_).substr(begin, end - begin),
          start_));
      arrivals_.back().index = count_++;
      if (arrivals_.size() > kMaxArrivals) arrivals_.pop_front();
      begin = end + 1;
    }
    incomplete_line_.erase(0, begin);
  }
}

}  // namespace forbear::testing
