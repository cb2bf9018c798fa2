// What the tests of Perform(CURL*) have in common: an application of plain libcurl
// that has changed one line.
#ifndef FORBEAR_TESTS_CURL_WRAP_RAW_APP_H_
#define FORBEAR_TESTS_CURL_WRAP_RAW_APP_H_

#include <curl/curl.h>

#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/call_record.h"
#include "core/replay.h"
#include "curl_wrap/perform.h"
#include "gtest/gtest.h"
#include "runtime/client.h"
#include "tests/curl_wrap/app.h"

namespace forbear::curl {

class RawApp {
 public:
  RawApp(std::shared_ptr<Client> client, const std::string& url)
      : easy(curl_easy_init()), client_(std::move(client)) {
    Set(CURLOPT_URL, url.c_str());
    Set(CURLOPT_WRITEFUNCTION, &Sink::OnBody);
    Set(CURLOPT_WRITEDATA, &sink);
    Set(CURLOPT_HEADERFUNCTION, &Sink::OnHeader);
    Set(CURLOPT_HEADERDATA, &sink);
    Set(CURLOPT_ERRORBUFFER, &error[0]);
  }
  ~RawApp() {
    curl_easy_cleanup(easy);
    curl_slist_free_all(headers_);
  }
  RawApp(const RawApp&) = delete;
  RawApp& operator=(const RawApp&) = delete;

  template <typename T>
  void Set(CURLoption option, T value) {
    ASSERT_EQ(curl_easy_setopt(easy, option, value), CURLE_OK);
  }
  void Header(const char* line) {
    headers_ = curl_slist_append(headers_, line);
    Set(CURLOPT_HTTPHEADER, headers_);
  }
  void Post(const std::string& fields) {
    Set(CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(fields.size()));
    Set(CURLOPT_COPYPOSTFIELDS, fields.data());
  }
  CallResult Perform(const RawOptions& options = {}) {
    CallResult result = curl::Perform(easy, options, client_);
    if (result.record.call_id == 0) return result;  // nothing was begun
    // Every call that a test makes is made again from its record.
    RetryOptions retry = options.retry.value_or(client_->options().retry);
    if (options.attempt_timeout) {
      retry.attempt_timeout = *options.attempt_timeout;
    }
    const absl::StatusOr<CallRecord> again = Replay(result.record, retry);
    if (!absl::IsFailedPrecondition(again.status())) {
      EXPECT_TRUE(again.ok()) << again.status();
      if (again.ok()) {
        EXPECT_TRUE(*again == result.record);
      }
    }
    return result;
  }
  std::string Head(const std::string& name) const {
    const size_t at = sink.head.find("\r\n" + name + ": ");
    if (at == std::string::npos) return "";
    const size_t from = at + name.size() + 4;
    return sink.head.substr(from, sink.head.find('\r', from) - from);
  }

  char error[CURL_ERROR_SIZE] = {};
  Sink sink;
  CURL* const easy;

 private:
  const std::shared_ptr<Client> client_;
  curl_slist* headers_ = nullptr;
};

// A body that is read through callbacks.
struct RawSource {
  std::string body;
  size_t at = 0;
  int rewinds = 0;

  static size_t Read(char* to, size_t size, size_t n, void* self) {
    auto* source = static_cast<RawSource*>(self);
    const size_t length = source->body.copy(to, size * n, source->at);
    source->at += length;
    return length;
  }
  bool Rewind() {
    at = 0;
    ++rewinds;
    return true;
  }
};

}  // namespace forbear::curl

#endif  // FORBEAR_TESTS_CURL_WRAP_RAW_APP_H_
