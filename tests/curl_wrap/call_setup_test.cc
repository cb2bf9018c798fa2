// CallSetup with what it remembers of earlier calls, against one that remembers nothing:
// the same for any row of changes of a handle, of calls and of the settings.

#include "curl_wrap/call_setup.h"

#include <curl/curl.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "core/policy.h"
#include "core/random.h"
#include "core/time.h"
#include "core/wait_queue.h"
#include "curl_wrap/call_options.h"
#include "curl_wrap/easy_options.h"
#include "gtest/gtest.h"
#include "runtime/client.h"

namespace forbear::curl {
namespace {

Settings SomeSettings(bool with_targets, bool enabled) {
  Settings settings;
  settings.enabled = enabled;
  if (with_targets) {
    TargetPolicy target;
    target.name = "posts";
    target.match.hosts = {"a.example"};
    target.match.methods = {"POST"};
    target.idempotency_header = "X-Key";
    target.own_quota = true;
    settings.targets.push_back(target);
    target = TargetPolicy();
    target.name = "paths";
    target.match.paths = {"/v1/*"};
    target.profile = "openai";
    target.own_endpoint = true;
    settings.targets.push_back(target);
    target = TargetPolicy();
    target.name = "off";
    target.match.hosts = {"off.example"};
    target.enabled = false;
    settings.targets.push_back(target);
  }
  return settings;
}

TEST(CallSetupTest, RemembersNothingButTheTruth) {
  const std::shared_ptr<Client> client = *Client::Create();
  const char* const urls[] = {"http://a.example/",     "http://a.example/v1/x",
                              "https://a.example/",    "http://off.example/",
                              "http://u:p@a.example/", "http://api.openai.com/",
                              "ftp://a.example/",      ""};
  const char* const lines[] = {"Authorization: a", "Authorization: b",
                               "X-Key: 1", "x-stainless-retry-count: 2",
                               "Idempotency-Key: k"};
  CURLU* const parsed = curl_url();
  uint64_t random = 20261130;
  const auto pick = [&random](size_t n) {
    random = MixRandom(random, 2);
    return random % n;
  };
  EasyOptions settings(/*fresh=*/true);
  const auto set = [&](CURLoption option, auto value) {
    settings.Note(option, OptionValueOf(value));
  };
  CallMemory memory;
  CallOptions options;
  std::string first = "Accept: */*";
  std::string second = first;
  curl_slist tail = {&second[0], nullptr};
  curl_slist list = {&first[0], &tail};
  int recalled = 0;
  set(CURLOPT_HTTPHEADER, &list);
  for (int i = 0; i < 20000; ++i) {
    switch (pick(24)) {
      case 0:
      case 1:
        set(CURLOPT_URL, urls[pick(8)]);
        break;
      case 2:
        // Its texts change, and the list is the same.
        second = lines[pick(5)];
        tail.data = &second[0];
        break;
      case 3:
        set(CURLOPT_HTTPGET, 1L);
        break;
      case 4:
        set(CURLOPT_POSTFIELDS, "x");
        break;
      case 5:
        set(CURLOPT_CUSTOMREQUEST, pick(2) == 0 ? "DELETE" : nullptr);
        break;
      case 6:
        set(CURLOPT_USERPWD, pick(2) == 0 ? "a:b" : nullptr);
        break;
      case 7:
        set(CURLOPT_PORT, static_cast<long>(pick(2) * 81));
        break;
      case 8:
        curl_url_set(parsed, CURLUPART_URL, urls[pick(4)], 0);
        set(CURLOPT_CURLU, pick(2) == 0 ? parsed : nullptr);
        break;
      case 9:
        options.quota_id = pick(2) == 0 ? "batch" : "";
        break;
      case 10:
        options.profile = pick(3) == 0 ? "github" : pick(2) == 0 ? "no" : "";
        break;
      case 11:
        options.enabled = pick(4) != 0;
        break;
      case 12:
        options.idempotent.reset();
        if (pick(2) == 0) options.idempotent = pick(2) == 0;
        break;
      case 13:
        options.retry.reset();
        options.attempt_timeout.reset();
        if (pick(2) == 0) options.attempt_timeout = absl::Seconds(1);
        if (pick(2) == 0) options.retry = RetryOptions();
        break;
      case 14:
        set(CURLOPT_CONNECT_ONLY, static_cast<long>(pick(4) == 0));
        break;
      case 15:
        if (pick(8) == 0) {
          ASSERT_TRUE(
              client->Reload(SomeSettings(pick(2) == 0, pick(4) != 0)).ok());
        }
        break;
      case 16:
        if (pick(4) == 0) {
          settings = EasyOptions(/*fresh=*/true);
          memory = CallMemory();  // as Handle::Reset
          set(CURLOPT_HTTPHEADER, &list);
        }
        break;
      default:
        break;  // once more the same
    }
    const MonotonicTime now = MonotonicTime::FromNanos(1000 + i);
    const CallHandle* const before = memory.handle.get();
    const CallSetup is(client.get(), settings, nullptr, options, now, &memory);
    const CallSetup must(client.get(), settings, nullptr, options, now);
    ASSERT_EQ(is.passes_through, must.passes_through);
    ASSERT_EQ(is.fault, must.fault);
    ASSERT_EQ(is.request.idempotent, must.request.idempotent);
    if (is.passes_through || is.fault != CURLE_OK) {
      ASSERT_EQ(is.handle, nullptr);
      ASSERT_EQ(is.request.target, must.request.target);
      continue;
    }
    WakeList wakes;
    const HandleRef handle =
        client->HandleOf(must.request.Kind(), must.request.policy, now, &wakes);
    ASSERT_EQ(is.handle, handle.get());
    ASSERT_EQ(is.readers.profile, must.readers.profile);
    ASSERT_EQ(is.readers.generic, must.readers.generic);
    ASSERT_EQ(is.request.nested, must.request.nested);
    ASSERT_EQ(is.request.retry.has_value(), must.request.retry.has_value());
    ASSERT_EQ(is.limits.at_most_once, must.limits.at_most_once);
    ASSERT_EQ(is.key_line.size(), must.key_line.size());
    if (is.handle == before && is.request.target.empty()) ++recalled;
  }
  EXPECT_GT(recalled, 1000);
  curl_url_cleanup(parsed);
}

}  // namespace
}  // namespace forbear::curl
