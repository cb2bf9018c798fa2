#include "curl_wrap/request.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/base/attributes.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace forbear::curl {
namespace {

constexpr size_t kMaxValue = size_t{1} << 31;
// What growing may leave unused, rather than copy everything.
constexpr size_t kMaxSlack = 64;
// What the first option reserves: a URL, some lines of HTTPHEADER and others.
constexpr size_t kReserved = 512;
// The option, the kind and the size of a value.
constexpr size_t kHead = sizeof(uint32_t) + sizeof(uint8_t) + sizeof(uint32_t);

template <typename T>
absl::string_view BytesOf(const T& value) {
  return {reinterpret_cast<const char*>(&value), sizeof(value)};
}
template <typename T>
T ValueOf(absl::string_view bytes) {
  T value;
  std::memcpy(&value, bytes.data(), sizeof(value));
  return value;
}

bool IsRefused(CURLoption option) {
  // Deprecated, but there; its name cannot be used without a warning.
  constexpr auto kHttpPost =
      static_cast<CURLoption>(CURLOPTTYPE_OBJECTPOINT + 24);
  switch (option) {
    case CURLOPT_MIMEPOST:
    case kHttpPost:
    case CURLOPT_CURLU:
    case CURLOPT_STREAM_DEPENDS:
    case CURLOPT_STREAM_DEPENDS_E:
    case CURLOPT_CONNECT_ONLY:
#if LIBCURL_VERSION_NUM >= 0x075600
    case CURLOPT_WS_OPTIONS:
#endif
      return true;
    default:
      return false;
  }
}

// The others may leave something in an easy handle that a reset does not take away, or
// nobody has looked whether they do.
bool IsPlainOption(CURLoption option) {
  switch (option) {
    case CURLOPT_URL:
    case CURLOPT_HTTPHEADER:
    case CURLOPT_POSTFIELDS:
    case CURLOPT_COPYPOSTFIELDS:
    case CURLOPT_POSTFIELDSIZE:
    case CURLOPT_POSTFIELDSIZE_LARGE:
    case CURLOPT_POST:
    case CURLOPT_HTTPGET:
    case CURLOPT_NOBODY:
    case CURLOPT_CUSTOMREQUEST:
    case CURLOPT_USERAGENT:
    case CURLOPT_ACCEPT_ENCODING:
    case CURLOPT_FOLLOWLOCATION:
    case CURLOPT_MAXREDIRS:
    case CURLOPT_FAILONERROR:
    case CURLOPT_HTTP_VERSION:
    case CURLOPT_WRITEFUNCTION:
    case CURLOPT_WRITEDATA:
    case CURLOPT_HEADERFUNCTION:
    case CURLOPT_HEADERDATA:
    case CURLOPT_NOSIGNAL:
    case CURLOPT_TIMEOUT:
    case CURLOPT_TIMEOUT_MS:
    case CURLOPT_CONNECTTIMEOUT:
    case CURLOPT_CONNECTTIMEOUT_MS:
    case CURLOPT_LOW_SPEED_LIMIT:
    case CURLOPT_LOW_SPEED_TIME:
    case CURLOPT_TCP_NODELAY:
    case CURLOPT_TCP_KEEPALIVE:
    case CURLOPT_SSL_VERIFYPEER:
    case CURLOPT_SSL_VERIFYHOST:
    case CURLOPT_CAINFO:
    case CURLOPT_CAPATH:
    case CURLOPT_PRIVATE:
      return true;
    default:
      return false;
  }
}

// Whether its value differs from request to request. Setting it again leaves nothing of
// the old value.
bool Differs(CURLoption option) {
  switch (option) {
    case CURLOPT_URL:
    case CURLOPT_POSTFIELDS:
    case CURLOPT_POSTFIELDSIZE_LARGE:
    case CURLOPT_WRITEDATA:
    case CURLOPT_HEADERDATA:
    case CURLOPT_TIMEOUT_MS:
    case CURLOPT_PRIVATE:
      return true;
    default:
      return false;
  }
}

// Whether a second value is one more, and not another one.
bool AddsUp(CURLoption option) {
  switch (option) {
    case CURLOPT_COOKIEFILE:
    case CURLOPT_COOKIELIST:
    case CURLOPT_ALTSVC:
    case CURLOPT_HSTS:
      return true;
    default:
      return false;
  }
}

// Whether its 0 does not undo all that its 1 has done: NOBODY takes a POST away, and 0
// does not bring it back.
bool IsOneWay(CURLoption option) {
  // Deprecated, but there; its name cannot be used without a warning.
  constexpr auto kPut = static_cast<CURLoption>(CURLOPTTYPE_LONG + 54);
  switch (option) {
    case CURLOPT_HTTPGET:
    case CURLOPT_NOBODY:
    case CURLOPT_POST:
    case CURLOPT_UPLOAD:
    case kPut:
      return true;
    default:
      return false;
  }
}

uint32_t CountLines(absl::string_view lines) {
  return static_cast<uint32_t>(std::count(lines.begin(), lines.end(), '\0'));
}

// What type libcurl says the option has. It would look through all of them.
curl_easytype TypeOf(CURLoption option) {
  using Types = std::vector<std::pair<CURLoption, curl_easytype>>;
  static const Types& types = *[] {
    auto* const all = new Types;
    for (const curl_easyoption* one = curl_easy_option_next(nullptr);
         one != nullptr; one = curl_easy_option_next(one)) {
      // (An old name of another one.)
      if ((one->flags & CURLOT_FLAG_ALIAS) == 0) {
        all->emplace_back(one->id, one->type);
      }
    }
    std::sort(all->begin(), all->end());
    return all;
  }();
  const auto found = std::lower_bound(
      types.begin(), types.end(), option,
      [](const auto& one, CURLoption o) { return one.first < o; });
  return found != types.end() && found->first == option ? found->second
                                                        : CURLOT_OBJECT;
}

}  // namespace

