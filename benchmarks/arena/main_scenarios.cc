#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "benchmarks/arena/scenario.h"
#include "benchmarks/arena/scenario_groups.h"
#include "tests/testing/provider.h"
#include "tests/testing/provider_model.h"

namespace forbear::arena {

using testing::Provider;
using testing::ProviderModel;
using Outage = ProviderModel::Outage;

Scenario PlainScenario() {
  Scenario scenario;
  ProviderModel::Options& model = scenario.provider.model;
  model.rate = std::numeric_limits<double>::infinity();
  model.error_fraction = 0;
  model.latency = absl::Milliseconds(20);
  model.refusal_latency = absl::Milliseconds(20);
  scenario.provider.begin = Provider::Begin::kFirstRequest;
  scenario.crowd = {10, 100};
  return scenario;
}

Scenario BucketScenario() {
  Scenario scenario = PlainScenario();
  scenario.provider.model.rate = 20;
  scenario.provider.model.burst = 10;
  scenario.crowd.calls = 400;
  return scenario;
}

namespace {

Scenario Named(std::string name, std::string title, Scenario scenario) {
  scenario.name = std::move(name);
  scenario.group = "main";
  scenario.title = std::move(title);
  return scenario;
}

Scenario FirstThree() {
  Scenario scenario = PlainScenario();
  scenario.provider.model.refuse_first = 3;
  return Named("S1", "the first three sends get 429 and Retry-After: 1",
               scenario);
}

Scenario AllForAWhile() {
  Scenario scenario = PlainScenario();
  scenario.provider.model.outages = {{absl::ZeroDuration(), absl::Seconds(3),
                                      Outage::Kind::kRefuse,
                                      absl::InfiniteDuration()}};
  return Named("S1w", "429 for 3 s, with a Retry-After that is true", scenario);
}

Scenario ShutThenShedding() {
  Scenario scenario = PlainScenario();
  scenario.grpc = true;
  scenario.crowd = {100, 300};
  Provider::Options& provider = scenario.provider;
  provider.model.rate = 50;
  provider.model.burst = 10;
  provider.refusal_status = 503;
  provider.wait_style = Provider::WaitStyle::kNone;
  provider.model.outages = {{absl::ZeroDuration(), absl::Seconds(5),
                             Outage::Kind::kError, absl::ZeroDuration()}};
  return Named("S5", "503 for 5 s, then a bucket of 10, 50/s, that says 503",
               scenario);
}

Scenario RandomFaults() {
  Scenario scenario = PlainScenario();
  scenario.crowd = {10, 400, absl::Seconds(2)};
  ProviderModel::Options& model = scenario.provider.model;
  // The first whose first 430 arrivals meet what is to be expected: 21, 4 and 4.
  model.seed = 29;
  model.error_fraction = 0.05;
  model.lost_answer_fraction = 0.01;
  model.hang_fraction = 0.01;
  return Named("S6", "5 % errors, 1 % resets, 1 % hang", scenario);
}

}  // namespace

std::vector<Scenario> MainScenarios() {
  std::vector<Scenario> all = {FirstThree(), AllForAWhile()};
  Scenario bucket = BucketScenario();
  bucket.grpc = true;
  all.push_back(
      Named("S2", "a bucket of 10, 20/s, that says Retry-After", bucket));
  Scenario penalising = bucket;
  penalising.provider.model.penalise = true;
  all.push_back(
      Named("S2b", "as S2, and refused calls take a token too", penalising));
  Scenario silent = bucket;
  silent.provider.wait_style = Provider::WaitStyle::kNone;
  all.push_back(Named("S3", "as S2, and says nothing about waits", silent));
  Scenario date = bucket;
  date.grpc = false;
  date.provider.wait_style = Provider::WaitStyle::kDate;
  all.push_back(Named("S4", "as S2, and Retry-After is a date", date));
  all.push_back(ShutThenShedding());
  Scenario told = ShutThenShedding();
  told.provider.wait_style = Provider::WaitStyle::kSeconds;
  all.push_back(Named("S5w", "as S5, and the bucket says Retry-After", told));
  all.push_back(RandomFaults());
  Scenario talkative = bucket;
  talkative.provider.wait_style = Provider::WaitStyle::kMilliseconds;
  talkative.provider.limit_headers = Provider::LimitHeaders::kMilliseconds;
  all.push_back(Named("S7",
                      "as S2, and says retry-after-ms and how much is left "
                      "(x-ratelimit-…)",
                      talkative));
  Scenario processes = BucketScenario();
  processes.processes = 4;
  processes.crowd = {40, 240};
  all.push_back(Named("P4",
                      "as S2, and its callers are four processes that do "
                      "not know of each other",
                      processes));
  return all;
}

}  // namespace forbear::arena
