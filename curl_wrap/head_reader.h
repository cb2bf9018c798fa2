// HeadReader: where the heads of an HTTP answer begin and end, and their statuses, as
// libcurl hands them to a header callback, one line at a time.
//
//   HeadReader head;
//   head.Add("HTTP/1.1 429 Too Many Requests\r\n");
//   head.Add("Retry-After: 2\r\n");
//   head.Add("\r\n");
//   head.complete();      // true
//   head.status();        // 429
//
//   // Once more through the lines, for who wants to know what they say:
//   HeaderFields fields;
//   for (…) AddField(line, &fields);    // {"Retry-After", "2"}
//
// One transfer can bring several heads: "100 Continue", the "200" of a proxy's
// CONNECT, redirects, rounds of authentication. Each status line begins anew;
// what the object says is about the latest head.
//
// Thread rule: not thread-safe.
#ifndef FORBEAR_CURL_WRAP_HEAD_READER_H_
#define FORBEAR_CURL_WRAP_HEAD_READER_H_

#include "absl/container/inlined_vector.h"
#include "absl/strings/match.h"
#include "absl/strings/string_view.h"
#include "signals/header_field.h"

namespace forbear::curl {

class HeadReader {
 public:
  void Add(absl::string_view line) {
    if (!Passes(line)) AddOther(line);
  }
  // Whether it neither begins nor ends a head, for sure: Add would change nothing.
  bool Passes(absl::string_view line) const {
    return in_head_ && !line.empty() && line[0] != '\r' && line[0] != '\n';
  }

  // Whether the head's last line, the empty one, has come.
  bool complete() const { return complete_; }
  // 0 before the first status line.
  int status() const { return status_; }

 private:
  void AddOther(absl::string_view line);

  bool in_head_ = false;
  bool complete_ = false;
  int status_ = 0;
};

using HeaderFields = absl::InlinedVector<HeaderField, 32>;

// Whether it begins a head.
inline bool IsStatusLine(absl::string_view line) {
  return line.size() >= 5 && (line[0] == 'H' || line[0] == 'h') &&
         (absl::StartsWith(line, "HTTP/") ||
          absl::StartsWithIgnoreCase(line, "HTTP/"));
}

// Whether a line is one of a field. Then that, without the blanks around it.
bool ReadField(absl::string_view line, HeaderField* field);

// Adds the field of one line, which must outlive `fields`. A status line takes out
// what was there: of an earlier head. What is no field is passed over.
void AddField(absl::string_view line, HeaderFields* fields);

}  // namespace forbear::curl

#endif  // FORBEAR_CURL_WRAP_HEAD_READER_H_
