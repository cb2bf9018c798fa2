// GET with a libcurl handle that knows nothing of Forbear.
//
//   bazel run //examples:raw_handle -- https://example.com/
//
// A program of plain libcurl, of which one line was changed; it is marked. A POST would
// say where its body comes from (curl_wrap/raw_options.h).
#include <curl/curl.h>

#include <iostream>
#include <string>

#include "core/call_record.h"
#include "core/stop_reason.h"
#include "curl_wrap/perform.h"

namespace {

size_t Append(char* data, size_t size, size_t n, void* to) {
  static_cast<std::string*>(to)->append(data, size * n);
  return size * n;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: raw_handle URL\n";
    return 2;
  }
  std::string body;
  curl_global_init(CURL_GLOBAL_DEFAULT);
  CURL* curl = curl_easy_init();
  curl_easy_setopt(curl, CURLOPT_URL, argv[1]);
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, &Append);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &body);

  forbear::curl::CallResult result = forbear::curl::Perform(curl);  // here

  curl_easy_cleanup(curl);
  curl_global_cleanup();
  std::cerr << forbear::FormatCallRecord(result.record);
  if (result.code != CURLE_OK || result.http_status >= 400) {
    std::cerr << forbear::StopReasonSentence(result.stop_reason) << "\n";
    return 1;
  }
  std::cout << body;
  return 0;
}
