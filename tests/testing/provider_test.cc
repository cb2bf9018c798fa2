#include "tests/testing/provider.h"

#include <curl/curl.h>
#include <grpcpp/grpcpp.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "tests/testing/echo.grpc.pb.h"

namespace forbear::testing {
namespace {

using Outage = ProviderModel::Outage;

struct HttpAnswer {
  CURLcode code = CURLE_OK;
  long status = 0;
  std::string body;
  std::string retry_after;
  std::string retry_after_ms;
  std::string date;
  std::string limit;  // "limit remaining reset"
};

size_t OnHeader(char* data, size_t size, size_t n, void* to) {
  HttpAnswer* answer = static_cast<HttpAnswer*>(to);
  const std::string line(data, size * n);
  const size_t colon = line.find(": ");
  if (colon == std::string::npos) return size * n;
  const std::string name = absl::AsciiStrToLower(line.substr(0, colon));
  const std::string value(absl::StripAsciiWhitespace(line.substr(colon + 2)));
  if (name == "retry-after") answer->retry_after = value;
  if (name == "retry-after-ms") answer->retry_after_ms = value;
  if (name == "date") answer->date = value;
  if (absl::StartsWith(name, "x-ratelimit-")) {
    absl::StrAppend(&answer->limit, answer->limit.empty() ? "" : " ", value);
  }
  return size * n;
}

size_t OnBody(char* data, size_t size, size_t n, void* to) {
  static_cast<HttpAnswer*>(to)->body.append(data, size * n);
  return size * n;
}

// One plain POST; `header` may be null.
HttpAnswer Post(const std::string& url, const char* header,
                int timeout_ms = 10000) {
  HttpAnswer answer;
  CURL* easy = curl_easy_init();
  curl_slist* headers =
      header == nullptr ? nullptr : curl_slist_append(nullptr, header);
  curl_easy_setopt(easy, CURLOPT_URL, url.c_str());
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, static_cast<long>(timeout_ms));
  curl_easy_setopt(easy, CURLOPT_COPYPOSTFIELDS, "work");
  curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
  curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, &OnHeader);
  curl_easy_setopt(easy, CURLOPT_HEADERDATA, &answer);
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, &OnBody);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, &answer);
  answer.code = curl_easy_perform(easy);
  curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &answer.status);
  curl_slist_free_all(headers);
  curl_easy_cleanup(easy);
  return answer;
}

struct GrpcAnswer {
  grpc::Status status;
  std::string payload;
  std::string pushback;
};

// One plain call on a connection of its own; `key` may be null.
GrpcAnswer Say(const Provider& provider, const char* key,
               int timeout_ms = 10000) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  const auto stub = Echo::NewStub(
      grpc::CreateCustomChannel(provider.grpc().address(),
                                grpc::InsecureChannelCredentials(), arguments));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() +
                       std::chrono::milliseconds(timeout_ms));
  if (key != nullptr) context.AddMetadata("idempotency-key", key);
  EchoMessage request, response;
  request.set_payload("work");
  GrpcAnswer answer;
  answer.status = stub->Say(&context, request, &response);
  answer.payload = response.payload();
  const auto& trailers = context.GetServerTrailingMetadata();
  const auto it = trailers.find("grpc-retry-pushback-ms");
  if (it != trailers.end()) {
    answer.pushback.assign(it->second.data(), it->second.size());
  }
  return answer;
}

Provider::Options WithoutFaults() {
  Provider::Options options;
  options.model.error_fraction = 0;
  return options;
}

std::unique_ptr<Provider> Make(const Provider::Options& options) {
  absl::StatusOr<std::unique_ptr<Provider>> provider =
      Provider::Create(options);
  if (!provider.ok()) abort();
  return *std::move(provider);
}

absl::Time ParseDate(const std::string& date) {
  absl::Time time;
  std::string error;
  EXPECT_TRUE(absl::ParseTime("%a, %d %b %Y %H:%M:%S GMT", date, &time, &error))
      << date << ": " << error;
  return time;
}

