// A loop of the application's own, with calls of Forbear's and plain transfers beside
// each other.
#include "curl_wrap/multi.h"

#include <sys/epoll.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "gtest/gtest.h"
#include "tests/curl_wrap/app.h"

namespace forbear::curl {
namespace {

class MultiTest : public ::testing::Test {
 protected:
  Done Report() {
    return [this](Response response) {
      response.easy = nullptr;
      reports_.push_back(std::move(response));
    };
  }
  // The loop of the header's example. The codes of the application's own transfers.
  std::vector<CURLcode> Loop(Multi* multi) {
    std::vector<CURLcode> codes;
    const Stopwatch watch;
    int running = 0;
    do {
      multi->Perform(&running);
      int left = 0;
      while (const CURLMsg* message = multi->InfoRead(&left)) {
        codes.push_back(message->data.result);
        curl_multi_remove_handle(curlm_, message->easy_handle);
      }
      if (running != 0) multi->Poll(nullptr, 0, 1000, nullptr);
    } while (running != 0 && watch.Elapsed() < absl::Seconds(30));
    return codes;
  }
  int64_t Sends() const { return server_->log().Count(); }

  const std::unique_ptr<CURLM, CURLMcode (*)(CURLM*)> owner_{
      curl_multi_init(), &curl_multi_cleanup};
  CURLM* const curlm_ = owner_.get();
  std::unique_ptr<HttpServer> server_ = StartServer();
  std::shared_ptr<Client> client_ = NewClient();
  std::vector<Response> reports_;
};

TEST_F(MultiTest, FaultsAreTold) {
  EngineOptions options;
  options.max_per_host = 0;
  EXPECT_TRUE(absl::IsInvalidArgument(
      Multi::Create(curlm_, client_, options).status()));
}

TEST_F(MultiTest, ACallAndAPlainTransfer) {
  server_->Script("/call", {Reply::Of(429, "no").With("Retry-After", "1"),
                            Reply::Of(200, "yes")});
  server_->Script("/plain", {Reply::Of(503, "as it is")});
  const std::unique_ptr<Multi> multi = *Multi::Create(curlm_, client_);
  App app(client_, server_->Url("/call"));
  multi->Add(&app.curl, Within(absl::Seconds(20)), Report());
  Sink sink;
  CURL* const plain = curl_easy_init();
  curl_easy_setopt(plain, CURLOPT_URL, server_->Url("/plain").c_str());
  curl_easy_setopt(plain, CURLOPT_WRITEFUNCTION, &Sink::OnBody);
  curl_easy_setopt(plain, CURLOPT_WRITEDATA, &sink);
  curl_multi_add_handle(curlm_, plain);
  const Stopwatch watch;
  EXPECT_EQ(Loop(multi.get()), std::vector<CURLcode>{CURLE_OK});
  EXPECT_GE(watch.Elapsed(), absl::Milliseconds(995));
  EXPECT_EQ(sink.body, "as it is");
  curl_easy_cleanup(plain);
  ASSERT_EQ(reports_.size(), 1u);
  EXPECT_EQ(reports_[0].stop_reason, StopReason::kSuccess);
  EXPECT_EQ(app.sink.body, "yes");
  EXPECT_FALSE(absl::StrContains(app.sink.head, "429"));
  EXPECT_EQ(Sends(), 3);
  // It is the application's again.
  EXPECT_EQ(app.Perform(absl::Seconds(20)).stop_reason, StopReason::kSuccess);
}

TEST_F(MultiTest, Requests) {
  server_->Script({Reply::Of(503), Reply::ResetBeforeHead(), Reply::Of(200)});
  const std::unique_ptr<Multi> multi = *Multi::Create(curlm_, client_);
  for (int i = 0; i < 10; ++i) {
    multi->Add(Request(server_->Url()), Within(absl::Seconds(20)), Report());
  }
  Loop(multi.get());
  ASSERT_EQ(reports_.size(), 10u);
  for (const Response& r : reports_) {
    EXPECT_EQ(r.stop_reason, StopReason::kSuccess);
  }
}

TEST_F(MultiTest, DoneMayAddAndCancel) {
  server_->SetHandler([](const testing::HttpRequest& request) {
    return request.path == "/hang" ? Reply::Hang() : Reply::Of(200);
  });
  const std::unique_ptr<Multi> multi = *Multi::Create(curlm_, client_);
  App first(client_, server_->Url("/first"));
  App second(client_, server_->Url("/second"));
  App hung(client_, server_->Url("/hang"));
  const uint64_t id =
      multi->Add(&hung.curl, Within(absl::Seconds(20)), Report());
  multi->Add(&first.curl, Within(absl::Seconds(20)), [&](const Response&) {
    multi->Cancel(id);
    multi->Add(&second.curl, Within(absl::Seconds(20)), Report());
  });
  Loop(multi.get());
  ASSERT_EQ(reports_.size(), 2u);
  EXPECT_EQ(reports_[0].stop_reason, StopReason::kCancelled);
  EXPECT_EQ(reports_[1].stop_reason, StopReason::kSuccess);
}

TEST_F(MultiTest, WhatIsLeftIsReportedAtTheEnd) {
  server_->SetHandler(
      [](const testing::HttpRequest&) { return Reply::Hang(); });
  App out(client_, server_->Url());
  App never(client_, server_->Url());
  {
    const std::unique_ptr<Multi> multi = *Multi::Create(curlm_, client_);
    multi->Add(&out.curl, Within(absl::Seconds(20)), Report());
    int running = 0;
    while (Sends() == 0) {
      multi->Perform(&running);
      multi->Poll(nullptr, 0, 10, nullptr);
    }
    multi->Add(&never.curl, Within(absl::Seconds(20)), Report());
    // A handle that is out cannot be given twice.
    Response busy;
    multi->Add(&out.curl, {}, [&](const Response& r) { busy = r; });
    EXPECT_EQ(busy.code, CURLE_RECURSIVE_API_CALL);
  }
  ASSERT_EQ(reports_.size(), 2u);
  for (const Response& r : reports_) {
    EXPECT_EQ(r.stop_reason, StopReason::kCancelled);
  }
  server_->SetHandler(
      [](const testing::HttpRequest&) { return Reply::Of(200); });
  EXPECT_EQ(out.Perform(absl::Seconds(20)).stop_reason, StopReason::kSuccess);
}

// A loop with epoll and a timer of its own.
class EpollLoop {
 public:
  explicit EpollLoop(CURLM* multi) : epoll_(epoll_create1(EPOLL_CLOEXEC)) {
    curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, &OnSocket);
    curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, this);
  }
  ~EpollLoop() { close(epoll_); }

