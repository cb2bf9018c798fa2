#ifndef FORBEAR_TESTS_INTERCEPTORS_STREAM_SERVER_H_
#define FORBEAR_TESTS_INTERCEPTORS_STREAM_SERVER_H_

#include <grpcpp/grpcpp.h>

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "tests/testing/echo.grpc.pb.h"
#include "tests/testing/loopback_port.h"

namespace forbear::rpc {

// How a StreamServer plays one stream.
struct StreamPlay {
  grpc::StatusCode code = grpc::StatusCode::OK;
  std::string message;
  std::string pushback;  // the trailer; empty: none
  std::string details;
  // Sends a head by itself, at once.
  bool head = false;
  // What is not OK, and what hangs, does so after so many messages that it has sent
  // (Pull) or received (Push, Chat; of which Chat has answered all but the last).
  int after = 0;
  // Does not end until the client cancels, or the server stops.
  bool hang = false;
  // Pull: messages of a stream that ends well.
  int count = 3;
  // Instead of its end: RST_STREAM.
  bool reset = false;
  // Pull, Chat: says its first message twice.
  bool stutters = false;

  bool good() const { return code == grpc::StatusCode::OK && !hang && !reset; }

  static StreamPlay Good() { return {}; }
  static StreamPlay Fails(grpc::StatusCode code, int after = 0) {
    StreamPlay play;
    play.code = code;
    play.after = after;
    return play;
  }
  static StreamPlay Hangs(int after = 0) {
    StreamPlay play;
    play.hang = true;
    play.after = after;
    return play;
  }
  StreamPlay WithHead() const {
    StreamPlay play = *this;
    play.head = true;
    return play;
  }
  StreamPlay Pushback(std::string milliseconds) const {
    StreamPlay play = *this;
    play.pushback = std::move(milliseconds);
    return play;
  }
  StreamPlay Count(int messages) const {
    StreamPlay play = *this;
    play.count = messages;
    return play;
  }
};

// A stream as the server saw it.
struct SeenStream {
  std::map<std::string, std::string> metadata;
  std::vector<std::string> payloads;  // that were received
  absl::Duration time_left;           // to its deadline; infinite: none
  bool cancelled = false;             // by the client
  std::string authority;
};

// A real gRPC server on 127.0.0.1 whose streams do what the test says, and which
// knows all of what came. Pull answers "payload#0", "payload#1", …; Push with all
// payloads in one; Chat repeats each.
//
//   StreamServer server;
//   server.Script({StreamPlay::Fails(StatusCode::UNAVAILABLE),
//                  StreamPlay::Good()});           // the last one repeats
//   EXPECT_EQ(server.Count(), 2);
//
// The n-th stream's trailers hold x-stream: n, and so does its head if it has one;
// the first is 1. They also hold x-answers: how many messages were sent before them.
//
// Thread rule: call from anywhere; the destructor excludes all other calls.
class StreamServer {
 public:
  // With these credentials; null: without any.
  explicit StreamServer(
      std::shared_ptr<grpc::ServerCredentials> credentials = nullptr);
  ~StreamServer();
  StreamServer(const StreamServer&) = delete;
  StreamServer& operator=(const StreamServer&) = delete;

  std::string address() const;
  void Script(std::vector<StreamPlay> plays);
  // Before any stream. Instead of a script: `player` says how each is played, and
  // `ended` is told when that is over; both on the stream's own thread. Nothing is kept
  // of such streams, and what is below knows of none.
  using Player = std::function<StreamPlay(const SeenStream&)>;
  using Listener = std::function<void(const SeenStream&)>;
  void SetPlayer(Player player, Listener ended);

  // Streams that have arrived.
  int Count() const;
  std::vector<SeenStream> Seen() const;
  // False if it takes too long.
  bool WaitFor(
      const std::function<bool(const std::vector<SeenStream>&)>& is_so) const;
  bool WaitForCount(int n) const;

  // Ends all streams at once, and refuses connections.
  void Stop();
  void Start();

 private:
  class Service;

  const std::shared_ptr<grpc::ServerCredentials> credentials_;
  const testing::LoopbackPort port_;
  const std::unique_ptr<Service> service_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace forbear::rpc

#endif  // FORBEAR_TESTS_INTERCEPTORS_STREAM_SERVER_H_
