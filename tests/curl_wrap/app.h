// What the tests of curl_wrap have in common: an application with one handle,
// the same application with plain libcurl, and clients with known options.
#ifndef FORBEAR_TESTS_CURL_WRAP_APP_H_
#define FORBEAR_TESTS_CURL_WRAP_APP_H_

#include <curl/curl.h>

#include <chrono>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "core/call_record.h"
#include "core/replay.h"
#include "core/retry_policy.h"
#include "curl_wrap/call_options.h"
#include "curl_wrap/handle.h"
#include "gtest/gtest.h"
#include "runtime/client.h"
#include "tests/testing/http_server.h"
#include "tests/testing/reply.h"

namespace forbear::curl {

using ::forbear::testing::Arrival;
using ::forbear::testing::HttpServer;
using ::forbear::testing::Reply;

class Stopwatch {
 public:
  absl::Duration Elapsed() const {
    return absl::FromChrono(std::chrono::steady_clock::now() - start_);
  }

 private:
  const std::chrono::steady_clock::time_point start_ =
      std::chrono::steady_clock::now();
};

inline std::unique_ptr<HttpServer> StartServer() {
  return std::move(*HttpServer::Create());
}

// A client of the test's own: nothing is shared with other tests.
inline std::shared_ptr<Client> NewClient(ClientOptions options = {}) {
  return *Client::Create(std::move(options));
}

inline CallOptions Within(absl::Duration deadline) {
  CallOptions options;
  options.deadline = deadline;
  return options;
}

// Every call that a test makes is made again from its record.
inline void ExpectReplays(const CallRecord& record, const RetryOptions& retry) {
  const absl::StatusOr<CallRecord> again = Replay(record, retry);
  if (absl::IsFailedPrecondition(again.status())) return;
  EXPECT_TRUE(again.ok()) << again.status();
  if (again.ok()) {
    EXPECT_TRUE(*again == record);
  }
}

// A body that is read through callbacks.
struct Source {
  std::string body;
  size_t at = 0;
  int seeks = 0;

  static size_t Read(char* to, size_t size, size_t n, void* self) {
    auto* source = static_cast<Source*>(self);
    const size_t length = source->body.copy(to, size * n, source->at);
    source->at += length;
    return length;
  }
  static int Seek(void* self, curl_off_t offset, int origin) {
    auto* source = static_cast<Source*>(self);
    ++source->seeks;
    if (origin != SEEK_SET) return CURL_SEEKFUNC_CANTSEEK;
    source->at = static_cast<size_t>(offset);
    return CURL_SEEKFUNC_OK;
  }
};

// Its callbacks, in the order in which they came: "H:…" for a line of a head,
// "B:…" for a piece of a body (pieces one after the other are joined).
struct Sink {
  std::vector<std::string> events;
  std::string head;
  std::string body;

  // The value of a field; empty: there is none.
  std::string Head(const std::string& name) const {
    const size_t at = head.find("\r\n" + name + ": ");
    if (at == std::string::npos) return "";
    const size_t from = at + name.size() + 4;
    return head.substr(from, head.find('\r', from) - from);
  }

  static size_t OnHeader(char* data, size_t size, size_t n, void* self) {
    auto* sink = static_cast<Sink*>(self);
    sink->head.append(data, size * n);
    sink->events.push_back("H:" + std::string(data, size * n));
    return size * n;
  }
  static size_t OnBody(char* data, size_t size, size_t n, void* self) {
    auto* sink = static_cast<Sink*>(self);
    sink->body.append(data, size * n);
    if (sink->events.empty() || sink->events.back()[0] != 'B') {
      sink->events.emplace_back("B:");
    }
    sink->events.back().append(data, size * n);
    return size * n;
  }
};

// An application: one handle, its callbacks, and what they got.
class App {
 public:
  explicit App(std::shared_ptr<Client> client)
      : curl(Handle::Create(client)), client_(std::move(client)) {
    curl.SetOpt(CURLOPT_WRITEFUNCTION, &Sink::OnBody);
    curl.SetOpt(CURLOPT_WRITEDATA, &sink);
    curl.SetOpt(CURLOPT_HEADERFUNCTION, &Sink::OnHeader);
    curl.SetOpt(CURLOPT_HEADERDATA, &sink);
    curl.SetOpt(CURLOPT_ERRORBUFFER, &error[0]);
  }
  App(std::shared_ptr<Client> client, const std::string& url)
      : App(std::move(client)) {
    curl.SetOpt(CURLOPT_URL, url.c_str());
  }
  ~App() { curl_slist_free_all(headers_); }

  void Header(const char* line) {
    headers_ = curl_slist_append(headers_, line);
    curl.SetOpt(CURLOPT_HTTPHEADER, headers_);
  }
  void Post(const std::string& fields) {
    curl.SetOpt(CURLOPT_POSTFIELDSIZE_LARGE,
                static_cast<curl_off_t>(fields.size()));
    curl.SetOpt(CURLOPT_COPYPOSTFIELDS, fields.data());
  }
  CallResult Perform(absl::Duration deadline = absl::InfiniteDuration()) {
    CallResult result = curl.Perform(Within(deadline));
    ExpectReplays(result.record, client_->options().retry);
    return result;
  }
  std::string Head(const std::string& name) const { return sink.Head(name); }

  char error[CURL_ERROR_SIZE] = {};
  Sink sink;
  Handle curl;

 private:
  const std::shared_ptr<Client> client_;
  curl_slist* headers_ = nullptr;
};

}  // namespace forbear::curl

#endif  // FORBEAR_TESTS_CURL_WRAP_APP_H_
