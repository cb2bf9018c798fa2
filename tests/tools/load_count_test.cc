// forbear load and the server count the same: `attempts`, the records, and the
// server's own log. Servers: the provider, and a real nginx.
#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "core/call_record.h"
#include "gtest/gtest.h"
#include "proto/record_convert.h"
#include "tests/testing/arrival_log.h"
#include "tests/testing/nginx.h"
#include "tests/testing/provider.h"
#include "tests/tools/load_result.h"
#include "tests/tools/program.h"

namespace forbear::testing {
namespace {

constexpr char kSay[] = "/forbear.testing.Echo/Say";

std::unique_ptr<Provider> MakeProvider() {
  Provider::Options options;
  options.model.rate = 20;
  options.model.burst = 5;
  options.model.error_fraction = 0.05;
  options.model.seed = 3;
  options.model.latency = absl::Milliseconds(2);
  return Provider::Create(options).value();
}

enum class Way { kHttp, kGrpc };

// The arguments that say where to.
std::vector<std::string> To(const Provider& provider, Way way) {
  if (way == Way::kHttp) {
    return {"--url", provider.http().Url("/v1/complete"), "--idempotent",
            "--method", "POST"};
  }
  return {"--grpc", provider.grpc().address(), "--rpc", kSay, "--idempotent"};
}

std::vector<Arrival> Arrivals(const Provider& provider, Way way) {
  return way == Way::kHttp ? provider.http().log().Snapshot()
                           : provider.grpc().log().Snapshot();
}

std::vector<int> Statuses(const std::vector<Arrival>& arrivals) {
  std::vector<int> statuses;
  for (const Arrival& arrival : arrivals) statuses.push_back(arrival.status);
  return statuses;
}

ProgramResult Load(std::vector<std::string> args,
                   const std::vector<std::string>& more) {
  args.insert(args.begin(), "load");
  args.insert(args.end(), more.begin(), more.end());
  return RunForbear(args);
}

class LoadCountTest : public ::testing::TestWithParam<Way> {};

INSTANTIATE_TEST_SUITE_P(Ways, LoadCountTest,
                         ::testing::Values(Way::kHttp, Way::kGrpc),
                         [](const auto& info) {
                           return info.param == Way::kHttp ? "Http" : "Grpc";
                         });

TEST_P(LoadCountTest, ManyWorkers) {
  const auto provider = MakeProvider();
  const std::string path = TempPath("records.jsonl");
  const ProgramResult result =
      Load(To(*provider, GetParam()),
           {"--requests", "60", "--workers", "8", "--json", "--records", path});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.err, "");
  const LoadSummary summary = ParseSummary(result.out);
  EXPECT_EQ(summary.requests, 60);
  EXPECT_EQ(summary.succeeded, 60);
  EXPECT_EQ(summary.stop_reasons,
            (std::map<std::string, int64_t>{{"success", 60}}));

