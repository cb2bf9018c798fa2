// Through a proxy's tunnel: its answer to CONNECT is nobody's answer. Counted at the
// servers' doors, behind the proxy.
#include <curl/curl.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "core/call_record.h"
#include "core/stop_reason.h"
#include "curl_wrap/engine.h"
#include "curl_wrap/perform.h"
#include "curl_wrap/request.h"
#include "curl_wrap/response.h"
#include "gtest/gtest.h"
#include "runtime/client.h"
#include "tests/curl_wrap/app.h"
#include "tests/curl_wrap/raw_app.h"
#include "tests/curl_wrap/raw_server.h"
#include "tests/curl_wrap/tunnel_proxy.h"
#include "tests/testing/http_server.h"
#include "tests/testing/reply.h"

namespace forbear::curl {
namespace {

constexpr absl::Duration kShort = absl::Seconds(2);

// Calls of one application, of which the next one finds the last one's connection.
class Driver {
 public:
  virtual ~Driver() = default;
  virtual CallResult Get(const std::string& url) = 0;
  virtual CallResult Post(const std::string& url) = 0;
};

// What all of them set.
template <typename SetOpt>
void SetUp(const SetOpt& set, const std::string& proxy, bool suppress) {
  set(CURLOPT_PROXY, proxy.c_str());
  set(CURLOPT_NOPROXY, "");
  set(CURLOPT_HTTPPROXYTUNNEL, 1L);
  set(CURLOPT_SUPPRESS_CONNECT_HEADERS, suppress ? 1L : 0L);
  set(CURLOPT_FOLLOWLOCATION, 1L);
}

class ByHandle : public Driver {
 public:
  ByHandle(const std::shared_ptr<Client>& client, const std::string& proxy,
           bool suppress)
      : app_(client) {
    SetUp([&](auto option, auto value) { app_.curl.SetOpt(option, value); },
          proxy, suppress);
  }
  CallResult Get(const std::string& url) override {
    app_.curl.SetOpt(CURLOPT_HTTPGET, 1L);
    return Call(url);
  }
  CallResult Post(const std::string& url) override {
    app_.Post("pay=1");
    return Call(url);
  }

 private:
  CallResult Call(const std::string& url) {
    app_.curl.SetOpt(CURLOPT_URL, url.c_str());
    return app_.Perform(kShort);
  }

  App app_;
};

class ByEngine : public Driver {
 public:
  ByEngine(const std::shared_ptr<Client>& client, std::string proxy,
           bool suppress)
      : engine_(*Engine::Create(client)),
        proxy_(std::move(proxy)),
        suppress_(suppress) {}
  CallResult Get(const std::string& url) override { return Call(Request(url)); }
  CallResult Post(const std::string& url) override {
    Request request(url);
    request.SetBody("pay=1");
    return Call(std::move(request));
  }

 private:
  CallResult Call(Request request) {
    SetUp([&](auto option, auto value) { request.SetOpt(option, value); },
          proxy_, suppress_);
    return engine_->Send(std::move(request), Within(kShort)).get();
  }

  const std::unique_ptr<Engine> engine_;
  const std::string proxy_;
  const bool suppress_;
};

class ByPlainHandle : public Driver {
 public:
  ByPlainHandle(const std::shared_ptr<Client>& client, const std::string& proxy,
                bool suppress)
      : app_(client, "") {
    SetUp([&](auto option, auto value) { app_.Set(option, value); }, proxy,
          suppress);
  }
  CallResult Get(const std::string& url) override {
    app_.Set(CURLOPT_HTTPGET, 1L);
    return Call(url);
  }
  CallResult Post(const std::string& url) override {
    app_.Post("pay=1");
    return Call(url);
  }

 private:
  CallResult Call(const std::string& url) {
    app_.Set(CURLOPT_URL, url.c_str());
    RawOptions options;
    options.deadline = kShort;
    return app_.Perform(options);
  }

  RawApp app_;
};

enum class By { kHandle, kEngine, kPlainHandle };

struct Case {
  By by;
  // CURLOPT_SUPPRESS_CONNECT_HEADERS: header callbacks see nothing of the tunnel.
  bool suppress;
};

class TunnelTest : public ::testing::TestWithParam<Case> {
 protected:
  std::unique_ptr<Driver> NewDriver() const {
    const bool suppress = GetParam().suppress;
    switch (GetParam().by) {
      case By::kHandle:
        return std::make_unique<ByHandle>(client_, proxy_.url(), suppress);
      case By::kEngine:
        return std::make_unique<ByEngine>(client_, proxy_.url(), suppress);
      case By::kPlainHandle:
        break;
    }
    return std::make_unique<ByPlainHandle>(client_, proxy_.url(), suppress);
  }
  bool IsPlain() const { return GetParam().by == By::kPlainHandle; }

