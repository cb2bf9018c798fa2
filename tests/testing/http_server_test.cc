#include "tests/testing/http_server.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace forbear::testing {
namespace {

constexpr absl::Duration kLong = absl::Seconds(10);

class Stopwatch {
 public:
  absl::Duration Elapsed() const {
    return absl::FromChrono(std::chrono::steady_clock::now() - start_);
  }

 private:
  const std::chrono::steady_clock::time_point start_ =
      std::chrono::steady_clock::now();
};

// What plain libcurl makes of an answer.
struct Result {
  CURLcode code = CURLE_OK;
  long status = 0;
  std::string head;
  std::string body;
};

size_t Append(char* data, size_t size, size_t n, void* to) {
  static_cast<std::string*>(to)->append(data, size * n);
  return size * n;
}

class Curl {
 public:
  Curl() : easy_(curl_easy_init()) {
    curl_easy_setopt(easy_, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy_, CURLOPT_TIMEOUT_MS, 20000L);
    curl_easy_setopt(easy_, CURLOPT_WRITEFUNCTION, &Append);
    curl_easy_setopt(easy_, CURLOPT_HEADERFUNCTION, &Append);
  }
  ~Curl() {
    curl_slist_free_all(headers_);
    curl_easy_cleanup(easy_);
  }

  CURL* easy() { return easy_; }

  void Header(const char* line) {
    headers_ = curl_slist_append(headers_, line);
    curl_easy_setopt(easy_, CURLOPT_HTTPHEADER, headers_);
  }
  void Post(const std::string& body) {
    curl_easy_setopt(easy_, CURLOPT_POSTFIELDSIZE_LARGE,
                     static_cast<curl_off_t>(body.size()));
    curl_easy_setopt(easy_, CURLOPT_COPYPOSTFIELDS, body.data());
  }

  Result Perform(const std::string& url) {
    Result result;
    curl_easy_setopt(easy_, CURLOPT_URL, url.c_str());
    curl_easy_setopt(easy_, CURLOPT_WRITEDATA, &result.body);
    curl_easy_setopt(easy_, CURLOPT_HEADERDATA, &result.head);
    result.code = curl_easy_perform(easy_);
    curl_easy_getinfo(easy_, CURLINFO_RESPONSE_CODE, &result.status);
    return result;
  }

 private:
  CURL* const easy_;
  curl_slist* headers_ = nullptr;
};

// A bare TCP client, to see exactly how a connection ends.
class Socket {
 public:
  explicit Socket(int port) : fd_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<uint16_t>(port));
    connect_error_ = connect(fd_, reinterpret_cast<const sockaddr*>(&address),
                             sizeof(address)) == 0
                         ? 0
                         : errno;
    const timeval limit = {10, 0};
    setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
  }
  ~Socket() { Close(); }

  void Close() {
    if (fd_ >= 0) close(fd_);
    fd_ = -1;
  }
  int connect_error() const { return connect_error_; }

  void Send(const std::string& bytes) {
    ASSERT_EQ(send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(bytes.size()));
  }

  // Reads until the end and says how it ended: 0 for FIN, else errno.
  int ReadToEnd(std::string* bytes) {
    char buffer[4096];
    for (;;) {
      const ssize_t n = recv(fd_, buffer, sizeof(buffer), 0);
      if (n <= 0) return n == 0 ? 0 : errno;
      bytes->append(buffer, static_cast<size_t>(n));
    }
  }

  // Reads until `bytes` contains `what`.
  bool ReadUntil(const std::string& what, std::string* bytes) {
    char byte;
    while (!absl::StrContains(*bytes, what)) {
      if (recv(fd_, &byte, 1, 0) != 1) return false;
      bytes->push_back(byte);
    }
    return true;
  }

 private:
  int fd_;
  int connect_error_;
};

std::string PostOf(const std::string& body) {
  return absl::StrCat("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: ",
                      body.size(), "\r\n\r\n", body);
}

class HttpServerTest : public ::testing::Test {
 protected:
  HttpServerTest() {
    curl_global_init(CURL_GLOBAL_ALL);
    absl::StatusOr<std::unique_ptr<HttpServer>> server = HttpServer::Create();
    if (!server.ok()) abort();
    server_ = *std::move(server);
  }

  const ArrivalLog& log() const { return server_->log(); }

