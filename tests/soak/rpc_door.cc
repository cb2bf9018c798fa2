#include "tests/soak/rpc_door.h"

#include <iterator>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace forbear::soak {

using ::grpc::StatusCode;

std::string RpcMark::ToString() const {
  return absl::StrCat(id, "/", size, "/", strict ? "s" : "-");
}

StatusCode RandomBadCode(Dice* dice) {
  static constexpr StatusCode kCodes[] = {StatusCode::RESOURCE_EXHAUSTED,
                                          StatusCode::RESOURCE_EXHAUSTED,
                                          StatusCode::RESOURCE_EXHAUSTED,
                                          StatusCode::UNAVAILABLE,
                                          StatusCode::UNAVAILABLE,
                                          StatusCode::UNAVAILABLE,
                                          StatusCode::ABORTED,
                                          StatusCode::INTERNAL,
                                          StatusCode::UNKNOWN,
                                          StatusCode::NOT_FOUND,
                                          StatusCode::DEADLINE_EXCEEDED,
                                          StatusCode::PERMISSION_DENIED};
  return kCodes[dice->Below(std::size(kCodes))];
}

std::optional<RpcMark> RpcDoor::Read(
    absl::string_view method,
    const std::map<std::string, std::string>& metadata) {
  const auto found = metadata.find(RpcMark::kName);
  const std::vector<std::string> parts =
      absl::StrSplit(found == metadata.end() ? "" : found->second, '/');
  RpcMark mark;
  if (parts.size() != 3 || !absl::SimpleAtoi(parts[0], &mark.id) ||
      !absl::SimpleAtoi(parts[1], &mark.size)) {
    ledger_->Fault(absl::StrCat(
        "a call of ", method, " came with ",
        found == metadata.end() ? std::string("no mark") : found->second));
    return std::nullopt;
  }
  mark.strict = parts[2] == "s";
  return mark;
}

void RpcDoor::Arrived(const RpcMark& mark, bool acted, std::string answer) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    last_.emplace_back(mark.id, std::move(answer));
    if (last_.size() > kNoted) last_.pop_front();
  }
  if (!ledger_->Arrived(mark.id, mark.strict, acted)) {
    ledger_->Fault(absl::StrCat(
        "call ", mark.id,
        " may be acted upon once, was, and came again:", HistoryOf(mark.id)));
  }
}

std::string RpcDoor::HistoryOf(uint64_t id) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::string text;
  for (const auto& [of, what] : last_) {
    if (of == id) absl::StrAppend(&text, " ", what);
  }
  return text;
}

}  // namespace forbear::soak