struct Request::Entry {
  CURLoption option = CURLOPT_URL;
  Kind kind = Kind::kNumber;
  absl::string_view value;
  size_t begin = 0;  // in bytes_
  size_t end = 0;
};

ABSL_ATTRIBUTE_ALWAYS_INLINE inline bool Request::Next(size_t* at,
                                                       Entry* entry) const {
  if (*at == bytes_.size()) return false;
  const char* const head = bytes_.data() + *at;
  uint32_t option = 0;
  uint32_t size = 0;
  std::memcpy(&option, head, sizeof(option));
  std::memcpy(&entry->kind, head + sizeof(option), sizeof(entry->kind));
  std::memcpy(&size, head + kHead - sizeof(size), sizeof(size));
  entry->option = static_cast<CURLoption>(option);
  entry->value = {head + kHead, size};
  entry->begin = *at;
  entry->end = *at = *at + kHead + size;
  return true;
}

Request::Request(absl::string_view url) {
  // libcurl would go to what stands before the NUL.
  if (url.size() >= kMaxValue || absl::StrContains(url, '\0')) {
    Refuse(CURLOPT_URL, CURLE_URL_MALFORMAT);
    return;
  }
  Put(CURLOPT_URL, Kind::kText, absl::StrCat(url, absl::string_view("", 1)));
}

void Request::AddHeader(absl::string_view line) {
  if (headers_ != nullptr) {
    const std::shared_ptr<const std::string> packed =
        std::exchange(headers_, nullptr);
    Put(CURLOPT_HTTPHEADER, Kind::kLines, *packed);
  }
  Entry entry;
  if (!Find(CURLOPT_HTTPHEADER, &entry) || entry.kind == Kind::kPointer) {
    Put(CURLOPT_HTTPHEADER, Kind::kLines, "");
    Find(CURLOPT_HTTPHEADER, &entry);
  }
  if (entry.kind == Kind::kRefused) return;
  const size_t size = entry.value.size() + line.size() + 1;
  if (size > kMaxValue || absl::StrContains(line, '\0') ||
      absl::StrContains(line, '\r') || absl::StrContains(line, '\n')) {
    Refuse(CURLOPT_HTTPHEADER, CURLE_BAD_FUNCTION_ARGUMENT);
    return;
  }
  bytes_.insert(entry.end, line.size() + 1, '\0');
  if (!line.empty()) {
    std::memcpy(&bytes_[entry.end], line.data(), line.size());
  }
  const auto stored = static_cast<uint32_t>(size);
  std::memcpy(&bytes_[entry.begin + kHead - sizeof(stored)], &stored,
              sizeof(stored));
  ++lines_;
}

