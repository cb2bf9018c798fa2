// ReadErrorDetails on bytes that the real protobuf has written, and on random damage
// to them: whatever protobuf reads, it must read the same.

#include "signals/retry_info.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "core/random.h"
#include "google/protobuf/message.h"
#include "google/protobuf/unknown_field_set.h"
#include "gtest/gtest.h"
#include "tests/signals/error_details.pb.h"

namespace forbear {
namespace {

constexpr absl::string_view kPrefix = "type.googleapis.com/google.rpc.";

void AddEntry(testing::ErrorInfo* info, const std::string& key,
              const std::string& value) {
  auto* const entry = info->add_metadata();
  entry->set_key(key);
  entry->set_value(value);
}

void Add(testing::Status* status, absl::string_view name,
         const google::protobuf::Message& message) {
  testing::Any* const any = status->add_details();
  any->set_type_url(absl::StrCat(kPrefix, name));
  any->set_value(message.SerializeAsString());
}

testing::RetryInfo Delay(int64_t seconds, int32_t nanos) {
  testing::RetryInfo info;
  info.mutable_retry_delay()->set_seconds(seconds);
  info.mutable_retry_delay()->set_nanos(nanos);
  return info;
}

std::string Show(const ErrorDetails& details) {
  std::string text = absl::StrCat(details.code, " ", details.message);
  if (details.retry_delay) {
    absl::StrAppend(&text, "\nretry ",
                    absl::FormatDuration(*details.retry_delay));
  }
  for (const QuotaViolation& v : details.violations) {
    absl::StrAppend(&text, "\nviolation ", v.subject, "|", v.description, "|",
                    v.api_service, "|", v.quota_metric, "|", v.quota_id);
  }
  for (const ErrorInfo& info : details.infos) {
    absl::StrAppend(&text, "\ninfo ", info.reason, "|", info.domain);
    auto metadata = info.metadata;
    std::sort(metadata.begin(), metadata.end());
    for (const auto& [key, value] : metadata) {
      absl::StrAppend(&text, "|", key, "=", value);
    }
  }
  return text;
}

std::string ShowBytes(absl::string_view bytes) {
  return Show(ReadErrorDetails(bytes));
}

// ---- by the real protobuf

bool HasGroup(const google::protobuf::Message& message) {
  const auto& fields = message.GetReflection()->GetUnknownFields(message);
  for (int i = 0; i < fields.field_count(); ++i) {
    if (fields.field(i).type() == google::protobuf::UnknownField::TYPE_GROUP) {
      return true;
    }
  }
  return false;
}

// Parses; sets `group` if there was one anywhere.
template <typename Message>
std::optional<Message> Parse(const std::string& bytes, bool* group) {
  Message message;
  if (!message.ParseFromString(bytes)) return std::nullopt;
  *group |= HasGroup(message);
  return message;
}

// What ErrorDetails should be, or nothing where protobuf cannot tell: the status is
// malformed, or there is a group.
std::optional<std::string> Expected(const std::string& bytes) {
  bool group = false;
  const auto status = Parse<testing::Status>(bytes, &group);
  if (!status) return std::nullopt;
  std::string retry;
  std::string violations;
  std::string infos;
  absl::Duration longest = -absl::Seconds(1);
  int violation_count = 0;
  int info_count = 0;
  for (const testing::Any& any : status->details()) {
    group |= HasGroup(any);
    if (!absl::StrContains(any.type_url(), '/')) continue;
    const std::string name =
        any.type_url().substr(any.type_url().rfind('/') + 1);
    if (name == "google.rpc.RetryInfo") {
      const auto info = Parse<testing::RetryInfo>(any.value(), &group);
      if (!info || !info->has_retry_delay()) continue;
      group |= HasGroup(info->retry_delay());
      const int64_t seconds = info->retry_delay().seconds();
      const int32_t nanos = info->retry_delay().nanos();
      if (seconds < 0 || nanos < 0 || nanos >= 1000000000) continue;
      const absl::Duration delay =
          seconds > 315576000000
              ? absl::InfiniteDuration()
              : absl::Seconds(seconds) + absl::Nanoseconds(nanos);
      longest = std::max(longest, delay);
      retry = absl::StrCat("\nretry ", absl::FormatDuration(longest));
    } else if (name == "google.rpc.QuotaFailure") {
      const auto failure = Parse<testing::QuotaFailure>(any.value(), &group);
      if (!failure) continue;
      for (const auto& v : failure->violations()) {
        group |= HasGroup(v);
        if (++violation_count > 16) continue;
        absl::StrAppend(&violations, "\nviolation ", v.subject(), "|",
                        v.description(), "|", v.api_service(), "|",
                        v.quota_metric(), "|", v.quota_id());
      }
    } else if (name == "google.rpc.ErrorInfo") {
      const auto info = Parse<testing::ErrorInfo>(any.value(), &group);
      if (!info || ++info_count > 4) continue;
      absl::StrAppend(&infos, "\ninfo ", info->reason(), "|", info->domain());
      std::map<std::string, std::string> metadata;
      for (const auto& entry : info->metadata()) {
        group |= HasGroup(entry);
        metadata[entry.key()] = entry.value();
      }
      for (const auto& [key, value] : metadata) {
        absl::StrAppend(&infos, "|", key, "=", value);
      }
    }
  }
  if (group) return std::nullopt;
  return absl::StrCat(status->code(), " ", status->message(), retry, violations,
                      infos);
}

// ---- one at a time

TEST(RetryInfoTest, Everything) {
  testing::Status status;
  status.set_code(8);
  status.set_message("Quota exceeded");
  Add(&status, "RetryInfo", Delay(26, 500000000));
  testing::QuotaFailure failure;
  auto* const violation = failure.add_violations();
  violation->set_subject("project:1");
  violation->set_description("too many");
  violation->set_api_service("x.googleapis.com");
  violation->set_quota_metric("x.googleapis.com/requests");
  violation->set_quota_id("RequestsPerDayPerProject");
  violation->add_quota_dimensions("\x0a\x01k\x12\x01v");
  violation->set_quota_value(250000);
  violation->set_future_quota_value(0);
  failure.add_violations()->set_subject("second");
  Add(&status, "QuotaFailure", failure);
  Add(&status, "Help", testing::RetryInfo());
  testing::ErrorInfo info;
  info.set_reason("RATE_LIMIT_EXCEEDED");
  info.set_domain("googleapis.com");
  AddEntry(&info, "quota_limit", "ReadsPerMinute");
  AddEntry(&info, "service", "y");
  AddEntry(&info, "service", "x");  // as a map: the last
  Add(&status, "ErrorInfo", info);
  const std::string bytes = status.SerializeAsString();
  EXPECT_EQ(
      ShowBytes(bytes),
      "8 Quota exceeded\n"
      "retry 26.5s\n"
      "violation project:1|too many|x.googleapis.com|"
      "x.googleapis.com/requests|RequestsPerDayPerProject\n"
      "violation second||||\n"
      "info RATE_LIMIT_EXCEEDED|googleapis.com|quota_limit=ReadsPerMinute|"
      "service=x");
  EXPECT_EQ(ShowBytes(bytes), Expected(bytes));
}

std::optional<absl::Duration> DelayOf(const testing::Status& status) {
  const std::string bytes = status.SerializeAsString();
  return ReadErrorDetails(bytes).retry_delay;
}

TEST(RetryInfoTest, Delays) {
  struct Row {
    int64_t seconds = 0;
    int32_t nanos = 0;
    std::optional<absl::Duration> delay;
  };
  for (const Row& r :
       {Row{0, 0, absl::ZeroDuration()},
        Row{0, 847000000, absl::Milliseconds(847)},
        Row{0, 1, absl::Nanoseconds(1)},
        Row{5, 999999999, absl::Seconds(6) - absl::Nanoseconds(1)},
        Row{315576000000, 0, absl::Seconds(315576000000)},
        Row{315576000001, 0, absl::InfiniteDuration()},
        Row{INT64_MAX, 999999999, absl::InfiniteDuration()},
        Row{-1, 0, std::nullopt}, Row{0, -1, std::nullopt},
        Row{INT64_MIN, 0, std::nullopt}, Row{5, 1000000000, std::nullopt},
        Row{5, -1, std::nullopt}}) {
    testing::Status status;
    Add(&status, "RetryInfo", Delay(r.seconds, r.nanos));
    EXPECT_EQ(DelayOf(status), r.delay) << r.seconds << " " << r.nanos;
  }
  testing::Status none;
  EXPECT_EQ(DelayOf(none), std::nullopt);
  Add(&none, "RetryInfo", testing::RetryInfo());
  EXPECT_EQ(DelayOf(none), std::nullopt);
  testing::Status several;
  Add(&several, "RetryInfo", Delay(3, 0));
  Add(&several, "RetryInfo", Delay(5, 0));
  Add(&several, "RetryInfo", Delay(4, 0));
  EXPECT_EQ(DelayOf(several), absl::Seconds(5));
}

TEST(RetryInfoTest, OnlyByItsName) {
  for (const auto& [url, known] :
       {std::pair("type.googleapis.com/google.rpc.RetryInfo", true),
        {"/google.rpc.RetryInfo", true},
        {"a/b/google.rpc.RetryInfo", true},
        {"google.rpc.RetryInfo", false},
        {"type.googleapis.com/google.rpc.RetryInfo2", false},
        {"type.googleapis.com/rpc.RetryInfo", false},
        {"type.googleapis.com/", false},
        {"", false}}) {
    testing::Status status;
    Add(&status, "RetryInfo", Delay(3, 0));
    status.mutable_details(0)->set_type_url(url);
    EXPECT_EQ(DelayOf(status).has_value(), known) << url;
  }
}

// A message that comes twice is merged, a number that comes twice is the last.
TEST(RetryInfoTest, MergesAsProtobufDoes) {
  testing::Status status;
  Add(&status, "RetryInfo", Delay(3, 7));
  std::string* const value = status.mutable_details(0)->mutable_value();
  testing::RetryInfo more;
  more.mutable_retry_delay()->set_seconds(9);
  *value += more.SerializeAsString();
  EXPECT_EQ(DelayOf(status), absl::Seconds(9) + absl::Nanoseconds(7));
}

TEST(RetryInfoTest, WhatWasWholeBefore) {
  testing::Status status;
  status.set_code(8);
  Add(&status, "RetryInfo", Delay(3, 7));
  testing::ErrorInfo info;
  info.set_reason("A");
  AddEntry(&info, "k", "v");
  Add(&status, "ErrorInfo", info);
  testing::QuotaFailure failure;
  failure.add_violations()->set_subject("one");
  failure.add_violations()->set_subject("two");
  Add(&status, "QuotaFailure", failure);
  const std::string whole = status.SerializeAsString();
  // NOLINTBEGIN(bugprone-suspicious-missing-comma): one text in two parts
  const std::vector<std::string> stages = {
      "0 ", "8 ", "8 \nretry 3.000000007s",
      "8 \nretry 3.000000007s\ninfo A||k=v",
      "8 \nretry 3.000000007s\nviolation one||||\nviolation two||||\ninfo "
      "A||k=v"};
  // NOLINTEND(bugprone-suspicious-missing-comma)
  size_t stage = 0;
  for (size_t n = 0; n <= whole.size(); ++n) {
    const std::string shown = ShowBytes(whole.substr(0, n));
    if (stage + 1 < stages.size() && shown == stages[stage + 1]) ++stage;
    ASSERT_EQ(shown, stages[stage]) << n;
  }
  EXPECT_EQ(stage, stages.size() - 1);
  // A detail that is malformed inside goes alone, and altogether.
  for (int i = 0; i < 3; ++i) {
    testing::Status damaged = status;
    damaged.mutable_details(i)->mutable_value()->push_back('\x08');
    EXPECT_EQ(
        ShowBytes(damaged.SerializeAsString()),
        i == 0 ? "8 \nviolation one||||\nviolation two||||\ninfo A||k=v"
        : i == 1
            ? "8 \nretry 3.000000007s\nviolation one||||\nviolation two||||"
            : "8 \nretry 3.000000007s\ninfo A||k=v");
  }
}

TEST(RetryInfoTest, MalformedWire) {
  testing::Status status;
  Add(&status, "RetryInfo", Delay(3, 0));
  const std::string right = status.SerializeAsString();
  const auto reads = [&](const std::string& before) {
    return ReadErrorDetails(before + right).retry_delay.has_value();
  };
  EXPECT_TRUE(reads(""));
  EXPECT_TRUE(reads("\x20\x05"));  // field 4, unknown
  EXPECT_TRUE(
      reads("\x21"
            "12345678"));  // 64 bits
  EXPECT_TRUE(
      reads("\x25"
            "1234"));  // 32 bits
  EXPECT_TRUE(
      reads("\x22\x03"
            "abc"));                                       // bytes
  EXPECT_TRUE(reads("\x0a\x01x"));                         // code, as bytes
  EXPECT_TRUE(reads(std::string("\xa0\x80\x00\x05", 4)));  // a long tag
  EXPECT_FALSE(reads(std::string("\0\0", 2)));             // field 0
  EXPECT_FALSE(reads("\x23\x24"));                         // a group
  EXPECT_FALSE(reads("\x24"));                             // its end
  EXPECT_FALSE(reads("\x26"));                             // wire type 6
  EXPECT_FALSE(reads("\x27"));                             // wire type 7
  EXPECT_FALSE(reads("\x22\x7f"));                      // longer than there is
  EXPECT_FALSE(reads("\x22\xff\xff\xff\xff\x7f"));      // longer than anything
  EXPECT_FALSE(reads("\xa0\x80\x80\x80\x80\x80\x05"));  // tag of 6 bytes
  EXPECT_FALSE(reads("\x20" + std::string(10, '\x80') + "\x01"));
  EXPECT_TRUE(reads("\x20" + std::string(9, '\x80') + "\x01"));
}

TEST(RetryInfoTest, Bounds) {
  testing::Status status;
  testing::QuotaFailure failure;
  testing::ErrorInfo info;
  for (int i = 0; i < 100; ++i) {
    failure.add_violations()->set_subject(absl::StrCat(i));
    AddEntry(&info, absl::StrCat(i), "v");
  }
  for (int i = 0; i < 20; ++i) {
    Add(&status, "QuotaFailure", failure);
    Add(&status, "ErrorInfo", info);
  }
  const std::string bytes = status.SerializeAsString();
  const ErrorDetails details = ReadErrorDetails(bytes);
  ASSERT_EQ(details.violations.size(), 16);
  EXPECT_EQ(details.violations[15].subject, "15");
  ASSERT_EQ(details.infos.size(), 4);
  EXPECT_EQ(details.infos[0].metadata.size(), 32);

  testing::Status large;
  Add(&large, "RetryInfo", Delay(3, 0));
  const size_t rest = 65536 - large.ByteSizeLong() - 4;
  large.set_message(std::string(rest, 'x'));
  ASSERT_EQ(large.ByteSizeLong(), 65536);
  EXPECT_EQ(DelayOf(large), absl::Seconds(3));
  large.set_message(std::string(rest + 1, 'x'));
  EXPECT_EQ(DelayOf(large), std::nullopt);
}

// ---- random messages

class Generator {
 public:
  explicit Generator(uint64_t seed) : seed_(seed) {}