  const std::shared_ptr<Client> client_ = NewClient();
  TunnelProxy proxy_;
  const std::unique_ptr<HttpServer> server_ = StartServer();
  const std::unique_ptr<HttpServer> other_ = StartServer();
};

// libcurl sends a request again when a kept-alive tunnel is dead; it first makes a new
// one, whose head comes between the two.
TEST_P(TunnelTest, WhatLibcurlRepeatsByItself) {
  server_->SetHandler([](const testing::HttpRequest& request) {
    return request.index_on_connection > 0 ? Reply::CloseAfterRead()
                                           : Reply::Of(200, "ok");
  });
  const std::unique_ptr<Driver> driver = NewDriver();
  CallResult result = driver->Post(server_->Url());
  EXPECT_EQ(result.stop_reason, StopReason::kSuccess);
  ASSERT_EQ(proxy_.tunnels(), 1) << "it does not go through the proxy";
  result = driver->Post(server_->Url());
  ASSERT_EQ(result.record.attempts.size(), 1u);
  if (IsPlain()) {
    // Nobody can prevent it; it is told.
    EXPECT_EQ(result.stop_reason, StopReason::kSuccess);
    EXPECT_EQ(result.record.attempts[0].outcome.resends, 1);
    EXPECT_EQ(server_->log().Count(), 3);
  } else {
    EXPECT_EQ(result.code, CURLE_GOT_NOTHING);
    EXPECT_EQ(result.stop_reason, StopReason::kNotIdempotent);
    EXPECT_EQ(server_->log().Count(), 2) << "paid twice";
    EXPECT_EQ(driver->Post(server_->Url()).stop_reason, StopReason::kSuccess);
  }
  // Who may repeat does, and it stands in the record.
  result = driver->Get(server_->Url());
  EXPECT_EQ(result.stop_reason, StopReason::kSuccess);
  ASSERT_EQ(result.record.attempts.size(), 1u);
  EXPECT_EQ(result.record.attempts[0].outcome.resends, 1);
}

TEST_P(TunnelTest, ARedirectMakesTheAnswerTheOtherServers) {
  server_->Script("/there", {Reply::Of(302).With("Location", other_->Url())});
  other_->Script({Reply::Of(429).With("Retry-After", "30")});
  const std::unique_ptr<Driver> driver = NewDriver();
  const CallResult refused = driver->Get(server_->Url("/there"));
  EXPECT_EQ(refused.http_status, 429);
  EXPECT_EQ(refused.stop_reason, StopReason::kWaitExceedsDeadline);
  EXPECT_EQ(proxy_.tunnels(), 2);
  EXPECT_EQ(driver->Get(server_->Url("/elsewhere")).stop_reason,
            StopReason::kSuccess)
      << "its gate is shut, and it has refused nobody";
  EXPECT_EQ(driver->Get(other_->Url()).stop_reason,
            StopReason::kWaitExceedsDeadline);
  EXPECT_EQ(other_->log().Count(), 1);
}

TEST_P(TunnelTest, AServerWhoseGateIsShutIsNotAsked) {
  server_->Script("/there", {Reply::Of(302).With("Location", other_->Url())});
  other_->Script({Reply::Of(429).With("Retry-After", "30")});
  const std::unique_ptr<Driver> driver = NewDriver();
  EXPECT_EQ(driver->Get(other_->Url()).http_status, 429);
  const CallResult result = driver->Get(server_->Url("/there"));
  EXPECT_EQ(result.stop_reason, StopReason::kWaitExceedsDeadline);
  EXPECT_EQ(result.record.attempts.at(0).outcome.status, IsPlain() ? 429 : 302);
  // A plain handle is told of a request when that has gone.
  EXPECT_EQ(other_->log().Count(), IsPlain() ? 2 : 1);
  EXPECT_EQ(driver->Get(server_->Url("/elsewhere")).stop_reason,
            StopReason::kSuccess);
}

INSTANTIATE_TEST_SUITE_P(
    All, TunnelTest,
    ::testing::Values(Case{By::kHandle, false}, Case{By::kHandle, true},
                      Case{By::kEngine, false}, Case{By::kEngine, true},
                      Case{By::kPlainHandle, false},
                      Case{By::kPlainHandle, true}),
    [](const ::testing::TestParamInfo<Case>& info) {
      const char* const by = info.param.by == By::kHandle   ? "Handle"
                             : info.param.by == By::kEngine ? "Engine"
                                                            : "PlainHandle";
      return absl::StrCat(by, info.param.suppress ? "Suppressed" : "");
    });

// With Digest, libcurl first asks with an empty body. The status of a good answer to that
// is the new tunnel's, too.
TEST(TunnelOnceTest, AfterARoundOfAuthentication) {
  const std::string end = "\r\n\r\n";
  const std::string tunnel = "HTTP/1.1 200 Tunnel" + end;
  const std::string ok = "HTTP/1.1 200 OK\r\nContent-Length: 0" + end;
  RawServer proxy({{{end, tunnel}, {end, ok}, {"pay=1", ""}},
                   {{end, tunnel}, {"pay=1", ok}}});
  {
    App app(NewClient(), "http://server.invalid/");
    app.curl.SetOpt(CURLOPT_PROXY,
                    absl::StrCat("http://127.0.0.1:", proxy.port()).c_str());
    app.curl.SetOpt(CURLOPT_HTTPPROXYTUNNEL, 1L);
    app.curl.SetOpt(CURLOPT_USERPWD, "user:password");
    app.curl.SetOpt(CURLOPT_HTTPAUTH, static_cast<long>(CURLAUTH_DIGEST));
    app.Post("pay=1");
    EXPECT_EQ(app.Perform(kShort).stop_reason, StopReason::kNotIdempotent);
  }
  const std::vector<std::string> received = proxy.Received();
  ASSERT_EQ(received.size(), 2u);
  EXPECT_TRUE(absl::StrContains(received[0], "pay=1")) << received[0];
  EXPECT_FALSE(absl::StrContains(received[1], "POST")) << received[1];
}

}  // namespace
}  // namespace forbear::curl
