// An HTTP/2 server that says what no gRPC server can be made to say: that it
// has not processed a stream (GOAWAY with a lower last stream, RST_STREAM with
// REFUSED_STREAM) or takes none at all, trailers that gRPC would have read and written
// anew, or, as proxies do, something that is not gRPC. It writes its frames by hand and
// reads no header.
//
//   RawHttp2Server server({Act::kRefuse, Act::kAnswer});
//   auto channel = grpc::CreateChannel(server.address(), …);
//   …
//   EXPECT_EQ(server.sends(), 2);
//
// Each request, when it has arrived whole, gets the next act, whatever its
// connection; the last one repeats. A send is a HEADERS frame that opens a
// stream.
//
// Thread rule: all members may be called from any thread.
#ifndef FORBEAR_TESTS_INTERCEPTORS_RAW_HTTP2_SERVER_H_
#define FORBEAR_TESTS_INTERCEPTORS_RAW_HTTP2_SERVER_H_

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"

namespace forbear::rpc {

enum class Act {
  kAnswer,       // OK, with an empty message
  kUnavailable,  // grpc-status 14, as trailers alone, with those of SetTrailers
  kRefuse,       // RST_STREAM, REFUSED_STREAM: not processed (RFC 9113 §8.7)
  kReset,        // RST_STREAM, INTERNAL_ERROR: perhaps processed
  kCalm,         // RST_STREAM, ENHANCE_YOUR_CALM: perhaps processed
  // GOAWAY, NO_ERROR, with a last stream below this one: not processed
  // (§6.8). The connection stays open, or is closed at once.
  kGoAway,
  kGoAwayAndClose,
  // GOAWAY that names this stream as the last one, then the end: perhaps
  // processed.
  kGoAwayAfterAndClose,
  kClose,  // the connection ends without a word: perhaps processed
  // A proxy's page: this status, Retry-After: 30, and some HTML.
  kHttp200,
  kHttp400,
  kHttp401,
  kHttp403,
  kHttp404,
  kHttp408,
  kHttp429,
  kHttp500,
  kHttp502,
  kHttp503,
  kHttp504,
  // The same without the HTML; and one that has a grpc-status, too, 14.
  kHttp503Empty,
  kHttp500Unavailable,
};

class RawHttp2Server {
 public:
  // The first `closed` connections have no place for a stream
  // (SETTINGS_MAX_CONCURRENT_STREAMS is 0), until TurnAway.
  explicit RawHttp2Server(std::vector<Act> acts, int closed = 0);
  ~RawHttp2Server();
  RawHttp2Server(const RawHttp2Server&) = delete;
  RawHttp2Server& operator=(const RawHttp2Server&) = delete;

  // "127.0.0.1:<port>".
  const std::string& address() const { return address_; }
  int sends() const;
  int connections() const;
  // Of all requests' messages, as they came: compressed, if they were.
  int64_t message_bytes() const;

  // Names in lower case; names and values of less than 127 bytes. Before the request.
  void SetTrailers(std::vector<std::pair<std::string, std::string>> trailers);
  // Ends the newest connection, without having taken a stream: GOAWAY, and away.
  void TurnAway();
  // What the newest request had under this name, if it was the first with it on its
  // connection; absent: nothing.
  std::optional<std::string> First(absl::string_view name) const;

 private:
  void Accept();
  void Serve(int fd, bool closed);
  // False: the connection is over.
  bool Perform(Act act, int fd, uint32_t stream);

  const std::vector<Act> acts_;
  const size_t closed_;
  std::string address_;
  int listener_ = -1;
  std::thread acceptor_;

  mutable std::mutex mutex_;  // guards all below
  bool stopping_ = false;
  int sends_ = 0;
  int64_t message_bytes_ = 0;
  size_t next_act_ = 0;
  std::string head_;      // of the newest request, as it came
  std::string trailers_;  // encoded
  std::vector<int> sockets_;
  std::vector<std::thread> threads_;
};

}  // namespace forbear::rpc

#endif  // FORBEAR_TESTS_INTERCEPTORS_RAW_HTTP2_SERVER_H_
