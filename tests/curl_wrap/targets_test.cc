// Targets of a configuration, as a libcurl handle's calls meet them. Sends are
// counted by the server.
#include <memory>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "core/policy.h"
#include "gtest/gtest.h"
#include "tests/curl_wrap/app.h"

namespace forbear::curl {
namespace {

TargetPolicy Heir(const Settings& settings, const std::string& name) {
  TargetPolicy target(settings);
  target.name = name;
  return target;
}

class TargetsTest : public ::testing::Test {
 protected:
  TargetsTest() : server_(StartServer()) {
    server_->Script({Reply::Of(503, "down")});
    options_.retry.backoff.initial = absl::Milliseconds(1);
    options_.endpoint.breaker.enabled = false;
    options_.endpoint.pacing = false;
  }

  TargetPolicy* Add(const std::string& name) {
    options_.targets.push_back(Heir(options_, name));
    return &options_.targets.back();
  }

  // How often the server saw it, and under which policy.
  std::string Sends(const std::string& path, const std::string& method = "GET",
                    CallOptions call = {}) {
    if (client_ == nullptr) client_ = NewClient(options_);
    App app(client_, server_->Url(path));
    if (method != "GET") {
      app.curl.SetOpt(CURLOPT_CUSTOMREQUEST, method.c_str());
    }
    const int64_t before = server_->log().Count();
    call.deadline = absl::Seconds(20);
    const CallResult result = app.curl.Perform(call);
    return absl::StrCat(server_->log().Count() - before, " ",
                        result.record.names.policy());
  }

  const std::unique_ptr<HttpServer> server_;
  ClientOptions options_;
  std::shared_ptr<Client> client_;
};

TEST_F(TargetsTest, ThePathAndTheMethodChooseThePolicy) {
  TargetPolicy* target = Add("chat");
  target->match.paths = {"/v1/chat/*"};
  target->retry.max_attempts = 5;
  target = Add("chat-put");
  target->match.paths = {"/v1/chat/*"};
  target->match.methods = {"PUT"};
  target->retry.max_attempts = 2;
  target = Add("puts");
  target->match.methods = {"PUT"};
  target->retry.max_attempts = 1;
  EXPECT_EQ(Sends("/"), "3 default");
  EXPECT_EQ(Sends("/v1/chat"), "3 default");
  EXPECT_EQ(Sends("/v1/chat/x?y=/z"), "5 chat");
  // As libcurl sends it.
  EXPECT_EQ(Sends("/v1/models/../chat/x"), "5 chat");
  EXPECT_EQ(Sends("/v1/chat/x", "PUT"), "2 chat-put");
  EXPECT_EQ(Sends("/v1/models", "PUT"), "1 puts");
  // The call's own word goes before.
  CallOptions call;
  call.retry = options_.retry;
  call.retry->max_attempts = 4;
  EXPECT_EQ(Sends("/v1/models", "PUT", call), "4 puts");
}

TEST_F(TargetsTest, TheHostChoosesThePolicy) {
  const std::string url = server_->Url();
  const std::string port = url.substr(url.rfind(':'));
  TargetPolicy* target = Add("ip");
  target->match.hosts = {"127.0.0.1"};
  target->retry.max_attempts = 4;
  target = Add("port");
  target->match.hosts = {absl::StrCat("127.0.0.1:", std::atoi(&port[1]))};
  target->retry.max_attempts = 5;
  target = Add("elsewhere");
  target->match.hosts = {"*.example.com"};
  target->retry.max_attempts = 6;
  EXPECT_EQ(Sends("/"), "5 port");
}

TEST_F(TargetsTest, SwitchedOffForSomeCallsOnly) {
  Add("raw")->match.paths = {"/raw/*"};
  options_.targets[0].enabled = false;
  EXPECT_EQ(Sends("/raw/x"), "1 raw");
  EXPECT_EQ(Sends("/x"), "3 default");
}

TEST_F(TargetsTest, SwitchedOffForOneCall) {
  CallOptions call;
  call.enabled = false;
  EXPECT_EQ(Sends("/x", "GET", call), "1 default");
  EXPECT_EQ(Sends("/x"), "3 default");
}

TEST_F(TargetsTest, SwitchedOnForSomeCallsOnly) {
  options_.enabled = false;
  Add("well")->match.paths = {"/well/*"};
  options_.targets[0].enabled = true;
  EXPECT_EQ(Sends("/well/x"), "3 well");
  EXPECT_EQ(Sends("/x"), "1 default");
}

// One path's outage is another one's only where they share the endpoint.
TEST_F(TargetsTest, AnEndpointOfItsOwn) {
  options_.endpoint.breaker = BreakerOptions();
  options_.endpoint.breaker.min_open = absl::Seconds(30);
  options_.endpoint.breaker.max_open = absl::Seconds(60);
  options_.retry.when_open = WhenOpen::kFail;
  options_.retry.max_attempts = 1;
  TargetPolicy* target = Add("own");
  target->match.paths = {"/own/*"};
  target->own_endpoint = true;
  Add("shares")->match.paths = {"/shares/*"};
  // Three failures of a server that never answered open the breaker.
  for (int i = 0; i < 3; ++i) EXPECT_EQ(Sends("/shares/x"), "1 shares");
  EXPECT_EQ(Sends("/shares/x"), "0 shares");
  EXPECT_EQ(Sends("/x"), "0 default");
  for (int i = 0; i < 3; ++i) EXPECT_EQ(Sends("/own/x"), "1 own");
  EXPECT_EQ(Sends("/own/x"), "0 own");
}

TEST_F(TargetsTest, AQuotaOfItsOwn) {
  server_->Script({Reply::Of(429, "no").With("Retry-After", "3600")});
  TargetPolicy* target = Add("own");
  target->match.paths = {"/own/*"};
  target->own_quota = true;
  EXPECT_EQ(Sends("/x"), "1 default");
  // Its gate is shut for an hour: nothing is sent.
  EXPECT_EQ(Sends("/x"), "0 default");
  EXPECT_EQ(Sends("/own/x"), "1 own");
  EXPECT_EQ(Sends("/own/y"), "0 own");
  const std::string url = server_->Url();
  const std::string host_port =
      url.substr(7, url.find('/', 7) - 7);  // behind "http://"
  EXPECT_TRUE(client_->ClearGate(host_port + "|own"));
  EXPECT_EQ(Sends("/own/y"), "1 own");
  EXPECT_EQ(Sends("/x"), "0 default");
}

// A handle that lives on follows the new settings at its next call.
TEST_F(TargetsTest, AReloadCountsFromTheNextCallOn) {
  EXPECT_EQ(Sends("/a"), "3 default");
  Settings settings = options_;
  settings.name = "second";
  TargetPolicy target(settings);
  target.name = "a";
  target.match.paths = {"/a"};
  target.retry.max_attempts = 2;
  settings.targets = {target};
  ASSERT_TRUE(client_->Reload(settings).ok());
  EXPECT_EQ(Sends("/a"), "2 a");
  EXPECT_EQ(Sends("/b"), "3 second");
  settings.enabled = settings.targets[0].enabled = false;
  ASSERT_TRUE(client_->Reload(settings).ok());
  EXPECT_EQ(Sends("/b"), "1 second");
  ASSERT_TRUE(client_->Reload(options_).ok());
  EXPECT_EQ(Sends("/a"), "3 default");
}

}  // namespace
}  // namespace forbear::curl
