// A loop of the application's own, with calls of Forbear's and plain transfers beside
// each other.
#include "curl_wrap/multi.h"

#include <sys/epoll.h>
#include <unistd.h>

#include <cstdint>
#include <functional>
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
  // From now on the server never answers.
  void Hang() {
    server_->SetHandler(
        [](const testing::HttpRequest&) { return Reply::Hang(); });
  }
  // Until the server has got so many requests.
  void LoopUntilSends(Multi* multi, int64_t sends) {
    while (Sends() < sends) {
      multi->Perform(nullptr);
      multi->Poll(nullptr, 0, 10, nullptr);
    }
  }
  // Until the transfers are over that are the application's own; reads no message.
  void LoopUntilRunning(Multi* multi, int most) {
    int running = 0;
    for (;;) {
      multi->Perform(&running);
      if (running <= most) return;
      multi->Poll(nullptr, 0, 1000, nullptr);
    }
  }

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

// What is added in the end has no Perform to come: it is refused, and reported, and its
// handle is the application's again.
TEST_F(MultiTest, WhatDoneAddsAtTheEndIsReported) {
  Hang();
  App out(client_, server_->Url());
  App next(client_, server_->Url());
  {
    const std::unique_ptr<Multi> multi = *Multi::Create(curlm_, client_);
    multi->Add(&out.curl, Within(absl::Seconds(20)), [&](const Response& r) {
      EXPECT_EQ(r.stop_reason, StopReason::kCancelled);
      EXPECT_NE(multi->Add(&next.curl, Within(absl::Seconds(20)), Report()),
                0u);
      EXPECT_NE(multi->Add(Request(server_->Url()), Within(absl::Seconds(20)),
                           Report()),
                0u);
    });
    LoopUntilSends(multi.get(), 1);
  }
  ASSERT_EQ(reports_.size(), 2u);
  for (const Response& r : reports_) {
    EXPECT_EQ(r.code, CURLE_ABORTED_BY_CALLBACK);
    EXPECT_EQ(r.stop_reason, StopReason::kCancelled);
  }
  EXPECT_EQ(Sends(), 1);
  server_->SetHandler(
      [](const testing::HttpRequest&) { return Reply::Of(200); });
  EXPECT_EQ(next.Perform(absl::Seconds(20)).stop_reason, StopReason::kSuccess);
}

TEST_F(MultiTest, ADoneThatAlwaysAddsComesToAnEnd) {
  Hang();
  App app(client_, server_->Url());
  int64_t added = 1;
  int64_t reported = 0;
  std::unique_ptr<Multi> multi = *Multi::Create(curlm_, client_);
  std::function<void(Response)> again = [&, of = multi.get()](const Response&) {
    ++reported;
    if (of->Add(&app.curl, Within(absl::Seconds(20)), again) != 0) ++added;
  };
  multi->Add(&app.curl, Within(absl::Seconds(20)), again);
  LoopUntilSends(multi.get(), 1);
  multi.reset();
  EXPECT_GT(reported, 1);
  EXPECT_EQ(reported, added);
}

// The loop of the header's example must not end with a call that has not begun.
TEST_F(MultiTest, WhatTheLastDoneAddsIsRunning) {
  const std::unique_ptr<Multi> multi = *Multi::Create(curlm_, client_);
  App first(client_, server_->Url("/first"));
  App second(client_, server_->Url("/second"));
  multi->Add(&first.curl, Within(absl::Seconds(20)), [&](const Response&) {
    multi->Add(&second.curl, Within(absl::Seconds(20)), Report());
    // One at fault, that is over before it is out.
    CallOptions wrong;
    wrong.profile = "nobody";
    multi->Add(Request(server_->Url()), wrong, Report());
  });
  Loop(multi.get());
  ASSERT_EQ(reports_.size(), 2u);
  EXPECT_EQ(reports_[0].code, CURLE_BAD_FUNCTION_ARGUMENT);
  EXPECT_EQ(reports_[1].stop_reason, StopReason::kSuccess);
}

