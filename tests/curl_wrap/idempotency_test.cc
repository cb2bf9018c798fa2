// Keys that Forbear makes for calls whose server knows a repeated request by them: as
// the server sees them.
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/policy.h"
#include "curl_wrap/idempotency_key.h"
#include "gtest/gtest.h"
#include "tests/curl_wrap/app.h"

namespace forbear::curl {
namespace {

constexpr absl::Duration kLong = absl::Seconds(20);
constexpr char kName[] = "idempotency-key";

std::shared_ptr<Client> ClientWith(const std::string& header) {
  ClientOptions options;
  options.idempotency_header = header;
  return NewClient(std::move(options));
}

class IdempotencyTest : public ::testing::Test {
 protected:
  // The values of a header in all requests so far; "-": it was not there.
  std::vector<std::string> Values(const std::string& name = kName) const {
    std::vector<std::string> values;
    for (const Arrival& a : server_->log().Snapshot()) {
      const auto found = a.headers.find(name);
      values.push_back(found == a.headers.end() ? "-" : found->second);
    }
    return values;
  }

  std::unique_ptr<HttpServer> server_ = StartServer();
  std::shared_ptr<Client> client_ = ClientWith("Idempotency-Key");
};

// Version 4, as RFC 9562 §5.4 has it: x is any digit, v is 8, 9, a or b.
bool IsUuid(const std::string& text) {
  constexpr char kForm[] = "xxxxxxxx-xxxx-4xxx-vxxx-xxxxxxxxxxxx";
  if (text.size() != sizeof(kForm) - 1) return false;
  for (size_t i = 0; i < text.size(); ++i) {
    const std::string allowed = kForm[i] == 'x'   ? "0123456789abcdef"
                                : kForm[i] == 'v' ? "89ab"
                                                  : std::string(1, kForm[i]);
    if (allowed.find(text[i]) == std::string::npos) return false;
  }
  return true;
}

TEST(IdempotencyKeyTest, AUuidThatNobodyElseHas) {
  std::set<std::string> seen;
  for (int i = 0; i < 1000; ++i) {
    const std::string line = NewIdempotencyLine("X-Key");
    EXPECT_EQ(line.substr(0, 7), "X-Key: ");
    EXPECT_TRUE(IsUuid(line.substr(7))) << line;
    EXPECT_TRUE(seen.insert(line).second) << line;
  }
}

TEST_F(IdempotencyTest, OneKeyForAllAttemptsAndAnotherForTheNextCall) {
  server_->Script({Reply::ResetBeforeHead(), Reply::Of(503), Reply::Of(200),
                   Reply::CloseAfterRead(), Reply::Of(200)});
  App app(client_, server_->Url());
  app.Post("order=1");
  for (int i = 0; i < 2; ++i) {
    const CallResult result = app.Perform(kLong);
    EXPECT_EQ(result.stop_reason, StopReason::kSuccess);
    EXPECT_TRUE(result.record.idempotent);
  }
  const std::vector<std::string> keys = Values();
  ASSERT_EQ(keys.size(), 5u);
  EXPECT_EQ(keys[0].size(), 38u) << keys[0];
  EXPECT_EQ(keys[0].front(), '"');
  EXPECT_EQ(keys[0].back(), '"');
  EXPECT_EQ(keys[1], keys[0]);
  EXPECT_EQ(keys[2], keys[0]);
  EXPECT_NE(keys[3], keys[0]);
  EXPECT_EQ(keys[4], keys[3]);
}

TEST_F(IdempotencyTest, WithoutAPolicyThereIsNone) {
  server_->Script({Reply::ResetBeforeHead()});
  App app(NewClient(), server_->Url());
  app.Post("order=1");
  EXPECT_EQ(app.Perform(kLong).stop_reason, StopReason::kNotIdempotent);
  EXPECT_EQ(Values(), std::vector<std::string>{"-"});
}

TEST_F(IdempotencyTest, ForMethodsThatNeedOne) {
  App app(client_, server_->Url());
  for (const char* method : {"GET", "HEAD", "DELETE", "PUT"}) {
    app.curl.SetOpt(CURLOPT_CUSTOMREQUEST, method);
    app.curl.SetOpt(CURLOPT_NOBODY, *method == 'H' ? 1L : 0L);
    app.Perform(kLong);
    EXPECT_EQ(Values().back(), "-") << method;
  }
  for (const char* method : {"POST", "PATCH", "LOCK"}) {
    app.curl.SetOpt(CURLOPT_CUSTOMREQUEST, method);
    app.Perform(kLong);
    EXPECT_NE(Values().back(), "-") << method;
  }
}

TEST_F(IdempotencyTest, NeverOverTheApplicationsOwn) {
  server_->Script({Reply::ResetBeforeHead(), Reply::Of(200)});
  App app(client_, server_->Url());
  app.Post("order=1");
  app.Header("X-Other: a");
  app.Header("IDEMPOTENCY-KEY: mine");
  EXPECT_EQ(app.Perform(kLong).stop_reason, StopReason::kSuccess);
  EXPECT_EQ(Values(), (std::vector<std::string>{"mine", "mine"}));

  // Nor where it says that it wants none, or an empty one.
  for (const char* line : {"Idempotency-Key:", "Idempotency-Key;"}) {
    server_->Script({Reply::ResetBeforeHead()});
    App none(client_, server_->Url());
    none.Post("order=1");
    none.Header(line);
    EXPECT_EQ(none.Perform(kLong).stop_reason, StopReason::kNotIdempotent);
  }
  EXPECT_EQ(Values(), (std::vector<std::string>{"mine", "mine", "-", ""}));
}

TEST_F(IdempotencyTest, TheOtherHeadersStayAndAreBackAfterwards) {
  App app(client_, server_->Url());
  app.Post("order=1");
  app.Header("X-Other: a");
  app.Header("X-Third: b");
  app.Perform(kLong);
  EXPECT_EQ(curl_easy_perform(app.curl.raw()), CURLE_OK);
  const std::vector<Arrival> arrivals = server_->log().Snapshot();
  ASSERT_EQ(arrivals.size(), 2u);
  for (const Arrival& a : arrivals) {
    EXPECT_EQ(a.headers.at("x-other"), "a");
    EXPECT_EQ(a.headers.at("x-third"), "b");
  }
  EXPECT_EQ(arrivals[0].headers.count(kName), 1u);
  EXPECT_EQ(arrivals[1].headers.count(kName), 0u);
}

TEST_F(IdempotencyTest, ACallbackThatSetsTheHeadersDoesNotLoseTheKey) {
  server_->Script({Reply::Of(200, "x").Chunked()});
  App app(client_, server_->Url());
  app.Post("order=1");
  struct Both {
    App* app;
    curl_slist* list;
  } both = {&app, curl_slist_append(nullptr, "X-New: c")};
  app.curl.SetOpt(
      CURLOPT_WRITEFUNCTION, +[](char*, size_t size, size_t n, void* self) {
        const auto* b = static_cast<Both*>(self);
        b->app->curl.SetOpt(CURLOPT_HTTPHEADER, b->list);
        return size * n;
      });
  app.curl.SetOpt(CURLOPT_WRITEDATA, &both);
  app.Perform(kLong);
  app.Perform(kLong);
  const std::vector<Arrival> arrivals = server_->log().Snapshot();
  ASSERT_EQ(arrivals.size(), 2u);
  EXPECT_EQ(arrivals[0].headers.count("x-new"), 0u);
  EXPECT_EQ(arrivals[1].headers.at("x-new"), "c");
  EXPECT_EQ(arrivals[1].headers.count(kName), 1u);
  app.curl.SetOpt(CURLOPT_HTTPHEADER, nullptr);
  curl_slist_free_all(both.list);
}

TEST_F(IdempotencyTest, AnotherHeaderGetsItBare) {
  App app(ClientWith("Repeatability-Request-ID"), server_->Url());
  app.Post("order=1");
  app.Perform(kLong);
  EXPECT_EQ(Values("repeatability-request-id")[0].size(), 36u);
  EXPECT_EQ(Values()[0], "-");
}

TEST_F(IdempotencyTest, OfOneTargetOnly) {
  Settings settings;
  TargetPolicy orders{settings};
  orders.name = "orders";
  orders.match.paths = {"/orders"};
  orders.idempotency_header = "Idempotency-Key";
  settings.targets.push_back(orders);
  const std::shared_ptr<Client> client = NewClient(ClientOptions(settings));
  App app(client, server_->Url("/orders"));
  app.Post("order=1");
  app.Perform(kLong);
  app.curl.SetOpt(CURLOPT_URL, server_->Url("/mails").c_str());
  app.Perform(kLong);
  const std::vector<std::string> keys = Values();
  EXPECT_NE(keys[0], "-");
  EXPECT_EQ(keys[1], "-");
}

// The key says that the server can tell; the program says that it must not be tried.
TEST_F(IdempotencyTest, TheCallsOwnWordGoesBefore) {
  server_->Script({Reply::ResetBeforeHead()});
  App app(client_, server_->Url());
  app.Post("order=1");
  CallOptions options;
  options.idempotent = false;
  EXPECT_EQ(app.curl.Perform(options).stop_reason, StopReason::kNotIdempotent);
  EXPECT_EQ(Values().size(), 1u);
  EXPECT_NE(Values()[0], "-");
}

// The headers of a handle that others set up cannot be known, and would be lost.
TEST_F(IdempotencyTest, NotOverHeadersThatNobodyKnows) {
  curl_slist* const list = curl_slist_append(nullptr, "X-Other: a");
  CURL* const easy = curl_easy_init();
  Sink sink;
  curl_easy_setopt(easy, CURLOPT_URL, server_->Url().c_str());
  curl_easy_setopt(easy, CURLOPT_HTTPHEADER, list);
  {
    Handle handle = Handle::Borrow(easy, client_);
    handle.SetOpt(CURLOPT_WRITEFUNCTION, &Sink::OnBody);
    handle.SetOpt(CURLOPT_WRITEDATA, &sink);
    handle.SetOpt(CURLOPT_POSTFIELDS, "order=1");
    handle.Perform();
    EXPECT_EQ(Values().back(), "-");
    handle.SetOpt(CURLOPT_HTTPHEADER, list);
    handle.Perform();
    EXPECT_NE(Values().back(), "-");
  }
  curl_easy_cleanup(easy);
  curl_slist_free_all(list);
  for (const Arrival& a : server_->log().Snapshot()) {
    EXPECT_EQ(a.headers.at("x-other"), "a");
  }
}

}  // namespace
}  // namespace forbear::curl