  uint64_t Below(uint64_t n) { return Next() % n; }

  std::string Status() {
    testing::Status status;
    if (Below(2) == 0) status.set_code(static_cast<int32_t>(Number()));
    if (Below(2) == 0) status.set_message(Text());
    for (uint64_t n = Below(4); n > 0; --n) {
      switch (Below(4)) {
        case 0: {
          testing::RetryInfo info;
          if (Below(8) != 0) {
            info = Delay(Number(), static_cast<int32_t>(Number()));
          }
          Add(&status, "RetryInfo", info);
          break;
        }
        case 1: {
          testing::QuotaFailure failure;
          for (uint64_t k = Below(4); k > 0; --k) {
            auto* const v = failure.add_violations();
            if (Below(2) == 0) v->set_subject(Text());
            if (Below(2) == 0) v->set_description(Text());
            if (Below(2) == 0) v->set_api_service(Text());
            if (Below(2) == 0) v->set_quota_metric(Text());
            if (Below(2) == 0) v->set_quota_id(Text());
            if (Below(2) == 0) v->add_quota_dimensions(Text());
            if (Below(2) == 0) v->set_quota_value(Number());
          }
          Add(&status, "QuotaFailure", failure);
          break;
        }
        case 2: {
          testing::ErrorInfo info;
          if (Below(2) == 0) info.set_reason(Text());
          if (Below(2) == 0) info.set_domain(Text());
          for (uint64_t k = Below(4); k > 0; --k) {
            AddEntry(&info, Text(), Text());
          }
          Add(&status, "ErrorInfo", info);
          break;
        }
        default:
          Add(&status, "Help", Delay(1, 1));
      }
    }
    return status.SerializeAsString();
  }