void Request::Pack(HeaderPool* pool) {
  Entry entry;
  if (Find(CURLOPT_HTTPHEADER, &entry) && entry.kind == Kind::kLines &&
      !entry.value.empty()) {
    headers_ = pool->Share(entry.value);
    bytes_.erase(entry.begin, entry.end - entry.begin);
  }
  if (bytes_.capacity() - bytes_.size() > kMaxSlack) bytes_.shrink_to_fit();
}

void Request::SetBody(absl::string_view body) {
  Remove(CURLOPT_POSTFIELDSIZE_LARGE);
  PutBody(body);
}

void Request::PutNumber(CURLoption option, int64_t number) {
  const absl::string_view value = BytesOf(number);
  if (number == 0 && IsOneWay(option)) {
    RemoveIf([&](const Entry& entry) {
      return entry.option == option && entry.value == value;
    });
    Append(option, Kind::kNumber, value);
  } else {
    Put(option, Kind::kNumber, value);
  }
}

CURLcode Request::Set(CURLoption option, const OptionValue& value) {
  if (!HasTypeOf(option, value) || IsRefused(option)) {
    return CURLE_BAD_FUNCTION_ARGUMENT;
  }
  plain_ = plain_ && IsPlainOption(option);
  switch (option) {
    case CURLOPT_POSTFIELDS:
    case CURLOPT_COPYPOSTFIELDS:
      return PutFields(static_cast<const char*>(value.pointer));
    case CURLOPT_POSTFIELDSIZE:
      // One place for both.
      return Set(CURLOPT_POSTFIELDSIZE_LARGE, value);
    case CURLOPT_POSTFIELDSIZE_LARGE: {
      if (value.number < -1) return CURLE_BAD_FUNCTION_ARGUMENT;
      Entry body;
      if (value.number >= 0 && Find(CURLOPT_POSTFIELDS, &body) &&
          (body.kind == Kind::kText || body.kind == Kind::kBytes)) {
        // What was not copied then cannot be had now.
        const size_t copied =
            body.value.size() - (body.kind == Kind::kBytes ? 1 : 0);
        if (static_cast<uint64_t>(value.number) > copied) {
          Refuse(CURLOPT_POSTFIELDS, CURLE_BAD_FUNCTION_ARGUMENT);
        }
      }
      PutNumber(option, value.number);
      return CURLE_OK;
    }
    default:
      break;
  }
  if (value.function != nullptr) {
    Put(option, Kind::kFunction, BytesOf(value.function));
    return CURLE_OK;
  }
  if (value.pointer == nullptr) {
    if (option < CURLOPTTYPE_OBJECTPOINT ||
        (option >= CURLOPTTYPE_OFF_T && option < CURLOPTTYPE_BLOB)) {
      PutNumber(option, value.number);
    } else {
      // NULL has its meaning: the default, or nothing.
      if (!AddsUp(option)) Remove(option);
      Append(option, Kind::kPointer, BytesOf(value.pointer));
    }
    return CURLE_OK;
  }
  switch (TypeOf(option)) {
    case CURLOT_STRING: {
      const auto* const text = static_cast<const char*>(value.pointer);
      const size_t size = std::strlen(text) + 1;
      if (size >= kMaxValue) return CURLE_BAD_FUNCTION_ARGUMENT;
      if (!AddsUp(option)) Remove(option);
      Append(option, Kind::kText, {text, size});
      return CURLE_OK;
    }
    case CURLOT_SLIST: {
      const auto* const first = static_cast<const curl_slist*>(value.pointer);
      size_t size = 0;
      for (const curl_slist* line = first; line != nullptr; line = line->next) {
        if (line->data != nullptr) size += std::strlen(line->data) + 1;
      }
      if (size >= kMaxValue) return CURLE_BAD_FUNCTION_ARGUMENT;
      std::string all;
      all.reserve(size);
      uint32_t lines = 0;
      for (const curl_slist* line = first; line != nullptr; line = line->next) {
        if (line->data == nullptr) continue;
        all.append(line->data, std::strlen(line->data) + 1);
        ++lines;
      }
      Put(option, Kind::kLines, all);
      lines_ += lines;
      return CURLE_OK;
    }
    case CURLOT_BLOB: {
      const auto* const blob = static_cast<const curl_blob*>(value.pointer);
      if (blob->len >= kMaxValue) return CURLE_BAD_FUNCTION_ARGUMENT;
      Put(option, Kind::kBlob,
          {static_cast<const char*>(blob->data), blob->len});
      return CURLE_OK;
    }
    default:
      Put(option, Kind::kPointer, BytesOf(value.pointer));
      return CURLE_OK;
  }
}