TEST_F(MultiTest, SoIsATransferOfTheApplicationsOwn) {
  const std::unique_ptr<Multi> multi = *Multi::Create(curlm_, client_);
  CURL* const plain = curl_easy_init();
  Sink sink;
  curl_easy_setopt(plain, CURLOPT_URL, server_->Url().c_str());
  curl_easy_setopt(plain, CURLOPT_WRITEFUNCTION, &Sink::OnBody);
  curl_easy_setopt(plain, CURLOPT_WRITEDATA, &sink);
  multi->Add(Request(server_->Url()), Within(absl::Seconds(20)),
             [&](const Response&) { curl_multi_add_handle(curlm_, plain); });
  EXPECT_EQ(Loop(multi.get()), std::vector<CURLcode>{CURLE_OK});
  curl_easy_cleanup(plain);
}

// Nothing of it is counted twice, nor when it is over.
TEST_F(MultiTest, Running) {
  server_->SetHandler([](const testing::HttpRequest& request) {
    if (request.path == "/hang") return Reply::Hang();
    return Reply::Of(429).With("Retry-After", "15");
  });
  const std::unique_ptr<Multi> multi = *Multi::Create(curlm_, client_);
  CURL* const plain = curl_easy_init();
  curl_easy_setopt(plain, CURLOPT_URL, server_->Url("/hang").c_str());
  curl_multi_add_handle(curlm_, plain);
  std::vector<uint64_t> ids;
  for (const char* path : {"/hang", "/refuse", "/refuse"}) {
    ids.push_back(multi->Add(Request(server_->Url(path)),
                             Within(absl::Seconds(20)), Report()));
  }
  int running = 0;
  while (Sends() < 3) {
    multi->Perform(&running);
    EXPECT_EQ(running, 4);
    multi->Poll(nullptr, 0, 10, nullptr);
  }
  // One before libcurl has counted, the others afterwards.
  const uint64_t last =
      multi->Add(Request(server_->Url("/refuse")), Within(absl::Seconds(20)),
                 [&](Response response) {
                   for (const uint64_t id : ids) multi->Cancel(id);
                   Report()(std::move(response));
                 });
  multi->Cancel(last);
  multi->Perform(&running);
  EXPECT_EQ(running, 1);
  multi->Perform(&running);
  EXPECT_EQ(running, 1);
  EXPECT_EQ(reports_.size(), 4u);
  curl_multi_remove_handle(curlm_, plain);
  curl_easy_cleanup(plain);
  multi->Perform(&running);
  EXPECT_EQ(running, 0);
}

TEST_F(MultiTest, WhatWasAddedOrCancelledIsDueNow) {
  Hang();
  const std::unique_ptr<Multi> multi =
      *Multi::Create(curlm_, client_, {}, [] {});
  EXPECT_EQ(multi->TimeoutMs(), -1);
  const uint64_t id =
      multi->Add(Request(server_->Url()), Within(absl::Seconds(20)), Report());
  EXPECT_EQ(multi->TimeoutMs(), 0);
  LoopUntilSends(multi.get(), 1);
  multi->Cancel(id);
  EXPECT_EQ(multi->TimeoutMs(), 0);
  multi->Perform(nullptr);
  EXPECT_EQ(reports_.size(), 1u);
}

// A loop may hold a lock around Perform that its `wake` takes: TimeoutMs tells what is
// to be done.
TEST_F(MultiTest, PerformDoesNotWake) {
  server_->Script({Reply::Of(429).With("Retry-After", "0"), Reply::Of(200)});
  bool performs = false;
  int wakes = 0;
  const std::unique_ptr<Multi> multi = *Multi::Create(curlm_, client_, {}, [&] {
    EXPECT_FALSE(performs);
    ++wakes;
  });
  // They wait for each other, and wake each other.
  for (int i = 0; i < 5; ++i) {
    multi->Add(Request(server_->Url()), Within(absl::Seconds(20)),
               [&](Response response) {
                 const uint64_t id =
                     multi->Add(Request(server_->Url()),
                                Within(absl::Seconds(20)), Report());
                 multi->Cancel(id);
                 Report()(std::move(response));
               });
  }
  EXPECT_EQ(wakes, 1);
  int running = 0;
  do {
    performs = true;
    multi->Perform(&running);
    performs = false;
    multi->Poll(nullptr, 0, 1000, nullptr);
  } while (running != 0);
  EXPECT_EQ(reports_.size(), 10u);
  // Of whoever posts between two of them.
  multi->Cancel(1);
  EXPECT_EQ(wakes, 2);
}