  void Run(Multi* multi) {
    int running = 1;
    const Stopwatch watch;
    multi->SocketAction(CURL_SOCKET_TIMEOUT, 0, &running);
    while (running != 0 && watch.Elapsed() < absl::Seconds(30)) {
      epoll_event event = {};
      if (epoll_wait(epoll_, &event, 1, static_cast<int>(multi->TimeoutMs())) >
          0) {
        int mask = 0;
        if ((event.events & EPOLLIN) != 0) mask |= CURL_CSELECT_IN;
        if ((event.events & EPOLLOUT) != 0) mask |= CURL_CSELECT_OUT;
        if ((event.events & (EPOLLERR | EPOLLHUP)) != 0) {
          mask |= CURL_CSELECT_ERR;
        }
        multi->SocketAction(event.data.fd, mask, &running);
      } else {
        multi->SocketAction(CURL_SOCKET_TIMEOUT, 0, &running);
      }
    }
  }

 private:
  static int OnSocket(CURL* /*easy*/, curl_socket_t fd, int what, void* self,
                      void* /*socket*/) {
    const int epoll = static_cast<EpollLoop*>(self)->epoll_;
    epoll_event event = {};
    event.data.fd = fd;
    if ((what & CURL_POLL_IN) != 0) event.events |= EPOLLIN;
    if ((what & CURL_POLL_OUT) != 0) event.events |= EPOLLOUT;
    if (what == CURL_POLL_REMOVE) {
      epoll_ctl(epoll, EPOLL_CTL_DEL, fd, &event);
    } else if (epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event) != 0) {
      epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
    }
    return 0;
  }

  const int epoll_;
};

TEST_F(MultiTest, SocketAction) {
  server_->Script({Reply::Of(429).With("Retry-After", "1"), Reply::Of(200)});
  const std::unique_ptr<Multi> multi = *Multi::Create(curlm_, client_);
  App app(client_, server_->Url());
  App other(client_, server_->Url());
  multi->Add(&app.curl, Within(absl::Seconds(20)), Report());
  multi->Add(&other.curl, Within(absl::Seconds(20)), Report());
  EpollLoop(curlm_).Run(multi.get());
  ASSERT_EQ(reports_.size(), 2u);
  for (const Response& r : reports_) {
    EXPECT_EQ(r.stop_reason, StopReason::kSuccess);
  }
  curl_multi_setopt(curlm_, CURLMOPT_SOCKETFUNCTION, nullptr);
}

}  // namespace
}  // namespace forbear::curl
