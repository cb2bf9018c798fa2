#ifndef FORBEAR_TESTS_TESTING_GRPC_SERVER_H_
#define FORBEAR_TESTS_TESTING_GRPC_SERVER_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "tests/testing/arrival_log.h"
#include "tests/testing/grpc_reply.h"

namespace forbear::testing {

// A call, as a handler gets it.
struct GrpcRequest {
  std::string method;  // "/forbear.testing.Echo/Say"

  // Several values of one name are joined with ", ". A retry carries
  // grpc-previous-rpc-attempts here.
  std::map<std::string, std::string> metadata;

  // The request message.
  std::string bytes;

  // From the arrival to the call's deadline; infinite without one.
  absl::Duration time_left;

  // The arrival in the server's log: Arrival::index, and so on.
  int64_t index = 0;
  absl::Duration since_start;
  int64_t connection_id = 0;
  int64_t index_on_connection = 0;
};

// A real gRPC server on 127.0.0.1 that answers every method of every service by
// bytes, as the test decides.
//
//   absl::StatusOr<std::unique_ptr<GrpcServer>> server = GrpcServer::Create();
//   (*server)->Script({GrpcReply::Error(grpc::StatusCode::UNAVAILABLE),
//                      GrpcReply::Ok(message.SerializeAsString())});
//   auto channel = grpc::CreateChannel((*server)->address(),
//                                      grpc::InsecureChannelCredentials());
//
// Who answers a call, the first that is set: the script of its method, the
// script of all methods, the handler. With none of them the request's bytes
// are the response: an echo for services like those of echo.proto.
//
// Calls that wait hold no thread. A call counts as arrived with its first
// message, and gets at most one message back; for unary calls that is all. A
// client that cancels, or whose deadline passes, while it waits is marked
// cancelled in the log.
//
// Thread rule: all members may be called from any thread but the server's own,
// on which handlers run: from a handler only log() and the setters. The
// destructor excludes all other calls.
class GrpcServer {
 public:
  // Called on the server's thread when a request has arrived. It must not
  // block: delays are part of the reply.
  using Handler = std::function<GrpcReply(const GrpcRequest&)>;

  struct Options {
    // 0: any free one.
    int port = 0;

    // With the certificate of tests/testing/certificate.h.
    bool tls = false;

    ArrivalLog::Options log;
  };

  // A running server. kUnavailable if the port is taken.
  static absl::StatusOr<std::unique_ptr<GrpcServer>> Create(
      const Options& options);
  static absl::StatusOr<std::unique_ptr<GrpcServer>> Create() {
    return Create(Options());
  }

  // Ends all calls, whatever they wait for.
  ~GrpcServer();
  GrpcServer(const GrpcServer&) = delete;
  GrpcServer& operator=(const GrpcServer&) = delete;

  int port() const;

  // "127.0.0.1:<port>".
  std::string address() const;

  const ArrivalLog& log() const;

  // They hold for the arrivals after the call. Null, or an empty script,
  // removes. A script's last reply repeats; `method` is as in GrpcRequest.
  void SetHandler(Handler handler);
  void Script(std::vector<GrpcReply> replies);
  void Script(std::string method, std::vector<GrpcReply> replies);

  // Stop() ends all calls and closes the port: when it returns, clients are
  // refused. The port stays reserved, and Start() opens it again; log, handler
  // and scripts are kept. No-ops on a server that is stopped, or running. Mind
  // that a channel by default waits a second and more before it reconnects.
  void Stop();
  absl::Status Start();

 private:
  class Impl;

  explicit GrpcServer(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

}  // namespace forbear::testing

#endif  // FORBEAR_TESTS_TESTING_GRPC_SERVER_H_
