// forbear load, option by option: what the server sees, what the user gets.
#include <grpcpp/support/status_code_enum.h>
#include <unistd.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "core/call_record.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/arrival_log.h"
#include "tests/testing/grpc_reply.h"
#include "tests/testing/grpc_server.h"
#include "tests/testing/http_server.h"
#include "tests/testing/reply.h"
#include "tests/tools/load_result.h"
#include "tests/tools/program.h"

namespace forbear::testing {
namespace {

using ::testing::AnyOf;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using Reasons = std::map<std::string, int64_t>;

constexpr char kSay[] = "/forbear.testing.Echo/Say";

class LoadTest : public ::testing::Test {
 protected:
  ProgramResult Http(const std::vector<std::string>& more,
                     const ProgramOptions& options = {}) {
    std::vector<std::string> args = {"load", "--url", http_->Url("/v1/x?y=1")};
    args.insert(args.end(), more.begin(), more.end());
    return RunForbear(args, options);
  }
  ProgramResult Grpc(const std::vector<std::string>& more,
                     const ProgramOptions& options = {}) {
    std::vector<std::string> args = {"load", "--grpc", grpc_->address(),
                                     "--rpc", kSay};
    args.insert(args.end(), more.begin(), more.end());
    return RunForbear(args, options);
  }