TEST(ProviderTest, OneQuotaOverBothProtocols) {
  Provider::Options options = WithoutFaults();
  options.model.rate = 0.01;  // A token every 100 s.
  options.model.burst = 2;
  const auto provider = Make(options);
  const std::string url = provider->http().Url("/v1");

  EXPECT_EQ(Post(url, nullptr).body, "work");
  const GrpcAnswer served = Say(*provider, nullptr);
  EXPECT_TRUE(served.status.ok());
  EXPECT_EQ(served.payload, "work");

  const HttpAnswer refused = Post(url, nullptr);
  EXPECT_EQ(refused.status, 429);
  int seconds = 0;
  ASSERT_TRUE(absl::SimpleAtoi(refused.retry_after, &seconds));
  EXPECT_GT(seconds, 80);
  EXPECT_LE(seconds, 100);
  const GrpcAnswer pushed_back = Say(*provider, nullptr);
  EXPECT_EQ(pushed_back.status.error_code(),
            grpc::StatusCode::RESOURCE_EXHAUSTED);
  int pushback = 0;
  ASSERT_TRUE(absl::SimpleAtoi(pushed_back.pushback, &pushback));
  EXPECT_GT(pushback, 80000);
  EXPECT_LE(pushback, 100000);

  const ProviderModel::Stats stats = provider->stats();
  EXPECT_EQ(stats.sends, 4);
  EXPECT_EQ(stats.answered, 2);
  EXPECT_EQ(stats.refused, 2);
  EXPECT_EQ(provider->http().log().Count(), 2);
  EXPECT_EQ(provider->grpc().log().Count(), 2);
}

// Every style states the rest of the 100 s, rounded up.
TEST(ProviderTest, StatesWaitsInEveryStyle) {
  for (const auto style :
       {Provider::WaitStyle::kSeconds, Provider::WaitStyle::kDate,
        Provider::WaitStyle::kMilliseconds, Provider::WaitStyle::kNone}) {
    Provider::Options options = WithoutFaults();
    options.model.rate = 0.01;
    options.model.burst = 1;
    options.wait_style = style;
    const auto provider = Make(options);
    const std::string url = provider->http().Url();
    const absl::Duration token_taken_after = provider->Now();
    EXPECT_EQ(Post(url, nullptr).status, 200);
    const HttpAnswer refused = Post(url, nullptr);
    const absl::Duration least =
        absl::Seconds(100) - (provider->Now() - token_taken_after);
    ASSERT_EQ(refused.status, 429);

    int number = 0;
    absl::Duration stated, unit;
    switch (style) {
      case Provider::WaitStyle::kSeconds:
        ASSERT_TRUE(absl::SimpleAtoi(refused.retry_after, &number));
        unit = absl::Seconds(1);
        stated = absl::Seconds(number);
        break;
      case Provider::WaitStyle::kDate:
        // The response's Date is cut to seconds too.
        unit = absl::Seconds(2);
        stated = ParseDate(refused.retry_after) - ParseDate(refused.date);
        break;
      case Provider::WaitStyle::kMilliseconds:
        ASSERT_TRUE(absl::SimpleAtoi(refused.retry_after_ms, &number));
        unit = absl::Milliseconds(1);
        stated = absl::Milliseconds(number);
        break;
      case Provider::WaitStyle::kNone:
        EXPECT_EQ(refused.retry_after, "");
        EXPECT_EQ(refused.retry_after_ms, "");
        EXPECT_EQ(Say(*provider, nullptr).pushback, "");
        continue;
    }
    EXPECT_GE(stated, least);
    EXPECT_LE(stated, absl::Seconds(100) + unit);
  }
}

