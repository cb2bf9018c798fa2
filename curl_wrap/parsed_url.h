// ParsedUrl: a URL as libcurl parses it, so that libcurl need not do so again for each
// transfer: a tenth of what a small request costs.
//
//   const ParsedUrl parsed("https://api.example.com/v1/models");
//   if (const CURLU* url = parsed.For(easy)) {
//     curl_easy_setopt(easy, CURLOPT_CURLU, url);
//     …start the transfer; libcurl has copied it when PREREQFUNCTION is called…
//     curl_easy_setopt(easy, CURLOPT_CURLU, nullptr);
//   }
//
// The transfer is the same with it and without it, and so is what CURLINFO_EFFECTIVE_URL
// says. So it exists only of URLs which libcurl's parser leaves as they are, to the last
// byte, and which have nothing that could be read in two ways: "http://" or "https://",
// a name or an IPv4 address, printable ASCII; no user, no fragment. Most are like that.
//
// Not with libcurl 8.12 and later: there a CURLU takes the place of CURLOPT_URL for good.
//
// Thread rule: a value; const methods from any thread.
#ifndef FORBEAR_CURL_WRAP_PARSED_URL_H_
#define FORBEAR_CURL_WRAP_PARSED_URL_H_

#include <curl/curl.h>

#include <memory>
#include <string>

namespace forbear::curl {

class ParsedUrl {
 public:
  explicit ParsedUrl(const std::string& text);

  // Becomes another URL of the same server, which costs a tenth of parsing it. False: it
  // is the same as before, and the other one must be parsed.
  bool MoveTo(const std::string& text);

  // For a transfer of this handle that begins now; null: libcurl must look at the text.
  // So it must if CURLOPT_URL is not this URL, or was not the last one: the handle
  // followed a redirect. Whether it has a CURLOPT_CURLU of its own, libcurl does not tell.
  const CURLU* For(CURL* easy) const;

 private:
  struct Free {
    void operator()(CURLU* url) const { curl_url_cleanup(url); }
  };

  std::unique_ptr<CURLU, Free> url_;  // null: libcurl must look at the text
  std::string text_;                  // if there is one
};

}  // namespace forbear::curl

#endif  // FORBEAR_CURL_WRAP_PARSED_URL_H_