CURLcode Request::PutFields(const char* fields) {
  if (fields == nullptr) {
    Put(CURLOPT_POSTFIELDS, Kind::kPointer, BytesOf(fields));
    return CURLE_OK;
  }
  Entry entry;
  if (Find(CURLOPT_POSTFIELDSIZE_LARGE, &entry)) {
    const auto size = ValueOf<int64_t>(entry.value);
    if (size >= 0) return PutBody({fields, static_cast<size_t>(size)});
  }
  const size_t size = std::strlen(fields) + 1;
  if (size >= kMaxValue) {
    return Refuse(CURLOPT_POSTFIELDS, CURLE_BAD_FUNCTION_ARGUMENT);
  }
  Put(CURLOPT_POSTFIELDS, Kind::kText, {fields, size});
  return CURLE_OK;
}

CURLcode Request::PutBody(absl::string_view body) {
  if (body.size() >= kMaxValue) {
    return Refuse(CURLOPT_POSTFIELDS, CURLE_BAD_FUNCTION_ARGUMENT);
  }
  Put(CURLOPT_POSTFIELDS, Kind::kBytes, body);
  return CURLE_OK;
}

CURLcode Request::Refuse(CURLoption option, CURLcode code) {
  Put(option, Kind::kRefused, BytesOf(code));
  return code;
}

void Request::Put(CURLoption option, Kind kind, absl::string_view value) {
  Remove(option);
  Append(option, kind, value);
}

void Request::Append(CURLoption option, Kind kind, absl::string_view value) {
  const absl::string_view end("", kind == Kind::kBytes ? 1 : 0);
  const auto number = static_cast<uint32_t>(option);
  const auto size = static_cast<uint32_t>(value.size() + end.size());
  const size_t all = bytes_.size() + kHead + size;
  if (bytes_.capacity() < all) bytes_.reserve(std::max(kReserved, all));
  char head[kHead];
  std::memcpy(head, &number, sizeof(number));
  std::memcpy(head + sizeof(number), &kind, sizeof(kind));
  std::memcpy(head + sizeof(number) + sizeof(kind), &size, sizeof(size));
  bytes_.append(head, kHead).append(value.data(), value.size());
  bytes_.append(end.data(), end.size());
}

absl::string_view Request::ShapeOf(const Entry& entry) const {
  // Its number and its kind; and size and value.
  return absl::string_view(bytes_).substr(
      entry.begin, Differs(entry.option) ? sizeof(uint32_t) + sizeof(uint8_t)
                                         : entry.end - entry.begin);
}

std::string Request::Shape() const {
  std::string shape(headers_ == nullptr ? "-" : "+");
  Entry entry;
  for (size_t at = 0; Next(&at, &entry);) {
    const absl::string_view part = ShapeOf(entry);
    shape.append(part.data(), part.size());
  }
  return shape;
}

bool Request::HasShape(absl::string_view shape) const {
  if (!absl::ConsumePrefix(&shape, headers_ == nullptr ? "-" : "+")) {
    return false;
  }
  Entry entry;
  for (size_t at = 0; Next(&at, &entry);) {
    if (!absl::ConsumePrefix(&shape, ShapeOf(entry))) return false;
  }
  return shape.empty();
}