  std::string Damage(std::string bytes) {
    for (uint64_t n = 1 + Below(3); n > 0; --n) {
      const size_t at = Below(bytes.size() + 1);
      const char c = static_cast<char>(Below(3) == 0 ? Below(256) : Below(32));
      switch (Below(5)) {
        case 0:
          bytes.insert(at, 1, c);
          break;
        case 1:
          if (at < bytes.size()) bytes.erase(at, 1);
          break;
        case 2:
          bytes.insert(at, bytes.substr(Below(bytes.size() + 1), Below(20)));
          break;
        default:
          if (at < bytes.size()) bytes[at] = c;
      }
    }
    return bytes;
  }

 private:
  uint64_t Next() { return MixRandom(seed_, counter_++); }
  int64_t Number() {
    switch (Below(4)) {
      case 0:
        return static_cast<int64_t>(Below(200));
      case 1:
        return static_cast<int64_t>(Next() >> Below(64));
      case 2:
        return -static_cast<int64_t>(Below(100));
      default:
        return static_cast<int64_t>(Below(1000000000));
    }
  }
  std::string Text() {
    std::string text;
    for (uint64_t n = Below(6); n > 0; --n)
      text += static_cast<char>('a' + Below(4));
    return text;
  }

  const uint64_t seed_;
  uint64_t counter_ = 0;
};

TEST(RetryInfoTest, AgreesWithProtobuf) {
  int damaged = 0;
  int delays = 0;
  for (uint64_t seed = 0; seed < 1000000; ++seed) {
    Generator random(seed);
    std::string bytes = random.Status();
    const bool damage = random.Below(4) != 0;
    if (damage) bytes = random.Damage(bytes);
    const std::string shown = ShowBytes(bytes);
    const std::optional<std::string> expected = Expected(bytes);
    if (!damage) {
      ASSERT_TRUE(expected.has_value()) << "seed " << seed;
    }
    if (!expected) continue;
    ASSERT_EQ(shown, *expected)
        << "seed " << seed << ": " << absl::BytesToHexString(bytes);
    if (damage) ++damaged;
    if (expected->find("\nretry") != std::string::npos) ++delays;
  }
  // Enough that says something.
  EXPECT_GT(damaged, 150000);
  EXPECT_GT(delays, 40000);
}

}  // namespace
}  // namespace forbear