  const std::unique_ptr<HttpServer> http_ = HttpServer::Create().value();
  const std::unique_ptr<GrpcServer> grpc_ = GrpcServer::Create().value();
};

TEST_F(LoadTest, Text) {
  const ProgramResult result = Http({"--requests", "3", "--workers", "2"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.err, "");
  EXPECT_THAT(result.out,
              MatchesRegex("requests    3\n"
                           "succeeded   3\n"
                           "failed      0\n"
                           "attempts    3\n"
                           "wall        [0-9.]+s\n"
                           "latency     p50 [0-9.]+ms  p95 [0-9.]+ms  "
                           "p99 [0-9.]+ms  max [0-9.]+ms\n"
                           "success +3\n"));
}

TEST_F(LoadTest, FailuresAreExplainedOnStderr) {
  http_->Script({Reply::Of(200), Reply::Of(404)});
  ProgramResult result = Http({"--requests", "3", "--json"});
  EXPECT_EQ(result.exit_code, 1);
  LoadSummary summary = ParseSummary(result.out);
  EXPECT_EQ(summary.succeeded, 1);
  EXPECT_EQ(summary.failed, 2);
  EXPECT_EQ(summary.attempts, 3);
  EXPECT_EQ(summary.stop_reasons,
            (Reasons{{"success", 1}, {"permanent_error", 2}}));
  EXPECT_THAT(result.err, HasSubstr("2 of 3 calls failed"));
  EXPECT_THAT(result.err, HasSubstr("permanent_error: "));
  EXPECT_THAT(result.err, HasSubstr("404"));

  grpc_->Script({GrpcReply::Error(grpc::StatusCode::NOT_FOUND)});
  result = Grpc({"--requests", "2", "--json"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(ParseSummary(result.out).stop_reasons,
            (Reasons{{"permanent_error", 2}}));
}

// Nobody listens: the calls wait for the server as long as they may.
TEST_F(LoadTest, AServerThatIsDown) {
  http_->Stop();
  const ProgramResult result =
      Http({"--requests", "4", "--deadline", "300ms", "--json"});
  EXPECT_EQ(result.exit_code, 1);
  const LoadSummary summary = ParseSummary(result.out);
  EXPECT_EQ(summary.failed, 4);
  EXPECT_LT(summary.wall_s, 10);
  EXPECT_THAT(result.err, HasSubstr("4 of 4 calls failed"));
  EXPECT_THAT(result.err, HasSubstr("curl error 7"));
}

// … or do not, without any deadline, if they are told not to.
TEST_F(LoadTest, AServerThatIsDownAndNobodyWaits) {
  http_->Stop();
  const std::string config = TempPath("config.textproto");
  WriteFile(config, "retry { when_open: FAIL }");
  const ProgramResult result =
      Http({"--requests", "20", "--config", config, "--json"});
  EXPECT_EQ(result.exit_code, 1);
  const LoadSummary summary = ParseSummary(result.out);
  EXPECT_LT(summary.wall_s, 10);
  EXPECT_GT(summary.stop_reasons.at("circuit_open"), 15);
  EXPECT_THAT(result.err, HasSubstr("circuit_open: "));
}

TEST_F(LoadTest, WhatTheHttpServerSees) {
  const std::string body(100000, 'b');
  const std::string path = TempPath("body");
  WriteFile(path, body);
  EXPECT_EQ(Http({"--requests", "1"}).exit_code, 0);
  EXPECT_EQ(Http({"--requests", "1", "--body-file", path, "--header",
                  "X-One: 1", "--header", "X-Two:two", "--header", "Accept:"})
                .exit_code,
            0);
  EXPECT_EQ(Http({"--requests", "1", "--method", "PUT", "--body-file", path})
                .exit_code,
            0);
  EXPECT_EQ(Http({"--requests", "1", "--method", "HEAD"}).exit_code, 0);
  EXPECT_EQ(Http({"--requests", "1", "--method", "DELETE"}).exit_code, 0);
  const std::vector<Arrival> arrivals = http_->log().Snapshot();
  ASSERT_EQ(arrivals.size(), 5);
  EXPECT_EQ(arrivals[0].method, "GET");
  EXPECT_EQ(arrivals[0].path, "/v1/x?y=1");
  EXPECT_EQ(arrivals[0].body_bytes, 0);
  EXPECT_EQ(arrivals[0].headers.count("accept"), 1);
  EXPECT_EQ(arrivals[1].method, "POST");
  EXPECT_EQ(arrivals[1].body_hash, ArrivalLog::HashOf(body));
  EXPECT_EQ(arrivals[1].headers.at("x-one"), "1");
  EXPECT_EQ(arrivals[1].headers.at("x-two"), "two");
  EXPECT_EQ(arrivals[1].headers.count("accept"), 0);
  EXPECT_EQ(arrivals[2].method, "PUT");
  EXPECT_EQ(arrivals[2].body_hash, ArrivalLog::HashOf(body));
  EXPECT_EQ(arrivals[3].method, "HEAD");
  EXPECT_EQ(arrivals[4].method, "DELETE");
}

TEST_F(LoadTest, WhatTheGrpcServerSees) {
  // Zeros and all, and no text.
  const std::string body("\x0a\x03\0\xff\x7f", 5);
  const std::string path = TempPath("body");
  WriteFile(path, body);
  const ProgramResult result =
      Grpc({"--requests", "1", "--body-file", path, "--header", "X-One: 1",
            "--header", "x.two_2:  a ~ b  ", "--header", "Empty:", "--header",
            "Trace-Bin: AP9oaQ==", "--header", "Empty-Bin:"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  const std::vector<Arrival> arrivals = grpc_->log().Snapshot();
  ASSERT_EQ(arrivals.size(), 1);
  EXPECT_EQ(arrivals[0].path, kSay);
  EXPECT_EQ(arrivals[0].body, body);
  EXPECT_EQ(arrivals[0].headers.at("x-one"), "1");
  EXPECT_EQ(arrivals[0].headers.at("x.two_2"), "a ~ b");
  EXPECT_EQ(arrivals[0].headers.at("empty"), "");
  EXPECT_EQ(arrivals[0].headers.at("trace-bin"), std::string("\0\xffhi", 4));
  EXPECT_EQ(arrivals[0].headers.at("empty-bin"), "");
}

// Names that gRPC knows, or that HTTP/2 does not want.
TEST_F(LoadTest, OddMetadataDoNotEndTheProgram) {
  for (const std::string header :
       {"lb-token: x", "lb-cost-bin: AAAA", "endpoint-load-metrics-bin: AAAA",
        "accept-encoding: gzip", "transfer-encoding: chunked", "upgrade: h2",
        "keep-alive: 1", "_x: 1", ".x: 1", "-bin: aGk="}) {
    const ProgramResult result = Grpc(
        {"--requests", "1", "--deadline", "2s", "--json", "--header", header});
    EXPECT_THAT(result.exit_code, AnyOf(0, 1)) << header << result.err;
    EXPECT_EQ(ParseSummary(result.out).requests, 1) << header;
  }
}

TEST_F(LoadTest, Idempotent) {
  const auto script = [this] {
    http_->Script({Reply::Of(503), Reply::Of(200)});
    grpc_->Script(
        {GrpcReply::Error(grpc::StatusCode::UNAVAILABLE), GrpcReply::Ok("")});
  };
  script();
  ProgramResult result =
      Http({"--requests", "1", "--method", "POST", "--json"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(ParseSummary(result.out).stop_reasons,
            (Reasons{{"not_idempotent", 1}}));
  result = Grpc({"--requests", "1", "--json"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(ParseSummary(result.out).attempts, 1);

  script();
  for (const ProgramResult& r :
       {Http({"--requests", "1", "--method", "POST", "--idempotent", "--json"}),
        Grpc({"--requests", "1", "--idempotent", "--json"})}) {
    EXPECT_EQ(r.exit_code, 0) << r.err;
    EXPECT_EQ(ParseSummary(r.out).attempts, 2);
  }
}

TEST_F(LoadTest, Config) {
  const std::string text = TempPath("config.textproto");
  WriteFile(text, "name: \"once\" retry { max_attempts: 1 }\n");
  const std::string json = TempPath("config.json");
  WriteFile(json, R"({"name": "once", "retry": {"max_attempts": 1}})");
  http_->Script({Reply::Of(503)});
  grpc_->Script({GrpcReply::Error(grpc::StatusCode::UNAVAILABLE)});

  // The defaults first.
  for (const ProgramResult& r :
       {Http({"--requests", "1", "--json"}),
        Grpc({"--requests", "1", "--idempotent", "--json"})}) {
    EXPECT_EQ(r.exit_code, 1);
    EXPECT_EQ(ParseSummary(r.out).attempts, 3);
  }
  for (const std::string& config : {text, json}) {
    const std::string records = TempPath("records.jsonl");
    ProgramResult r = Http({"--requests", "1", "--json", "--config", config,
                            "--records", records});
    EXPECT_EQ(r.exit_code, 1);
    EXPECT_EQ(ParseSummary(r.out).attempts, 1);
    ASSERT_EQ(ReadRecords(records).size(), 1);
    EXPECT_EQ(ReadRecords(records)[0].names.policy(), "once");
    r = Grpc({"--requests", "1", "--idempotent", "--json", "--config", config});
    EXPECT_EQ(ParseSummary(r.out).attempts, 1);
  }
}

TEST_F(LoadTest, Deadline) {
  http_->Script({Reply::Hang()});
  grpc_->Script({GrpcReply::Hang()});
  for (const ProgramResult& r : {Http({"--requests", "2", "--workers", "2",
                                       "--deadline", "300ms", "--json"}),
                                 Grpc({"--requests", "2", "--workers", "2",
                                       "--deadline", "300ms", "--json"})}) {
    EXPECT_EQ(r.exit_code, 1);
    const LoadSummary summary = ParseSummary(r.out);
    EXPECT_EQ(summary.stop_reasons, (Reasons{{"deadline_exceeded", 2}}));
    EXPECT_EQ(summary.attempts, 2);
    EXPECT_GE(summary.p50_ms, 299);
    EXPECT_LT(summary.max_ms, 10000);
  }
  // A wait that does not fit is not begun.
  http_->Script({Reply::Of(429).With("Retry-After", "3600")});
  const ProgramResult r =
      Http({"--requests", "1", "--deadline", "30s", "--json"});
  EXPECT_EQ(ParseSummary(r.out).stop_reasons,
            (Reasons{{"wait_exceeds_deadline", 1}}));
  EXPECT_LT(ParseSummary(r.out).wall_s, 20);
}

TEST_F(LoadTest, AttemptTimeout) {
  http_->Script({Reply::Hang(), Reply::Of(200)});
  grpc_->Script({GrpcReply::Hang(), GrpcReply::Ok("")});
  const std::string http = TempPath("http.jsonl");
  const std::string grpc = TempPath("grpc.jsonl");
  EXPECT_EQ(
      Http({"--requests", "1", "--attempt-timeout", "200ms", "--records", http})
          .exit_code,
      0);
  const std::string config = TempPath("config.textproto");
  // That is of this option, not of the file.
  WriteFile(config, "retry { attempt_timeout: \"50s\" }");
  EXPECT_EQ(Grpc({"--requests", "1", "--attempt-timeout", "200ms", "--records",
                  grpc, "--idempotent", "--config", config})
                .exit_code,
            0);
  for (const std::string& path : {http, grpc}) {
    const std::vector<CallRecord> records = ReadRecords(path);
    ASSERT_EQ(records.size(), 1);
    EXPECT_EQ(records[0].total_attempts, 2);
    const AttemptRecord& first = records[0].attempts.front();
    EXPECT_TRUE(first.outcome.timed_out) << path;
    EXPECT_GE(first.end - first.start, absl::Milliseconds(199)) << path;
    EXPECT_LT(first.end - first.start, absl::Seconds(10)) << path;
  }
}

TEST_F(LoadTest, ProgressIsForTerminals) {
  http_->Script({Reply::Of(200).After(absl::Milliseconds(500))});
  const std::vector<std::string> args = {"--requests", "2", "--json"};
  EXPECT_EQ(Http(args).err, "");
  ProgramOptions options;
  options.terminal = true;
  const ProgramResult result = Http(args, options);
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(ParseSummary(result.out).succeeded, 2);
  EXPECT_THAT(result.err, HasSubstr("1 of 2 calls ended"));
  // And it is gone at the end.
  EXPECT_THAT(result.err, ContainsRegex("\r\033\\[K$"));
}

TEST_F(LoadTest, WhatCannotBeWritten) {
  if (access("/dev/full", W_OK) != 0) GTEST_SKIP() << "no /dev/full here";
  ProgramResult result = Http({"--requests", "1", "--records", "/dev/full"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("--records /dev/full"));
  ProgramOptions options;
  options.out_path = "/dev/full";
  result = Http({"--requests", "1"}, options);
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("stdout cannot be written"));
}

// FORBEAR_OFF=1: untouched, and counted all the same.
TEST_F(LoadTest, Off) {
  http_->Script({Reply::Of(429).With("Retry-After", "1"), Reply::Of(200)});
  grpc_->Script({GrpcReply::Error(grpc::StatusCode::RESOURCE_EXHAUSTED),
                 GrpcReply::Ok("")});
  ProgramOptions options;
  options.environment = {"FORBEAR_OFF=1"};
  const std::string http = TempPath("http.jsonl");
  const std::string grpc = TempPath("grpc.jsonl");
  const ProgramResult results[] = {
      Http({"--requests", "3", "--json", "--records", http}, options),
      Grpc({"--requests", "3", "--json", "--records", grpc}, options)};
  for (const ProgramResult& r : results) {
    EXPECT_EQ(r.exit_code, 1);
    const LoadSummary summary = ParseSummary(r.out);
    EXPECT_EQ(summary.succeeded, 2);
    EXPECT_EQ(summary.attempts, 3);
    EXPECT_EQ(summary.stop_reasons,
              (Reasons{{"success", 2}, {"attempts_exhausted", 1}}));
  }
  EXPECT_EQ(Disagreement(ReadRecords(http), {429, 200, 200}, true), "");
  EXPECT_EQ(Disagreement(ReadRecords(grpc), {8, 0, 0}, true), "");
}

TEST_F(LoadTest, LogGoesToStderr) {
  ProgramOptions options;
  options.environment = {"FORBEAR_LOG=1"};
  const ProgramResult result = Http({"--requests", "1", "--json"}, options);
  EXPECT_EQ(ParseSummary(result.out).succeeded, 1);
  EXPECT_THAT(result.err, HasSubstr("attempt 1 starts"));
}

}  // namespace
}  // namespace forbear::testing