  std::unique_ptr<HttpServer> server_;
};

TEST_F(HttpServerTest, EchoesByDefaultAndLogsWhatCame) {
  Curl curl;
  curl.Post("hello");
  curl.Header("Idempotency-Key: \"k1\"");
  curl.Header("X-Twice: a");
  curl.Header("X-Twice: b");
  const Result result = curl.Perform(server_->Url("/v1/chat?x=1"));
  EXPECT_EQ(result.code, CURLE_OK);
  EXPECT_EQ(result.status, 200);
  EXPECT_EQ(result.body, "hello");

  ASSERT_EQ(log().Count(), 1);
  const Arrival arrival = log().Snapshot().front();
  EXPECT_EQ(arrival.method, "POST");
  EXPECT_EQ(arrival.path, "/v1/chat?x=1");
  EXPECT_EQ(arrival.status, 200);
  EXPECT_EQ(arrival.fault, Fault::kNone);
  EXPECT_EQ(arrival.body, "hello");
  EXPECT_EQ(arrival.body_bytes, 5u);
  EXPECT_EQ(arrival.body_hash, ArrivalLog::HashOf("hello"));
  EXPECT_EQ(arrival.headers.at("idempotency-key"), "\"k1\"");
  EXPECT_EQ(arrival.headers.at("x-twice"), "a, b");
  EXPECT_FALSE(arrival.cancelled);
}

TEST_F(HttpServerTest, KeepsConnectionsAlive) {
  Curl curl;
  curl.Perform(server_->Url());
  curl.Perform(server_->Url());
  Curl other;
  other.Perform(server_->Url());

  EXPECT_EQ(server_->connections(), 2);
  const std::vector<Arrival> arrivals = log().Snapshot();
  ASSERT_EQ(arrivals.size(), 3u);
  EXPECT_EQ(arrivals[1].connection_id, arrivals[0].connection_id);
  EXPECT_EQ(arrivals[1].index_on_connection, 1);
  EXPECT_NE(arrivals[2].connection_id, arrivals[0].connection_id);
  EXPECT_EQ(arrivals[2].index_on_connection, 0);
}

TEST_F(HttpServerTest, ScriptsComeBeforeTheHandler) {
  server_->SetHandler([](const HttpRequest& request) {
    return Reply::Of(200, absl::StrCat("handler ", request.index));
  });
  server_->Script("/scripted", {Reply::Of(429).With("Retry-After", "1"),
                                Reply::Of(200, "recovered")});
  Curl curl;
  const Result refused = curl.Perform(server_->Url("/scripted?n=1"));
  EXPECT_EQ(refused.status, 429);
  EXPECT_TRUE(absl::StrContains(refused.head, "Retry-After: 1\r\n"));
  EXPECT_TRUE(absl::StrContains(refused.head, "Date: "));
  EXPECT_EQ(curl.Perform(server_->Url("/other")).body, "handler 1");
  EXPECT_EQ(curl.Perform(server_->Url("/scripted")).body, "recovered");
  EXPECT_EQ(curl.Perform(server_->Url("/scripted")).body, "recovered");

  server_->Script({Reply::Of(500)});
  EXPECT_EQ(curl.Perform(server_->Url("/other")).status, 500);
  EXPECT_EQ(curl.Perform(server_->Url("/scripted")).status, 200);
  server_->Script("/scripted", {});
  EXPECT_EQ(curl.Perform(server_->Url("/scripted")).status, 500);
  server_->Script({});
  EXPECT_EQ(curl.Perform(server_->Url("/scripted")).body, "handler 7");
  server_->SetHandler(nullptr);
  EXPECT_EQ(curl.Perform(server_->Url()).body, "");
  EXPECT_EQ(log().CountOfStatus(429), 1);
}

TEST_F(HttpServerTest, ChunkedAnswersAndRequests) {
  server_->SetHandler([](const HttpRequest& request) {
    return Reply::Of(200, request.body).Chunked();
  });
  Curl curl;
  curl.Header("Transfer-Encoding: chunked");
  curl.Post("in chunks");
  const Result result = curl.Perform(server_->Url());
  EXPECT_EQ(result.body, "in chunks");
  EXPECT_TRUE(absl::StrContains(result.head, "Transfer-Encoding: chunked"));
  EXPECT_FALSE(absl::StrContains(result.head, "Content-Length"));
}

