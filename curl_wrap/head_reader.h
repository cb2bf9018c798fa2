// HeadReader: what Forbear reads from the lines of an HTTP answer's head, as
// libcurl hands them to a header callback, one line at a time.
//
//   HeadReader head;
//   head.Add("HTTP/1.1 429 Too Many Requests\r\n", now);
//   head.Add("Retry-After: 2\r\n", now);
//   head.Add("\r\n", now);
//   head.complete();      // true
//   head.status();        // 429
//   head.retry_after();   // 2 s
//
// One transfer can bring several heads: "100 Continue", the "200" of a proxy's
// CONNECT, redirects, rounds of authentication. Each status line begins anew;
// what the object says is about the latest head.
//
// Thread rule: not thread-safe.
#ifndef FORBEAR_CURL_WRAP_HEAD_READER_H_
#define FORBEAR_CURL_WRAP_HEAD_READER_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace forbear::curl {

class HeadReader {
 public:
  // `now`: wall clock in epoch seconds, for dates in an answer without Date.
  void Add(absl::string_view line, int64_t now);

  // Whether the head's last line, the empty one, has come.
  bool complete() const { return complete_; }
  // 0 before the first status line.
  int status() const { return status_; }
  // The longest of the Retry-After lines; nothing before complete().
  std::optional<absl::Duration> retry_after() const { return retry_after_; }

 private:
  // Retry-After lines of one head that are looked at. More than two are an
  // attack or an accident.
  static constexpr size_t kMaxRetryAfters = 16;

  bool in_head_ = false;
  bool complete_ = false;
  int status_ = 0;
  std::optional<int64_t> date_;
  std::vector<std::string> retry_afters_;
  std::optional<absl::Duration> retry_after_;
};

}  // namespace forbear::curl

#endif  // FORBEAR_CURL_WRAP_HEAD_READER_H_
