#ifndef FORBEAR_TESTS_TESTING_HTTP_SERVER_H_
#define FORBEAR_TESTS_TESTING_HTTP_SERVER_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "tests/testing/arrival_log.h"
#include "tests/testing/reply.h"

namespace forbear::testing {

// A request, whole, as a handler gets it.
struct HttpRequest {
  std::string method;  // "POST"
  std::string path;    // Path and query: "/v1/chat?x=1".

  // Names are in lower case; several values of one name are joined with ", ".
  std::map<std::string, std::string> headers;

  std::string body;

  // The arrival in the server's log: Arrival::index, and so on.
  int64_t index = 0;
  absl::Duration since_start;
  int64_t connection_id = 0;
  int64_t index_on_connection = 0;
};

// A real HTTP/1.1 server on 127.0.0.1 (libevent's evhttp) whose every answer is
// decided by the test: the status, the pace, and what goes wrong.
//
//   absl::StatusOr<std::unique_ptr<HttpServer>> server = HttpServer::Create();
//   (*server)->Script({Reply::Of(429).With("Retry-After", "1"),
//                      Reply::ResetBeforeHead(),
//                      Reply::Of(200, "hello")});     // and 200 ever after
//   … curl (*server)->Url("/v1/chat") …
//   EXPECT_EQ((*server)->log().Count(), 3);
//
// Who answers a request, the first that is set: the script of its path, the
// script of all paths, the handler. With none of them the server answers 200
// and echoes the request's body.
//
// It keeps connections alive, sends "100 Continue" when asked, accepts bodies
// in either transfer coding, and serves any number of connections on one
// thread. A client that closes its connection while it waits, or closes only
// its sending half, counts as gone: its arrival is marked cancelled. (A client
// that pipelines is served one request after the other, but not watched.)
//
// Thread rule: all members may be called from any thread but the server's own,
// on which handlers run: from a handler only log() and the setters. The
// destructor excludes all other calls.
class HttpServer {
 public:
  // Called on the server's thread when a whole request has arrived. It must not
  // block: delays are part of the reply.
  using Handler = std::function<Reply(const HttpRequest&)>;

  struct Options {
    // 0: any free one.
    int port = 0;

    // A request with a larger body is answered by libevent with an error and
    // does not arrive.
    size_t max_body_bytes = size_t{64} << 20;

    ArrivalLog::Options log;
  };

  // A running server. kUnavailable if the port is taken.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Create(
      const Options& options);
  static absl::StatusOr<std::unique_ptr<HttpServer>> Create() {
    return Create(Options());
  }

  // Closes all connections, whatever they wait for.
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  int port() const;

  // "http://127.0.0.1:<port>" + path.
  std::string Url(absl::string_view path = "/") const;

  const ArrivalLog& log() const;

  // Connections accepted so far, also those on which no request came.
  int64_t connections() const;

  // They hold for the arrivals after the call. Null, or an empty script,
  // removes. A script's last reply repeats; `path` is without the query.
  void SetHandler(Handler handler);
  void Script(std::vector<Reply> replies);
  void Script(std::string path, std::vector<Reply> replies);

  // Stop() closes the port, so that clients are refused, and all connections,
  // by FIN. The port stays reserved, and Start() opens it again; log, handler
  // and scripts are kept. No-ops on a server that is stopped, or running.
  void Stop();
  absl::Status Start();

 private:
  class Impl;

  explicit HttpServer(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

}  // namespace forbear::testing

#endif  // FORBEAR_TESTS_TESTING_HTTP_SERVER_H_