TEST_F(HttpServerTest, StatusesWithoutABody) {
  server_->Script({Reply::Of(204), Reply::Of(304), Reply::Of(529, "overloaded"),
                   Reply::Of(200, "not sent to HEAD")});
  Curl curl;
  EXPECT_EQ(curl.Perform(server_->Url()).status, 204);
  EXPECT_EQ(curl.Perform(server_->Url()).status, 304);
  EXPECT_EQ(curl.Perform(server_->Url()).status, 529);
  curl_easy_setopt(curl.easy(), CURLOPT_NOBODY, 1L);
  const Result head = curl.Perform(server_->Url());
  EXPECT_EQ(head.code, CURLE_OK);
  EXPECT_EQ(head.body, "");
  EXPECT_EQ(log().Snapshot().back().method, "HEAD");
  EXPECT_EQ(server_->connections(), 1);
}

TEST_F(HttpServerTest, EveryMethodArrives) {
  const std::vector<std::string> methods = {
      "GET", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"};
  for (const std::string& method : methods) {
    Curl curl;
    curl_easy_setopt(curl.easy(), CURLOPT_CUSTOMREQUEST, method.c_str());
    EXPECT_EQ(curl.Perform(server_->Url()).status, 200) << method;
    EXPECT_EQ(log().Snapshot().back().method, method);
  }
}

TEST_F(HttpServerTest, Says100Continue) {
  const std::string body(2 << 20, 'b');
  Curl curl;
  curl.Header("Expect: 100-continue");
  // Fails the test by its own time limit if the server says nothing.
  curl_easy_setopt(curl.easy(), CURLOPT_EXPECT_100_TIMEOUT_MS, 15000L);
  curl.Post(body);
  const Stopwatch watch;
  const Result result = curl.Perform(server_->Url());
  EXPECT_LT(watch.Elapsed(), absl::Seconds(10));
  EXPECT_TRUE(absl::StartsWith(result.head, "HTTP/1.1 100 Continue\r\n"));
  EXPECT_EQ(result.body, body);
}

TEST_F(HttpServerTest, TakesA64MebibyteBody) {
  std::string body(size_t{64} << 20, 'b');
  body[body.size() / 2] = 'm';
  server_->Script({Reply::Of(200, "taken")});
  Curl curl;
  curl_easy_setopt(curl.easy(), CURLOPT_POST, 1L);
  curl_easy_setopt(curl.easy(), CURLOPT_POSTFIELDSIZE_LARGE,
                   static_cast<curl_off_t>(body.size()));
  curl_easy_setopt(curl.easy(), CURLOPT_POSTFIELDS, body.data());
  EXPECT_EQ(curl.Perform(server_->Url()).body, "taken");
  const Arrival arrival = log().Snapshot().front();
  EXPECT_EQ(arrival.body_bytes, body.size());
  EXPECT_EQ(arrival.body_hash, ArrivalLog::HashOf(body));
}

TEST_F(HttpServerTest, DelaysAndPieces) {
  server_->Script({Reply::Of(200, "0123456789")
                       .After(absl::Milliseconds(50))
                       .BodyAfter(absl::Milliseconds(50))
                       .InPieces(2, absl::Milliseconds(10))});
  Curl curl;
  const Stopwatch watch;
  EXPECT_EQ(curl.Perform(server_->Url()).body, "0123456789");
  EXPECT_GE(watch.Elapsed(), absl::Milliseconds(140));
  EXPECT_LT(watch.Elapsed(), absl::Seconds(5));

  // The head does not wait for the body.
  server_->Script({Reply::Of(429, "late").BodyAfter(absl::Seconds(1))});
  Socket socket(server_->port());
  socket.Send(PostOf("x"));
  const Stopwatch head_watch;
  std::string bytes;
  ASSERT_TRUE(socket.ReadUntil("\r\n\r\n", &bytes));
  EXPECT_LT(head_watch.Elapsed(), absl::Seconds(1));
  ASSERT_TRUE(socket.ReadUntil("late", &bytes));
  EXPECT_GE(head_watch.Elapsed(), absl::Milliseconds(999));
}

TEST_F(HttpServerTest, DelaysHoldNoThread) {
  server_->SetHandler([](const HttpRequest&) {
    return Reply::Of(200, "x").After(absl::Milliseconds(200));
  });
  const Stopwatch watch;
  std::vector<std::unique_ptr<Socket>> sockets;
  for (int i = 0; i < 300; ++i) {
    sockets.push_back(std::make_unique<Socket>(server_->port()));
    sockets.back()->Send(PostOf("x"));
  }
  for (const auto& socket : sockets) {
    std::string bytes;
    EXPECT_TRUE(socket->ReadUntil("\r\n\r\nx", &bytes));
  }
  EXPECT_LT(watch.Elapsed(), absl::Seconds(30));
  EXPECT_EQ(log().Count(), 300);
}

TEST_F(HttpServerTest, ResetBeforeHeadIsARealReset) {
  const std::string body(300000, 'b');
  server_->Script({Reply::ResetBeforeHead()});
  Socket socket(server_->port());
  socket.Send(PostOf(body));
  std::string bytes;
  EXPECT_EQ(socket.ReadToEnd(&bytes), ECONNRESET);
  EXPECT_EQ(bytes, "");

  Curl curl;
  curl.Post(body);
  EXPECT_EQ(curl.Perform(server_->Url()).code, CURLE_RECV_ERROR);

  // The whole request was read first.
  for (const Arrival& arrival : log().Snapshot()) {
    EXPECT_EQ(arrival.body_hash, ArrivalLog::HashOf(body));
    EXPECT_EQ(arrival.status, Arrival::kNoStatus);
    EXPECT_EQ(arrival.fault, Fault::kResetBeforeHead);
    EXPECT_FALSE(arrival.cancelled);
  }
  EXPECT_EQ(log().Count(), 2);
}

TEST_F(HttpServerTest, ResetAfterADelay) {
  server_->Script({Reply::ResetBeforeHead().After(absl::Milliseconds(50))});
  Curl curl;
  const Stopwatch watch;
  EXPECT_EQ(curl.Perform(server_->Url()).code, CURLE_RECV_ERROR);
  EXPECT_GE(watch.Elapsed(), absl::Milliseconds(50));
}

TEST_F(HttpServerTest, ResetOnAReusedConnection) {
  server_->Script({Reply::Of(200, "first"), Reply::ResetBeforeHead()});
  Socket socket(server_->port());
  socket.Send(PostOf("x"));
  std::string bytes;
  ASSERT_TRUE(socket.ReadUntil("first", &bytes));
  socket.Send(PostOf("y"));
  EXPECT_EQ(socket.ReadToEnd(&bytes), ECONNRESET);
}

TEST_F(HttpServerTest, CloseAfterReadIsAFin) {
  const std::string body(300000, 'b');
  server_->Script({Reply::CloseAfterRead()});
  Socket socket(server_->port());
  socket.Send(PostOf(body));
  std::string bytes;
  EXPECT_EQ(socket.ReadToEnd(&bytes), 0);
  EXPECT_EQ(bytes, "");
  EXPECT_EQ(log().Snapshot().front().body_hash, ArrivalLog::HashOf(body));

  Curl curl;
  EXPECT_EQ(curl.Perform(server_->Url()).code, CURLE_GOT_NOTHING);
}

// The trap for clients that send at most once: libcurl repeats by itself what
// it sent on a reused connection.
TEST_F(HttpServerTest, CloseAfterReadOnAReusedConnectionMakesCurlRepeat) {
  server_->SetHandler([](const HttpRequest& request) {
    Reply reply = Reply::CloseAfterRead().OnlyOnReusedConnection();
    reply.body = request.body;
    return reply;
  });
  Curl curl;
  curl.Post("pay");
  EXPECT_EQ(curl.Perform(server_->Url()).body, "pay");
  EXPECT_EQ(log().Count(), 1);
  EXPECT_EQ(curl.Perform(server_->Url()).body, "pay");
  const std::vector<Arrival> arrivals = log().Snapshot();
  ASSERT_EQ(arrivals.size(), 3u);
  EXPECT_EQ(arrivals[0].fault, Fault::kNone);
  EXPECT_EQ(arrivals[1].fault, Fault::kCloseAfterRead);
  EXPECT_EQ(arrivals[1].body, "pay");
  EXPECT_EQ(arrivals[2].fault, Fault::kNone);
  EXPECT_EQ(arrivals[2].status, 200);
}

TEST_F(HttpServerTest, TruncatesWithFin) {
  server_->Script({Reply::Truncate("0123456789", 4)});
  Socket socket(server_->port());
  socket.Send(PostOf("x"));
  std::string bytes;
  EXPECT_EQ(socket.ReadToEnd(&bytes), 0);
  EXPECT_TRUE(absl::StrContains(bytes, "Content-Length: 10\r\n")) << bytes;
  EXPECT_TRUE(absl::EndsWith(bytes, "\r\n\r\n0123")) << bytes;

  Curl curl;
  Result result = curl.Perform(server_->Url());
  EXPECT_EQ(result.code, CURLE_PARTIAL_FILE);
  EXPECT_EQ(result.body, "0123");

  server_->Script({Reply::Truncate("0123456789", 4).Chunked()});
  result = curl.Perform(server_->Url());
  EXPECT_EQ(result.code, CURLE_PARTIAL_FILE);
  EXPECT_EQ(result.body, "0123");
  EXPECT_EQ(log().CountOfStatus(200), 3);
}

TEST_F(HttpServerTest, ResetsInTheBodyAfterItsBytesArrived) {
  const std::string body(1 << 20, 'b');
  server_->Script({Reply::ResetMidBody(body, 700000)});
  Socket socket(server_->port());
  socket.Send(PostOf("x"));
  std::string bytes;
  EXPECT_EQ(socket.ReadToEnd(&bytes), ECONNRESET);
  EXPECT_EQ(bytes.size() - bytes.find("\r\n\r\n") - 4, 700000u);

  Curl curl;
  const Result result = curl.Perform(server_->Url());
  EXPECT_EQ(result.code, CURLE_RECV_ERROR);
  EXPECT_EQ(result.status, 200);
  EXPECT_EQ(result.body.size(), 700000u);
}

TEST_F(HttpServerTest, RawBytesGoOutAsTheyAre) {
  const std::string raw =
      "HTTP/1.1 103 Early Hints\r\n\r\n"
      "HTTP/1.1 429 Slow Down\r\nRetry-After: garbage\r\n"
      "Content-Length: 2\r\n\r\nno";
  server_->Script({Reply::Of(200, "first"), Reply::Raw(raw)});
  // On a reused connection, where evhttp still holds its old callbacks.
  Socket socket(server_->port());
  socket.Send(PostOf("x"));
  std::string first;
  ASSERT_TRUE(socket.ReadUntil("first", &first));
  socket.Send(PostOf("x"));
  std::string bytes;
  EXPECT_EQ(socket.ReadToEnd(&bytes), 0);
  EXPECT_EQ(bytes, raw);

  Curl curl;
  EXPECT_EQ(curl.Perform(server_->Url()).status, 429);
  server_->Script({Reply::Raw("not HTTP at all\r\n\r\n")});
  EXPECT_EQ(curl.Perform(server_->Url()).code, CURLE_UNSUPPORTED_PROTOCOL);
}

TEST_F(HttpServerTest, ThenCloseSaysSo) {
  server_->Script({Reply::Of(200, "x").ThenClose()});
  Socket socket(server_->port());
  socket.Send(PostOf("x"));
  std::string bytes;
  EXPECT_EQ(socket.ReadToEnd(&bytes), 0);
  EXPECT_TRUE(absl::StrContains(bytes, "Connection: close\r\n"));
  EXPECT_TRUE(absl::EndsWith(bytes, "\r\n\r\nx"));
}

TEST_F(HttpServerTest, SeesThatTheClientLeft) {
  server_->Script({Reply::Hang(), Reply::Of(200).After(absl::Hours(1)),
                   Reply::Of(200, "x").BodyAfter(absl::Hours(1)),
                   Reply::Of(200, "xyz").InPieces(1, absl::Hours(1)),
                   Reply::Of(200, "whole")});
  for (int i = 0; i < 4; ++i) {
    Socket socket(server_->port());
    socket.Send(i % 2 == 0 ? PostOf("x")
                           : std::string("GET / HTTP/1.1\r\nHost: x\r\n\r\n"));
    ASSERT_TRUE(log().WaitForCount(i + 1, kLong));
    EXPECT_EQ(log().CountCancelled(), i);
    socket.Close();
    ASSERT_TRUE(log().WaitForCancelled(i + 1, kLong));
  }
  Curl curl;
  EXPECT_EQ(curl.Perform(server_->Url()).body, "whole");
  const std::vector<Arrival> arrivals = log().Snapshot();
  ASSERT_EQ(arrivals.size(), 5u);
  EXPECT_EQ(arrivals[0].fault, Fault::kHang);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(arrivals[i].cancelled, i < 4) << i;
}

TEST_F(HttpServerTest, SeesAClientThatResets) {
  // Unread bytes of an answer make the client's close a reset.
  server_->Script({Reply::Of(200, "xyz").InPieces(1, absl::Hours(1))});
  Socket socket(server_->port());
  socket.Send(PostOf("x"));
  ASSERT_TRUE(log().WaitForCount(1, kLong));
  std::string bytes;
  ASSERT_TRUE(socket.ReadUntil("\r\n\r", &bytes));
  socket.Close();
  EXPECT_TRUE(log().WaitForCancelled(1, kLong));
}

TEST_F(HttpServerTest, PipelinedRequestsAreAnsweredInOrder) {
  server_->SetHandler([](const HttpRequest& request) {
    return Reply::Of(200, absl::StrCat("<", request.body, ">"))
        .After(absl::Milliseconds(20));
  });
  Socket socket(server_->port());
  socket.Send(absl::StrCat(PostOf("a"), PostOf("b"), PostOf("c")));
  std::string bytes;
  EXPECT_TRUE(socket.ReadUntil("<c>", &bytes));
  EXPECT_LT(bytes.find("<a>"), bytes.find("<b>"));
  EXPECT_EQ(log().Count(), 3);
  EXPECT_EQ(log().CountCancelled(), 0);
}

TEST_F(HttpServerTest, StopsAndStartsOnItsPort) {
  server_->Script({Reply::Hang(), Reply::Of(200, "back")});
  Socket hanging(server_->port());
  hanging.Send(PostOf("x"));
  ASSERT_TRUE(log().WaitForCount(1, kLong));
  const int port = server_->port();

  server_->Stop();
  std::string bytes;
  EXPECT_EQ(hanging.ReadToEnd(&bytes), 0);
  Curl curl;
  EXPECT_EQ(curl.Perform(server_->Url()).code, CURLE_COULDNT_CONNECT);
  EXPECT_EQ(Socket(port).connect_error(), ECONNREFUSED);
  server_->Stop();
  EXPECT_EQ(server_->port(), port);

  // The port is ours although nobody listens: no one else is given it.
  HttpServer::Options options;
  options.port = port;
  ASSERT_TRUE(server_->Start().ok());
  ASSERT_TRUE(server_->Start().ok());
  EXPECT_EQ(curl.Perform(server_->Url()).body, "back");
  EXPECT_EQ(log().Count(), 2);
  EXPECT_EQ(log().CountCancelled(), 0);
  EXPECT_EQ(HttpServer::Create(options).status().code(),
            absl::StatusCode::kUnavailable);
}

TEST_F(HttpServerTest, TakesAGivenPort) {
  const int port = server_->port();
  server_.reset();
  HttpServer::Options options;
  options.port = port;
  absl::StatusOr<std::unique_ptr<HttpServer>> again =
      HttpServer::Create(options);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ((*again)->port(), port);
  options.port = 70000;
  EXPECT_EQ(HttpServer::Create(options).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(HttpServerTest, EndsWithRequestsInEveryState) {
  server_->Script({Reply::Hang(), Reply::Of(200).After(absl::Hours(1)),
                   Reply::Of(200, "x").BodyAfter(absl::Hours(1)),
                   Reply::Of(200, "xyz").InPieces(1, absl::Hours(1)),
                   // More than the sockets hold.
                   Reply::Of(200, std::string(32 << 20, 'x'))});
  std::vector<std::unique_ptr<Socket>> sockets;
  for (int i = 0; i < 5; ++i) {
    sockets.push_back(std::make_unique<Socket>(server_->port()));
    sockets.back()->Send(PostOf("x"));
    ASSERT_TRUE(log().WaitForCount(i + 1, kLong));
  }
  Socket silent(server_->port());
  Socket half(server_->port());
  half.Send("POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\n012");
  server_.reset();
  std::string bytes;
  EXPECT_EQ(sockets[0]->ReadToEnd(&bytes), 0);
}

}  // namespace
}  // namespace forbear::testing