template <typename Which>
void Request::RemoveIf(const Which& which) {
  Entry entry;
  for (size_t at = 0; Next(&at, &entry);) {
    if (!which(entry)) continue;
    if (entry.kind == Kind::kLines) lines_ -= CountLines(entry.value);
    bytes_.erase(entry.begin, entry.end - entry.begin);
    at = entry.begin;
  }
}

void Request::Remove(CURLoption option) {
  if (option == CURLOPT_HTTPHEADER && headers_ != nullptr) {
    lines_ -= CountLines(*headers_);
    headers_ = nullptr;
  }
  RemoveIf([option](const Entry& entry) { return entry.option == option; });
}

bool Request::Find(CURLoption option, Entry* entry) const {
  for (size_t at = 0; Next(&at, entry);) {
    if (entry->option == option) return true;
  }
  return false;
}

const curl_slist* Request::ListOf(absl::string_view lines, Lists* lists) {
  const curl_slist* first = nullptr;
  curl_slist* before = nullptr;
  while (!lines.empty()) {
    curl_slist line = {};
    // libcurl only reads it.
    line.data = const_cast<char*>(lines.data());
    lists->push_back(line);
    if (before == nullptr) {
      first = &lists->back();
    } else {
      before->next = &lists->back();
    }
    before = &lists->back();
    lines.remove_prefix(std::strlen(lines.data()) + 1);
  }
  return first;
}

CURLcode Request::PutOn(CURL* easy, EasyOptions* settings, Lists* lists) const {
  const auto put = [&](CURLoption option, const OptionValue& value) {
    const CURLcode code =
        easy == nullptr ? CURLE_OK : Forward(easy, option, value);
    if (code == CURLE_OK && settings != nullptr) settings->Note(option, value);
    return code;
  };
  // The lists' nodes stay where they are: there are never more.
  lists->clear();
  lists->reserve(lines_);
  CURLcode refused = CURLE_OK;
  Entry entry;
  for (size_t at = 0; Next(&at, &entry);) {
    OptionValue value;
    curl_blob blob = {};
    switch (entry.kind) {
      case Kind::kNumber:
        value.number = ValueOf<int64_t>(entry.value);
        break;
      case Kind::kPointer:
        value.pointer = ValueOf<const void*>(entry.value);
        break;
      case Kind::kFunction:
        value.function = ValueOf<OptionValue::Function>(entry.value);
        break;
      case Kind::kText:
        value.pointer = entry.value.data();
        break;
      case Kind::kBytes: {
        // Unless it was told later.
        const size_t size = entry.value.size() - 1;
        const CURLcode code = put(CURLOPT_POSTFIELDSIZE_LARGE,
                                  OptionValue::Of(static_cast<int64_t>(size)));
        if (code != CURLE_OK) return code;
        value.pointer = entry.value.data();
        break;
      }
      case Kind::kLines:
        value.pointer = ListOf(entry.value, lists);
        break;
      case Kind::kBlob:
        blob.data = const_cast<char*>(entry.value.data());
        blob.len = entry.value.size();
        blob.flags = CURL_BLOB_COPY;
        value.pointer = &blob;
        break;
      case Kind::kRefused:
        refused = ValueOf<CURLcode>(entry.value);
        continue;
    }
    const CURLcode code = put(entry.option, value);
    if (code != CURLE_OK) return code;
  }
  if (headers_ != nullptr) {
    const CURLcode code = put(
        CURLOPT_HTTPHEADER,
        OptionValue::Of(static_cast<const void*>(ListOf(*headers_, lists))));
    if (code != CURLE_OK) return code;
  }
  return refused;
}

std::shared_ptr<const std::string> HeaderPool::Share(absl::string_view lines) {
  std::lock_guard<std::mutex> lock(mutex_);
  for (const std::weak_ptr<const std::string>& one : seen_) {
    std::shared_ptr<const std::string> seen = one.lock();
    if (seen != nullptr && *seen == lines) return seen;
  }
  auto kept = std::make_shared<const std::string>(lines);
  seen_[next_] = kept;
  next_ = (next_ + 1) % kRemembered;
  return kept;
}

}  // namespace forbear::curl
