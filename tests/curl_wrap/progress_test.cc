// Progress functions of Requests that an engine runs side by side: each is told of its
// own transfer, and ends none but that.
#include <curl/curl.h>

#include <atomic>
#include <chrono>
#include <future>
#include <memory>
#include <set>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "core/call_record.h"
#include "core/stop_reason.h"
#include "curl_wrap/engine.h"
#include "curl_wrap/request.h"
#include "curl_wrap/response.h"
#include "gtest/gtest.h"
#include "tests/curl_wrap/app.h"

namespace forbear::curl {
namespace {

constexpr absl::Duration kLong = absl::Seconds(20);
constexpr int64_t kNever = -1;

// What one transfer was told. Called on the engine's thread; read when the transfer is
// over.
struct Progress {
  std::set<curl_off_t> totals;          // of the answer; 0: not known yet
  std::set<curl_off_t> totals_of_body;  // of the request
  curl_off_t now = 0;
  curl_off_t now_of_body = 0;
  int calls = 0;
  int64_t ends_at = kNever;  // bytes of the answer

  static int On(void* self, curl_off_t total, curl_off_t now,
                curl_off_t body_total, curl_off_t body_now) {
    auto* const p = static_cast<Progress*>(self);
    ++p->calls;
    p->totals.insert(total);
    p->totals_of_body.insert(body_total);
    p->now = now;
    p->now_of_body = body_now;
    return p->ends_at != kNever && now >= p->ends_at ? 1 : 0;
  }
};

// A transfer with a progress function of its own.
struct Transfer {
  Progress progress;
  int reports = 0;
  std::promise<Response> done;
  std::future<Response> future = done.get_future();

  void Start(Engine* engine, Request request) {
    EXPECT_EQ(request.SetOpt(CURLOPT_NOPROGRESS, 0L), CURLE_OK);
    EXPECT_EQ(request.SetOpt(CURLOPT_XFERINFOFUNCTION, &Progress::On),
              CURLE_OK);
    EXPECT_EQ(request.SetOpt(CURLOPT_XFERINFODATA, &progress), CURLE_OK);
    engine->Start(std::move(request), Within(kLong), [this](Response response) {
      response.easy = nullptr;
      if (++reports == 1) done.set_value(std::move(response));
    });
  }
  Response Get() {
    EXPECT_EQ(future.wait_for(std::chrono::seconds(60)),
              std::future_status::ready);
    return future.get();
  }
};

class ProgressTest : public ::testing::Test {
 protected:
  // So slow that several are out at once.
  void Prepare(const std::string& path, size_t bytes) {
    server_->Script(path, {Reply::Of(200, std::string(bytes, 'a'))
                               .InPieces(5000, absl::Milliseconds(10))});
  }
  int Sends(const std::string& path) const {
    int sends = 0;
    for (const Arrival& a : server_->log().Snapshot()) {
      if (a.path == path) ++sends;
    }
    return sends;
  }

  std::unique_ptr<HttpServer> server_ = StartServer();
  std::unique_ptr<Engine> engine_ = *Engine::Create(NewClient());
};

TEST_F(ProgressTest, EachIsToldOfItsOwnTransfer) {
  // The second round's handles have been the first one's, the other way round.
  for (int round = 0; round < 2; ++round) {
    SCOPED_TRACE(round);
    constexpr size_t kAnswers[] = {40000, 60000};
    constexpr size_t kBodies[] = {300, 5000};
    Transfer transfers[2];
    for (const int at : {0, 1}) {
      const int i = round == 0 ? at : 1 - at;
      const std::string path = absl::StrCat("/", i);
      Prepare(path, kAnswers[i]);
      Request request(server_->Url(path));
      request.SetBody(std::string(kBodies[i], 'b'));
      transfers[i].Start(engine_.get(), std::move(request));
    }
    for (const int i : {0, 1}) {
      SCOPED_TRACE(i);
      const Response response = transfers[i].Get();
      EXPECT_EQ(response.code, CURLE_OK);
      EXPECT_EQ(response.body.size(), kAnswers[i]);
      const Progress& progress = transfers[i].progress;
      const auto answer = static_cast<curl_off_t>(kAnswers[i]);
      const auto body = static_cast<curl_off_t>(kBodies[i]);
      EXPECT_EQ(progress.totals.count(answer), 1u);
      EXPECT_EQ(progress.totals_of_body.count(body), 1u);
      for (const curl_off_t total : progress.totals) {
        EXPECT_TRUE(total == 0 || total == answer) << total;
      }
      for (const curl_off_t total : progress.totals_of_body) {
        EXPECT_TRUE(total == 0 || total == body) << total;
      }
      EXPECT_EQ(progress.now, answer);
      EXPECT_EQ(progress.now_of_body, body);
    }
  }
  EXPECT_EQ(server_->log().Count(), 4);
}

TEST_F(ProgressTest, WhoReturnsNonzeroEndsHisOwnOnce) {
  Transfer transfers[3];
  for (int i = 0; i < 3; ++i) {
    const std::string path = absl::StrCat("/", i);
    Prepare(path, 50000);
    if (i == 1) transfers[i].progress.ends_at = 10000;
    // GETs: they might be repeated.
    transfers[i].Start(engine_.get(), Request(server_->Url(path)));
  }
  for (int i = 0; i < 3; ++i) {
    SCOPED_TRACE(i);
    const Response response = transfers[i].Get();
    EXPECT_EQ(response.code, i == 1 ? CURLE_ABORTED_BY_CALLBACK : CURLE_OK);
    EXPECT_EQ(response.stop_reason,
              i == 1 ? StopReason::kCancelled : StopReason::kSuccess)
        << FormatCallRecord(response.record);
    EXPECT_EQ(response.record.total_attempts, 1);
    if (i != 1) {
      EXPECT_EQ(response.body.size(), 50000u);
    }
  }
  EXPECT_TRUE(server_->log().WaitForCancelled(1, kLong));
  // All that there will ever be.
  engine_->Shutdown(absl::InfiniteDuration());
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(transfers[i].reports, 1) << i;
    EXPECT_EQ(Sends(absl::StrCat("/", i)), 1) << i;
  }
  EXPECT_EQ(server_->log().CountCancelled(), 1);
}

// Before a byte of an answer another attempt could take its place.
TEST_F(ProgressTest, WhoReturnsNonzeroBeforeAnAnswerEndsItToo) {
  server_->Script("/hangs", {Reply::Hang()});
  Transfer transfer;
  transfer.progress.ends_at = 0;
  transfer.Start(engine_.get(), Request(server_->Url("/hangs")));
  const Response response = transfer.Get();
  EXPECT_EQ(response.code, CURLE_ABORTED_BY_CALLBACK);
  EXPECT_EQ(response.stop_reason, StopReason::kCancelled)
      << FormatCallRecord(response.record);
  EXPECT_EQ(response.record.total_attempts, 1);
  engine_->Shutdown(absl::InfiniteDuration());
  EXPECT_EQ(transfer.reports, 1);
  EXPECT_EQ(transfer.progress.calls, 1);
  EXPECT_LE(Sends("/hangs"), 1);
}

}  // namespace
}  // namespace forbear::curl