  // There was something to count.
  const ProviderModel::Stats stats = provider->stats();
  EXPECT_GT(stats.refused, 0);
  EXPECT_GT(stats.errors, 0);
  EXPECT_EQ(summary.attempts, stats.sends);
  const std::vector<CallRecord> records = ReadRecords(path);
  EXPECT_EQ(records.size(), 60);
  EXPECT_EQ(Disagreement(records, Statuses(Arrivals(*provider, GetParam())),
                         /*in_order=*/false),
            "");
}

// One worker: each attempt of each call is the next in the server's log.
TEST_P(LoadCountTest, OneWorkerAttemptByAttempt) {
  const auto provider = MakeProvider();
  const std::string path = TempPath("records.jsonl");
  const ProgramResult result =
      Load(To(*provider, GetParam()),
           {"--requests", "40", "--workers", "1", "--json", "--records", path});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(ParseSummary(result.out).attempts, provider->stats().sends);
  std::vector<CallRecord> records = ReadRecords(path);
  const std::vector<int> server = Statuses(Arrivals(*provider, GetParam()));
  EXPECT_GT(server.size(), 40);
  EXPECT_EQ(Disagreement(records, server, /*in_order=*/true), "");

  // The comparison can fail. One attempt less, written and read back:
  const auto retried =
      std::find_if(records.begin(), records.end(),
                   [](const CallRecord& r) { return r.attempts.size() > 1; });
  ASSERT_NE(retried, records.end());
  const CallRecord kept = *retried;
  retried->attempts.erase(retried->attempts.begin());
  --retried->total_attempts;
  const std::string broken = TempPath("broken.jsonl");
  std::string lines;
  for (const CallRecord& r : records) {
    absl::StrAppend(&lines, RecordToJson(r), "\n");
  }
  WriteFile(broken, lines);
  EXPECT_NE(Disagreement(ReadRecords(broken), server, /*in_order=*/false), "");
  EXPECT_NE(Disagreement(ReadRecords(broken), server, /*in_order=*/true), "");
  // An attempt left out of the list and still counted; another answer; another
  // order.
  *retried = kept;
  retried->attempts.erase(retried->attempts.begin());
  EXPECT_NE(Disagreement(records, server, /*in_order=*/false), "");
  *retried = kept;
  retried->attempts.front().outcome.status = 418;
  EXPECT_NE(Disagreement(records, server, /*in_order=*/false), "");
  *retried = kept;
  std::reverse(retried->attempts.begin(), retried->attempts.end());
  EXPECT_NE(Disagreement(records, server, /*in_order=*/true), "");
}

// Several programs at a time, each with its own key: each one's record is what
// the server saw of that key.
TEST_P(LoadCountTest, KeyByKey) {
  const auto provider = MakeProvider();
  constexpr int kPrograms = 10;
  std::vector<std::string> paths;
  std::vector<int> exit_codes(kPrograms, -1);
  std::vector<std::thread> programs;
  for (int i = 0; i < kPrograms; ++i) {
    paths.push_back(TempPath("records.jsonl"));
  }
  for (int i = 0; i < kPrograms; ++i) {
    programs.emplace_back([&, i] {
      exit_codes[i] = Load(To(*provider, GetParam()),
                           {"--requests", "1", "--header",
                            absl::StrCat("Idempotency-Key: call-", i),
                            "--records", paths[i]})
                          .exit_code;
    });
  }
  for (std::thread& program : programs) program.join();

  std::map<std::string, std::vector<int>> server;
  for (const Arrival& arrival : Arrivals(*provider, GetParam())) {
    server[arrival.headers.at("idempotency-key")].push_back(arrival.status);
  }
  EXPECT_EQ(server.size(), kPrograms);
  for (int i = 0; i < kPrograms; ++i) {
    EXPECT_EQ(exit_codes[i], 0);
    EXPECT_EQ(
        Disagreement(ReadRecords(paths[i]), server[absl::StrCat("call-", i)],
                     /*in_order=*/true),
        "")
        << i;
  }
}

// Answers that are lost with their connection. What may go at most once is counted
// to the last send. What may be repeated, libcurl itself sends again, unseen, if
// the connection was a reused one (docs/decisions/0001); but no send that is
// counted is missing at the server.
TEST(LoadCountResetTest, LostAnswers) {
  for (const bool idempotent : {false, true}) {
    Provider::Options options;
    options.model.rate = 10000;
    options.model.burst = 1000;
    options.model.error_fraction = 0;
    options.model.lost_answers = 4;
    options.model.lost_answers_within = 40;
    const std::unique_ptr<Provider> provider =
        Provider::Create(options).value();
    std::vector<std::string> more = {"--requests", "50", "--method", "POST",
                                     "--json"};
    if (idempotent) more.emplace_back("--idempotent");
    const LoadSummary summary = ParseSummary(
        Load({"--url", provider->http().Url("/v1/complete")}, more).out);
    EXPECT_EQ(provider->stats().lost_answers, 4);
    if (idempotent) {
      EXPECT_EQ(summary.succeeded, 50);
      EXPECT_LE(summary.attempts, provider->stats().sends);
      EXPECT_GE(summary.attempts, provider->stats().sends - 4);
    } else {
      EXPECT_EQ(summary.failed, 4);
      EXPECT_EQ(summary.stop_reasons.at("not_idempotent"), 4);
      EXPECT_EQ(summary.attempts, provider->stats().sends);
    }
  }
}

TEST(LoadCountNginxTest, LimitReq) {
  Nginx::Options options;
  options.http = "limit_req_zone $binary_remote_addr zone=z:1m rate=20r/s;";
  options.server = R"(
    location /limited {
      limit_req zone=z burst=2 nodelay;
      limit_req_status 429;
      proxy_pass http://ok;
    }
    location /marker { return 204; })";
  const auto nginx = Nginx::Start(options);
  ASSERT_TRUE(nginx.ok()) << nginx.status();
  const std::string path = TempPath("records.jsonl");
  const ProgramResult result =
      Load({"--url", (*nginx)->Url("/limited")},
           {"--requests", "30", "--workers", "6", "--json", "--records", path});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  const LoadSummary summary = ParseSummary(result.out);
  EXPECT_EQ(summary.succeeded, 30);
  EXPECT_GT(summary.attempts, 30);

  // nginx has one worker, so once it has logged this one, nothing that came
  // before is still to be logged.
  EXPECT_EQ(
      Load({"--url", (*nginx)->Url("/marker")}, {"--requests", "1"}).exit_code,
      0);
  ASSERT_TRUE((*nginx)->WaitForCount(summary.attempts + 1, absl::Seconds(5)));
  std::vector<Arrival> arrivals = (*nginx)->Arrivals();
  arrivals.erase(std::remove_if(arrivals.begin(), arrivals.end(),
                                [](const Arrival& arrival) {
                                  return arrival.path == "/marker";
                                }),
                 arrivals.end());
  EXPECT_EQ(static_cast<int64_t>(arrivals.size()), summary.attempts);
  EXPECT_EQ(Disagreement(ReadRecords(path), Statuses(arrivals),
                         /*in_order=*/false),
            "");
}

}  // namespace
}  // namespace forbear::testing