TEST(ProviderTest, LosesAnswersAfterTheWork) {
  Provider::Options options = WithoutFaults();
  options.model.burst = 100;
  options.model.lost_answers = 4;
  options.model.lost_answers_within = 4;
  const auto provider = Make(options);
  const std::string url = provider->http().Url();
  EXPECT_EQ(Post(url, "Idempotency-Key: a").code, CURLE_RECV_ERROR);
  EXPECT_EQ(Post(url, "X-Call-Id: b").code, CURLE_RECV_ERROR);
  EXPECT_EQ(Say(*provider, "c").status.error_code(),
            grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(Say(*provider, "d").status.error_code(),
            grpc::StatusCode::UNAVAILABLE);

  EXPECT_EQ(Post(url, "Idempotency-Key: a").status, 200);
  EXPECT_EQ(Post(url, "X-Call-Id: b").status, 200);
  EXPECT_TRUE(Say(*provider, "c").status.ok());

  const ProviderModel::Stats stats = provider->stats();
  EXPECT_EQ(stats.sends, 7);
  EXPECT_EQ(stats.lost_answers, 4);
  EXPECT_EQ(stats.answered, 3);
  EXPECT_EQ(stats.replays, 2);
  EXPECT_EQ(stats.duplicates_executed, 1);
}

TEST(ProviderTest, ErrorsAndLatency) {
  Provider::Options options = WithoutFaults();
  options.model.burst = 100;
  options.model.error_fraction = 1;
  options.model.max_faults_per_call = 1;
  options.model.latency = absl::Milliseconds(30);
  const auto provider = Make(options);
  const absl::Duration before = provider->Now();
  EXPECT_EQ(Post(provider->http().Url(), "Idempotency-Key: a").status, 500);
  EXPECT_EQ(Post(provider->http().Url(), "Idempotency-Key: a").status, 200);
  EXPECT_EQ(Say(*provider, "b").status.error_code(),
            grpc::StatusCode::UNAVAILABLE);
  EXPECT_TRUE(Say(*provider, "b").status.ok());
  EXPECT_GE(provider->Now() - before, absl::Milliseconds(120));
  EXPECT_EQ(provider->stats().errors, 2);
  EXPECT_EQ(provider->stats().replays, 0);
}

TEST(ProviderTest, PlaysOutages) {
  const absl::Duration ever = absl::Hours(1);
  Provider::Options options = WithoutFaults();
  options.model.outages = {Outage{absl::ZeroDuration(), ever,
                                  Outage::Kind::kError, absl::Seconds(7)}};
  auto provider = Make(options);
  const HttpAnswer down = Post(provider->http().Url(), nullptr);
  EXPECT_EQ(down.status, 503);
  EXPECT_EQ(down.retry_after, "7");
  const GrpcAnswer grpc_down = Say(*provider, nullptr);
  EXPECT_EQ(grpc_down.status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(grpc_down.pushback, "7000");

  options.model.outages[0].retry_after = absl::ZeroDuration();
  provider = Make(options);
  EXPECT_EQ(Post(provider->http().Url(), nullptr).retry_after, "");
  EXPECT_EQ(Say(*provider, nullptr).pushback, "");

  options.model.outages[0].kind = Outage::Kind::kReset;
  provider = Make(options);
  EXPECT_EQ(Post(provider->http().Url(), nullptr).code, CURLE_RECV_ERROR);
  EXPECT_EQ(Say(*provider, nullptr).status.error_code(),
            grpc::StatusCode::UNAVAILABLE);

  options.model.outages[0].kind = Outage::Kind::kHang;
  provider = Make(options);
  EXPECT_EQ(Post(provider->http().Url(), nullptr, 50).code,
            CURLE_OPERATION_TIMEDOUT);
  EXPECT_EQ(Say(*provider, nullptr, 50).status.error_code(),
            grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_EQ(provider->stats().sends, 2);
}

TEST(ProviderTest, ClosesItsPortsForAWhile) {
  Provider::Options options = WithoutFaults();
  options.model.outages = {Outage{absl::Milliseconds(100),
                                  absl::Milliseconds(600),
                                  Outage::Kind::kClosedPort,
                                  {}}};
  const auto provider = Make(options);
  const std::string url = provider->http().Url();
  bool closed = false;
  while (provider->Now() < absl::Seconds(10)) {
    const HttpAnswer answer = Post(url, nullptr);
    if (answer.code == CURLE_COULDNT_CONNECT) {
      EXPECT_GE(provider->Now(), absl::Milliseconds(100));
      closed = true;
    } else if (closed && answer.code == CURLE_OK && answer.status == 200) {
      break;
    }
    absl::SleepFor(absl::Milliseconds(5));
  }
  EXPECT_TRUE(closed);
  EXPECT_GE(provider->Now(), absl::Milliseconds(600));
  EXPECT_LT(provider->Now(), absl::Seconds(5));
  // The gRPC server is back an instant later.
  grpc::Status status;
  for (int i = 0; i < 100 && !(status = Say(*provider, nullptr).status).ok();
       ++i) {
    absl::SleepFor(absl::Milliseconds(20));
  }
  EXPECT_TRUE(status.ok()) << status.error_message();
}

TEST(ProviderTest, LiesAboutWaits) {
  Provider::Options options = WithoutFaults();
  options.model.rate = 0.001;
  options.model.burst = 1;
  options.wait_factor = 0.01;
  options.refusal_body_bytes = 100000;
  auto provider = Provider::Create(options);
  ASSERT_TRUE(provider.ok()) << provider.status();
  EXPECT_EQ(Post((*provider)->http().Url(), nullptr).status, 200);
  const HttpAnswer refused = Post((*provider)->http().Url(), nullptr);
  EXPECT_EQ(refused.status, 429);
  EXPECT_EQ(refused.retry_after, "10");
  EXPECT_EQ(refused.body.size(), 100000u);
  const GrpcAnswer answer = Say(**provider, nullptr);
  EXPECT_EQ(answer.status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  int pushback = 0;
  ASSERT_TRUE(absl::SimpleAtoi(answer.pushback, &pushback));
  EXPECT_LE(pushback, 10000);
  EXPECT_GE(pushback, 9000);

  for (const std::string text : {"soon", "-1", "0"}) {
    options.wait_text = text;
    auto liar = Provider::Create(options);
    ASSERT_TRUE(liar.ok()) << liar.status();
    Post((*liar)->http().Url(), nullptr);
    EXPECT_EQ(Post((*liar)->http().Url(), nullptr).retry_after, text);
  }
}

TEST(ProviderTest, SaysWhatIsLeftOfTheLimit) {
  Provider::Options options = WithoutFaults();
  options.model.rate = 0.001;
  options.model.burst = 2;
  options.limit_headers = Provider::LimitHeaders::kSeconds;
  options.refusal_status = 503;
  options.begin = Provider::Begin::kFirstRequest;
  auto provider = Provider::Create(options);
  ASSERT_TRUE(provider.ok()) << provider.status();
  EXPECT_EQ((*provider)->began_at(), std::nullopt);
  EXPECT_EQ((*provider)->Now(), absl::ZeroDuration());
  EXPECT_EQ(Post((*provider)->http().Url(), nullptr).limit, "2 1 1000");
  EXPECT_NE((*provider)->began_at(), std::nullopt);
  EXPECT_EQ(Post((*provider)->http().Url(), nullptr).limit, "2 0 2000");
  EXPECT_EQ(Post((*provider)->http().Url(), nullptr).status, 503);
  EXPECT_EQ(Say(**provider, nullptr).status.error_code(),
            grpc::StatusCode::UNAVAILABLE);
}

TEST(ProviderTest, BeginsWhenItIsTold) {
  Provider::Options options = WithoutFaults();
  options.model.refusal_latency = absl::Milliseconds(30);
  options.model.outages = {Outage{absl::ZeroDuration(), absl::Hours(1),
                                  Outage::Kind::kRefuse,
                                  absl::InfiniteDuration()}};
  options.begin_at =
      std::chrono::steady_clock::now() - std::chrono::minutes(20);
  auto provider = Provider::Create(options);
  ASSERT_TRUE(provider.ok()) << provider.status();
  const HttpAnswer refused = Post((*provider)->http().Url(), nullptr);
  EXPECT_EQ(refused.status, 429);
  int wait = 0;
  ASSERT_TRUE(absl::SimpleAtoi(refused.retry_after, &wait));
  EXPECT_LE(wait, 2400);
  EXPECT_GT(wait, 2300);
  // The log knows when the answer was due, and when it went.
  const Arrival arrival = (*provider)->http().log().Snapshot()[0];
  EXPECT_EQ(arrival.answer_due, arrival.since_start + absl::Milliseconds(30));
  EXPECT_GE(arrival.answered, arrival.answer_due);
  EXPECT_LE(arrival.answered, (*provider)->http().log().Now());
}

TEST(ProviderTest, RefusesBadOptions) {
  Provider::Options options;
  options.model.rate = -1;
  EXPECT_EQ(Provider::Create(options).status().code(),
            absl::StatusCode::kInvalidArgument);
  const auto provider = Make(Provider::Options());
  options = Provider::Options();
  options.grpc_port = provider->grpc().port();
  EXPECT_EQ(Provider::Create(options).status().code(),
            absl::StatusCode::kUnavailable);
  options.grpc_port = 0;
  options.http_port = provider->http().port();
  EXPECT_EQ(Provider::Create(options).status().code(),
            absl::StatusCode::kUnavailable);
}

// Ten threads that come back when told, as the demo plays it.
TEST(ProviderTest, PatientClientsGetEveryAnswer) {
  Provider::Options options;
  options.model.rate = 200;
  options.model.burst = 10;
  options.model.error_fraction = 0.2;
  options.model.lost_answers = 3;
  options.wait_style = Provider::WaitStyle::kMilliseconds;
  const auto provider = Make(options);
  std::vector<std::thread> threads;
  std::atomic<int> answered{0};
  for (int t = 0; t < 10; ++t) {
    threads.emplace_back([&, t] {
      for (int call = 0; call < 10; ++call) {
        const std::string key = absl::StrCat("Idempotency-Key: ", t, "-", call);
        int faults = 0;
        for (;;) {
          const HttpAnswer answer = Post(provider->http().Url(), key.c_str());
          if (answer.status == 200) {
            ++answered;
            break;
          }
          int ms = 0;
          if (absl::SimpleAtoi(answer.retry_after_ms, &ms)) {
            absl::SleepFor(absl::Milliseconds(ms));
          } else if (++faults > 2) {
            break;
          }
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(answered, 100);
  const ProviderModel::Stats stats = provider->stats();
  EXPECT_EQ(stats.answered, 100);
  // A call that has had its two faults is spared a third.
  EXPECT_GE(stats.lost_answers, 1);
  EXPECT_LE(stats.lost_answers, 3);
  EXPECT_EQ(stats.replays, stats.lost_answers);
  EXPECT_EQ(stats.duplicates_executed, 0);
  EXPECT_EQ(stats.sends,
            stats.answered + stats.refused + stats.errors + stats.lost_answers);
  EXPECT_EQ(stats.sends, provider->http().log().Count());
}

}  // namespace
}  // namespace forbear::testing
