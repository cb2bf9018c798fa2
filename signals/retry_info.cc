#include "signals/retry_info.h"

#include <algorithm>
#include <cstddef>

#include "signals/retry_after.h"

namespace forbear {
namespace {

constexpr size_t kMaxBytes = size_t{64} * 1024;
constexpr size_t kMaxViolations = 16;
constexpr size_t kMaxInfos = 4;
constexpr size_t kMaxMetadata = 32;

// ---- protobuf's wire format

enum WireType : uint8_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

struct Field {
  uint32_t number = 0;
  WireType type = kVarint;
  uint64_t varint = 0;      // kVarint
  absl::string_view bytes;  // kBytes
};

// Takes a number of at most `most` bytes; what does not fit 64 bits is cut off.
bool TakeVarint(absl::string_view* rest, size_t most, uint64_t* value) {
  *value = 0;
  for (size_t i = 0; i < std::min(most, rest->size()); ++i) {
    const uint64_t byte = static_cast<unsigned char>((*rest)[i]);
    *value |= (byte & 0x7f) << (7 * i);
    if (byte < 0x80) {
      rest->remove_prefix(i + 1);
      return true;
    }
  }
  return false;
}

bool TakeBytes(absl::string_view* rest, uint64_t size,
               absl::string_view* bytes) {
  if (size > rest->size()) return false;
  *bytes = rest->substr(0, size);
  rest->remove_prefix(size);
  return true;
}

bool TakeField(absl::string_view* rest, Field* field) {
  uint64_t tag;
  if (!TakeVarint(rest, 5, &tag)) return false;
  field->number = static_cast<uint32_t>(tag) >> 3;
  if (field->number == 0) return false;
  field->type = static_cast<WireType>(tag & 7);
  uint64_t size;
  switch (field->type) {
    case kVarint:
      return TakeVarint(rest, 10, &field->varint);
    case kFixed64:
      return TakeBytes(rest, 8, &field->bytes);
    case kBytes:
      return TakeVarint(rest, 5, &size) && TakeBytes(rest, size, &field->bytes);
    case kFixed32:
      return TakeBytes(rest, 4, &field->bytes);
  }
  return false;
}

// Gives each field of a message to `read`, which says whether it is right. Returns
// whether the message is, all of it.
template <typename Read>
bool ReadMessage(absl::string_view bytes, Read read) {
  while (!bytes.empty()) {
    Field field;
    if (!TakeField(&bytes, &field) || !read(field)) return false;
  }
  return true;
}

// If `field` is that one, its value goes to `to`.
void TakeText(const Field& field, uint32_t number, absl::string_view* to) {
  if (field.number == number && field.type == kBytes) *to = field.bytes;
}
void TakeInt32(const Field& field, uint32_t number, int32_t* to) {
  if (field.number == number && field.type == kVarint) {
    *to = static_cast<int32_t>(static_cast<uint32_t>(field.varint));
  }
}
void TakeInt64(const Field& field, uint32_t number, int64_t* to) {
  if (field.number == number && field.type == kVarint) {
    *to = static_cast<int64_t>(field.varint);
  }
}
bool IsMessage(const Field& field, uint32_t number) {
  return field.number == number && field.type == kBytes;
}

// ---- the messages; each appends to what is known, if it is right

void ReadRetryInfo(absl::string_view bytes, ErrorDetails* details) {
  bool there = false;
  int64_t seconds = 0;
  int32_t nanos = 0;
  const bool right = ReadMessage(bytes, [&](const Field& field) {
    if (!IsMessage(field, 1)) return true;
    there = true;
    return ReadMessage(field.bytes, [&](const Field& part) {
      TakeInt64(part, 1, &seconds);
      TakeInt32(part, 2, &nanos);
      return true;
    });
  });
  if (!right || !there || seconds < 0 || nanos < 0 || nanos > 999'999'999) {
    return;
  }
  constexpr int64_t kMostSeconds = 315'576'000'000;
  details->retry_delay =
      LongestWait(details->retry_delay,
                  seconds > kMostSeconds
                      ? absl::InfiniteDuration()
                      : absl::Seconds(seconds) + absl::Nanoseconds(nanos));
}

void ReadQuotaFailure(absl::string_view bytes, ErrorDetails* details) {
  std::vector<QuotaViolation> violations;
  const bool right = ReadMessage(bytes, [&](const Field& field) {
    if (!IsMessage(field, 1)) return true;
    QuotaViolation violation;
    const bool whole = ReadMessage(field.bytes, [&](const Field& part) {
      TakeText(part, 1, &violation.subject);
      TakeText(part, 2, &violation.description);
      TakeText(part, 3, &violation.api_service);
      TakeText(part, 4, &violation.quota_metric);
      TakeText(part, 5, &violation.quota_id);
      return true;
    });
    if (violations.size() < kMaxViolations) violations.push_back(violation);
    return whole;
  });
  if (!right) return;
  for (const QuotaViolation& violation : violations) {
    if (details->violations.size() == kMaxViolations) break;
    details->violations.push_back(violation);
  }
}

void ReadErrorInfo(absl::string_view bytes, ErrorDetails* details) {
  ErrorInfo info;
  const bool right = ReadMessage(bytes, [&](const Field& field) {
    TakeText(field, 1, &info.reason);
    TakeText(field, 2, &info.domain);
    if (!IsMessage(field, 3)) return true;
    std::pair<absl::string_view, absl::string_view> entry;
    const bool whole = ReadMessage(field.bytes, [&](const Field& part) {
      TakeText(part, 1, &entry.first);
      TakeText(part, 2, &entry.second);
      return true;
    });
    const auto old =
        std::find_if(info.metadata.begin(), info.metadata.end(),
                     [&](const auto& e) { return e.first == entry.first; });
    if (old != info.metadata.end()) {
      *old = entry;
    } else if (info.metadata.size() < kMaxMetadata) {
      info.metadata.push_back(entry);
    }
    return whole;
  });
  if (right && details->infos.size() < kMaxInfos) {
    details->infos.push_back(std::move(info));
  }
}

// google.protobuf.Any.
void ReadDetail(absl::string_view bytes, ErrorDetails* details) {
  absl::string_view url;
  absl::string_view value;
  if (!ReadMessage(bytes, [&](const Field& field) {
        TakeText(field, 1, &url);
        TakeText(field, 2, &value);
        return true;
      })) {
    return;
  }
  const size_t slash = url.rfind('/');
  if (slash == absl::string_view::npos) return;
  const absl::string_view name = url.substr(slash + 1);
  if (name == "google.rpc.RetryInfo") {
    ReadRetryInfo(value, details);
  } else if (name == "google.rpc.QuotaFailure") {
    ReadQuotaFailure(value, details);
  } else if (name == "google.rpc.ErrorInfo") {
    ReadErrorInfo(value, details);
  }
}

}  // namespace

ErrorDetails ReadErrorDetails(absl::string_view bytes) {
  ErrorDetails details;
  if (bytes.size() > kMaxBytes) return details;
  ReadMessage(bytes, [&](const Field& field) {
    TakeInt32(field, 1, &details.code);
    TakeText(field, 2, &details.message);
    if (IsMessage(field, 3)) ReadDetail(field.bytes, &details);
    return true;
  });
  return details;
}

}  // namespace forbear