// libcurl forgets the messages of a handle that is removed.
TEST_F(MultiTest, AMessageGoesWithItsHandle) {
  const std::unique_ptr<Multi> multi = *Multi::Create(curlm_, client_);
  std::vector<CURL*> plain;
  std::vector<Sink> sinks(3);
  for (Sink& sink : sinks) {
    plain.push_back(curl_easy_init());
    curl_easy_setopt(plain.back(), CURLOPT_URL, server_->Url().c_str());
    curl_easy_setopt(plain.back(), CURLOPT_WRITEFUNCTION, &Sink::OnBody);
    curl_easy_setopt(plain.back(), CURLOPT_WRITEDATA, &sink);
  }
  for (const bool beside_calls : {false, true}) {
    SCOPED_TRACE(beside_calls);
    if (beside_calls) {
      Hang();
      multi->Add(Request(server_->Url()), Within(absl::Seconds(20)), Report());
      LoopUntilSends(multi.get(), Sends() + 1);
      server_->SetHandler(
          [](const testing::HttpRequest&) { return Reply::Of(200); });
    }
    for (CURL* const easy : plain) curl_multi_add_handle(curlm_, easy);
    LoopUntilRunning(multi.get(), beside_calls ? 1 : 0);
    // With libcurl's own function that needs libcurl's own memory of it.
    if (beside_calls && LIBCURL_VERSION_NUM < 0x080400) {
      EXPECT_EQ(multi->RemoveHandle(plain[1]), CURLM_OK);
    } else {
      EXPECT_EQ(curl_multi_remove_handle(curlm_, plain[1]), CURLM_OK);
    }
    int left = 0;
    std::vector<CURL*> read;
    while (const CURLMsg* message = multi->InfoRead(&left)) {
      read.push_back(message->easy_handle);
      EXPECT_EQ(left, 2 - static_cast<int>(read.size()));
      EXPECT_EQ(multi->RemoveHandle(message->easy_handle), CURLM_OK);
    }
    EXPECT_EQ(left, 0);
    EXPECT_EQ(read.size(), 2u);
    for (const CURL* const easy : read) EXPECT_NE(easy, plain[1]);
  }
  EXPECT_EQ(multi->RemoveHandle(nullptr), CURLM_BAD_EASY_HANDLE);
  for (CURL* const easy : plain) curl_easy_cleanup(easy);
}

// Calls whose end nobody has looked for until their messages are read.
TEST_F(MultiTest, AMessageOfACallIsNotTheApplications) {
  const std::unique_ptr<Multi> multi = *Multi::Create(curlm_, client_);
  multi->Add(Request(server_->Url()), Within(absl::Seconds(20)), Report());
  multi->Perform(nullptr);
  int running = 1;
  while (running != 0) {
    curl_multi_perform(curlm_, &running);
    curl_multi_poll(curlm_, nullptr, 0, 10, nullptr);
  }
  int left = 0;
  EXPECT_EQ(multi->InfoRead(&left), nullptr);
  EXPECT_EQ(left, 0);
  EXPECT_EQ(multi->TimeoutMs(), 0);
  Loop(multi.get());
  ASSERT_EQ(reports_.size(), 1u);
  EXPECT_EQ(reports_[0].stop_reason, StopReason::kSuccess);
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

TEST_F(MultiTest, WhatTheLastDoneAddsIsRunningInALoopOfSockets) {
  const std::unique_ptr<Multi> multi =
      *Multi::Create(curlm_, client_, {}, [] {});
  multi->Add(Request(server_->Url()), Within(absl::Seconds(20)),
             [&](const Response&) {
               multi->Add(Request(server_->Url()), Within(absl::Seconds(20)),
                          Report());
             });
  EpollLoop(curlm_).Run(multi.get());
  ASSERT_EQ(reports_.size(), 1u);
  EXPECT_EQ(reports_[0].stop_reason, StopReason::kSuccess);
  curl_multi_setopt(curlm_, CURLMOPT_SOCKETFUNCTION, nullptr);
}

}  // namespace
}  // namespace forbear::curl
