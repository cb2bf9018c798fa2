#include "curl_wrap/byte_count.h"

namespace forbear::curl {
namespace {

// Whether CURLINFO_REQUEST_SIZE counts a body that was sent: since 8.7.0 always,
// before only one that went out together with its head, as libcurl sends small
// ones from memory with HTTP/1.
bool RequestSizeHasBody(CURL* easy, const EasyOptions& settings,
                        curl_off_t uploaded) {
  static const unsigned int version =
      curl_version_info(CURLVERSION_NOW)->version_num;
  if (version >= 0x080700) return true;
  if (settings.body() != EasyOptions::Body::kMemory ||
      uploaded >= int64_t{64} * 1024) {
    return false;
  }
  long http = CURL_HTTP_VERSION_NONE;
  curl_easy_getinfo(easy, CURLINFO_HTTP_VERSION, &http);
  return http <= CURL_HTTP_VERSION_1_1;
}

}  // namespace

void CountBytes(CURL* easy, const EasyOptions& settings, Outcome* outcome) {
  long request = 0;
  long head = 0;
  curl_off_t uploaded = 0;
  curl_off_t downloaded = 0;
  curl_easy_getinfo(easy, CURLINFO_REQUEST_SIZE, &request);
  curl_easy_getinfo(easy, CURLINFO_HEADER_SIZE, &head);
  if (settings.body() != EasyOptions::Body::kNone) {
    curl_easy_getinfo(easy, CURLINFO_SIZE_UPLOAD_T, &uploaded);
  }
  curl_easy_getinfo(easy, CURLINFO_SIZE_DOWNLOAD_T, &downloaded);
  outcome->bytes_sent = request;
  if (uploaded > 0 && !RequestSizeHasBody(easy, settings, uploaded)) {
    outcome->bytes_sent += uploaded;
  }
  outcome->bytes_received = head + downloaded;
}

}  // namespace forbear::curl
