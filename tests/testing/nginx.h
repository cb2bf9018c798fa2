#ifndef FORBEAR_TESTS_TESTING_NGINX_H_
#define FORBEAR_TESTS_TESTING_NGINX_H_

#include <sys/types.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "tests/testing/arrival_log.h"
#include "tests/testing/loopback_port.h"

namespace forbear::testing {

// A real nginx on 127.0.0.1, as a child process: a server that was not written
// by the authors of the client it judges.
//
//   Nginx::Options options;
//   options.http =
//       "limit_req_zone $binary_remote_addr zone=z:1m rate=10r/s;";
//   options.server = R"(
//     location /limited {
//       limit_req zone=z burst=2 nodelay;
//       limit_req_status 429;
//       proxy_pass http://ok;
//     }
//     location /refused {
//       add_header Retry-After 1 always;
//       return 429 "slow down";
//     })";
//   absl::StatusOr<std::unique_ptr<Nginx>> nginx = Nginx::Start(options);
//   … curl (*nginx)->Url("/limited") …
//   ASSERT_TRUE((*nginx)->WaitForCount(3, absl::Seconds(5)));
//
// `proxy_pass http://ok;` answers 200 "ok" to every method, and reads the
// body. It is there because nginx looks at no limit before it plays `return`,
// and allows POST to no file.
//
// Requests are counted from nginx's access log, so the counts are its own. A
// line is written when nginx is done with a request, which may be after the
// client has the answer: wait for counts.
//
// It runs with its own configuration only, in a temporary directory below
// $TEST_TMPDIR, $TMPDIR or /tmp, as whoever runs the test; the destructor ends
// the process and removes the directory.
//
// Thread rule: const members may be called from any thread.
class Nginx {
 public:
  struct Options {
    // Lines for the `http` block: zones, maps.
    std::string http;

    // Lines for the one `server` block: locations.
    std::string server;

    // HTTPS, and HTTP/2 for who wants it, with the certificate of certificate.h.
    bool tls = false;

    // 0: any free one.
    int port = 0;

    std::string program = "/usr/sbin/nginx";
  };

  // An nginx that accepts connections. kNotFound, with the package to install,
  // if there is none; kInvalidArgument, with what nginx said, if it ends at
  // once; kUnavailable if the port is taken or nginx takes longer than 10 s.
  static absl::StatusOr<std::unique_ptr<Nginx>> Start(const Options& options);

  ~Nginx();
  Nginx(const Nginx&) = delete;
  Nginx& operator=(const Nginx&) = delete;

  int port() const { return port_.number(); }

  // "http://127.0.0.1:<port>" + path, or "https://…".
  std::string Url(absl::string_view path = "/") const;

  // A file with the certificate of who speaks TLS, for CURLOPT_CAINFO.
  std::string CertificateFile() const { return directory_ + "/cert.pem"; }

  pid_t pid() const { return pid_; }

  // Requests that are done.
  int64_t Count() const;

  // The newest 100000 of them, by time of arrival. Of an Arrival these are set:
  // index (the place in the access log), since_start (from nginx's start to the
  // first byte of the request, in milliseconds of the system's clock), method,
  // path, status, body_bytes (Content-Length), connection_id (nginx's own) and
  // index_on_connection.
  std::vector<Arrival> Arrivals() const;

  // Waits until Count() >= n. False if it takes longer than `timeout`.
  bool WaitForCount(int64_t n, absl::Duration timeout) const;

 private:
  Nginx(LoopbackPort port, std::string directory, bool tls);

  absl::Status Spawn(const Options& options);
  void ReadAccessLog() const;  // REQUIRES: mutex_ is held.

  const LoopbackPort port_;
  const std::string directory_;
  const bool tls_;
  const absl::Time start_;
  pid_t pid_ = -1;

  mutable std::mutex mutex_;  // Guards all below.
  mutable int64_t read_to_ = 0;
  mutable std::string incomplete_line_;
  mutable int64_t count_ = 0;
  mutable std::deque<Arrival> arrivals_;
};

}  // namespace forbear::testing

#endif  // FORBEAR_TESTS_TESTING_NGINX_H_
