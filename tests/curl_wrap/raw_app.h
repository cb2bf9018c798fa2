// What the tests of Perform(CURL*) have in common: an application of plain libcurl
// that has changed one line.
#ifndef FORBEAR_TESTS_CURL_WRAP_RAW_APP_H_
#define FORBEAR_TESTS_CURL_WRAP_RAW_APP_H_

#include <curl/curl.h>

#include <memory>
#include <string>
#include <utility>

#include "core/retry_policy.h"
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
    RetryOptions retry = options.retry.value_or(client_->options().retry);
    if (options.attempt_timeout) {
      retry.attempt_timeout = *options.attempt_timeout;
    }
    ExpectReplays(result.record, retry);
    return result;
  }
  std::string Head(const std::string& name) const { return sink.Head(name); }

  char error[CURL_ERROR_SIZE] = {};
  Sink sink;
  CURL* const easy;

 private:
  const std::shared_ptr<Client> client_;
  curl_slist* headers_ = nullptr;
};

// A body that is read through callbacks, and set back by the application.
struct RawSource : Source {
  int rewinds = 0;

  bool Rewind() {
    at = 0;
    ++rewinds;
    return true;
  }
};

}  // namespace forbear::curl

#endif  // FORBEAR_TESTS_CURL_WRAP_RAW_APP_H_
