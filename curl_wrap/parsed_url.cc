#include "curl_wrap/parsed_url.h"

#include <algorithm>
#include <utility>

#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

namespace forbear::curl {
namespace {

bool LeavesUrlAlone() {
  static const bool leaves =
      curl_version_info(CURLVERSION_NOW)->version_num < 0x080c00;
  return leaves;
}

// No more than this is needed beside what libcurl's parser says: what curl_url_dup may
// lose (a zone, an empty query), and what options or another look decide upon.
bool IsPlain(absl::string_view text) {
  if (!absl::ConsumePrefix(&text, "http://") &&
      !absl::ConsumePrefix(&text, "https://")) {
    return false;
  }
  const bool printable = std::all_of(
      text.begin(), text.end(), [](char c) { return c > ' ' && c < '\x7f'; });
  const absl::string_view authority = text.substr(0, text.find_first_of("/?"));
  return printable && !text.empty() && text.back() != '?' &&
         text.find_first_of("#\\") == absl::string_view::npos &&
         authority.find_first_of("@[]%") == absl::string_view::npos;
}

}  // namespace

ParsedUrl::ParsedUrl(const std::string& text) {
  if (!LeavesUrlAlone() || !IsPlain(text)) return;
  std::unique_ptr<CURLU, Free> url(curl_url());
  char* again = nullptr;
  if (url == nullptr ||
      curl_url_set(url.get(), CURLUPART_URL, text.c_str(), 0) != CURLUE_OK ||
      curl_url_get(url.get(), CURLUPART_URL, &again, 0) != CURLUE_OK) {
    return;
  }
  if (text == again) {
    url_ = std::move(url);
    text_ = text;
  }
  curl_free(again);
}

bool ParsedUrl::MoveTo(const std::string& text) {
  if (url_ == nullptr) return false;
  if (text == text_) return true;
  // As far as the server is named, and then a path that is neither decoded nor shortened.
  const size_t end = text_.find_first_of("/?", text_.find("://") + 3);
  if (end == std::string::npos || text.size() <= end || text[end] != '/' ||
      text.compare(0, end, text_, 0, end) != 0 || !IsPlain(text)) {
    return false;
  }
  const size_t question = text.find('?', end);
  const std::string path = text.substr(end, question - end);
  if (path.find("/.") != std::string::npos ||
      text.find('%', end) != std::string::npos) {
    return false;
  }
  const char* const query =
      question == std::string::npos ? nullptr : text.c_str() + question + 1;
  if (curl_url_set(url_.get(), CURLUPART_PATH, path.c_str(), 0) != CURLUE_OK ||
      curl_url_set(url_.get(), CURLUPART_QUERY, query, 0) != CURLUE_OK) {
    url_ = nullptr;
    return false;
  }
  text_ = text;
  return true;
}

const CURLU* ParsedUrl::For(CURL* easy) const {
  if (url_ == nullptr) return nullptr;
  // Before a transfer this is CURLOPT_URL, whoever has set it.
  const char* url = nullptr;
  curl_easy_getinfo(easy, CURLINFO_EFFECTIVE_URL, &url);
  return url != nullptr && text_ == url ? url_.get() : nullptr;
}

}  // namespace forbear::curl
