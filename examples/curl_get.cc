// Fetches a URL and gets through 429s, 503s and resets on the way:
//
//   bazel run //examples:curl_get -- https://example.com/
//
// A libcurl program becomes a Forbear program in three lines; they are marked.
#include <curl/curl.h>

#include <cstdio>
#include <iostream>
#include <string>

#include "absl/time/time.h"
#include "core/call_record.h"
#include "core/stop_reason.h"
#include "curl_wrap/handle.h"

namespace {

size_t Append(char* data, size_t size, size_t n, void* to) {
  static_cast<std::string*>(to)->append(data, size * n);
  return size * n;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: curl_get URL\n";
    return 2;
  }
  std::string body;

  forbear::curl::Handle curl = forbear::curl::Handle::Create();  // 1: _init()
  curl.SetOpt(CURLOPT_URL, argv[1]);                             // 2: _setopt()
  curl.SetOpt(CURLOPT_WRITEFUNCTION, &Append);
  curl.SetOpt(CURLOPT_WRITEDATA, &body);

  forbear::curl::CallOptions options;
  options.deadline = absl::Seconds(30);
  forbear::curl::CallResult result = curl.Perform(options);  // 3: _perform()

  std::cerr << forbear::FormatCallRecord(result.record);
  if (result.code != CURLE_OK || result.http_status >= 400) {
    std::cerr << forbear::StopReasonSentence(result.stop_reason) << "\n";
    if (result.retry_at) {
      std::cerr << "Come back in " << absl::FormatDuration(*result.retry_at)
                << ".\n";
    }
    return 1;
  }
  std::cout << body;
  return 0;
}
