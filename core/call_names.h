// CallNames: what a call is called, in records and logs. Made once and shared by
// all who copy it, so that a record of each call costs no text.
//
//   spec.names = CallNames("api.example.com:443", "POST", "default");
//
// Nothing secret gets in: NameForRecord is applied to target and method.
//
// Thread rule: a value; copies may be used by different threads.
#ifndef FORBEAR_CORE_CALL_NAMES_H_
#define FORBEAR_CORE_CALL_NAMES_H_

#include <memory>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"

namespace forbear {

// What may be written down of a name that a driver gives: a text with '@', '?'
// or '#' in it is no host:port and no method, but a URL that may carry a
// password or a query, and becomes "(hidden)".
std::string NameForRecord(absl::string_view name);

class CallNames {
 public:
  // All of them empty.
  CallNames() = default;
  CallNames(absl::string_view target, absl::string_view method,
            absl::string_view policy);
  // As they stand in a record that was written down.
  static CallNames AsWritten(absl::string_view target, absl::string_view method,
                             absl::string_view policy);

  const std::string& target() const { return texts().target; }  // host:port
  // "POST", "/pkg.Service/Method".
  const std::string& method() const { return texts().method; }
  // Its name (core/policy.h).
  const std::string& policy() const { return texts().policy; }

 private:
  struct Texts {
    std::string target;
    std::string method;
    std::string policy;
  };
  explicit CallNames(Texts texts)
      : texts_(std::make_shared<const Texts>(std::move(texts))) {}
  const Texts& texts() const { return texts_ == nullptr ? None() : *texts_; }
  static const Texts& None();

  std::shared_ptr<const Texts> texts_;
};

// By their texts.
bool operator==(const CallNames& a, const CallNames& b);
inline bool operator!=(const CallNames& a, const CallNames& b) {
  return !(a == b);
}

}  // namespace forbear

#endif  // FORBEAR_CORE_CALL_NAMES_H_
