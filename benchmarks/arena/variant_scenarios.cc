#include <functional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "benchmarks/arena/scenario.h"
#include "benchmarks/arena/scenario_groups.h"
#include "tests/testing/limit_model.h"
#include "tests/testing/provider.h"
#include "tests/testing/provider_model.h"

namespace forbear::arena {
namespace {

using testing::LimitModel;
using testing::Provider;
using Outage = testing::ProviderModel::Outage;

struct Variant {
  const char* name;
  const char* title;
  const char* obeyable;
  // Makes it of the one bucket.
  std::function<void(Scenario*)> make;
};

auto Says(const char* text) {
  return [text](Scenario* s) { s->provider.wait_text = std::string(text); };
}

void SaysNothing(Scenario* s) {
  s->provider.wait_style = Provider::WaitStyle::kNone;
}

auto Lies(double factor) {
  return [factor](Scenario* s) {
    s->provider.wait_style = Provider::WaitStyle::kMilliseconds;
    s->provider.wait_factor = factor;
  };
}

// 20 in a second.
auto Windows(LimitModel::Kind kind, bool announced) {
  return [kind, announced](Scenario* s) {
    s->provider.model.limit_kind = kind;
    s->provider.model.burst = 20;
    if (!announced) SaysNothing(s);
  };
}

auto Changes(double factor, bool announced) {
  return [factor, announced](Scenario* s) {
    s->provider.model.limit_changes = {{absl::Seconds(4), factor}};
    if (!announced) SaysNothing(s);
  };
}

auto Penalises(const std::function<void(Scenario*)>& announce) {
  return [announce](Scenario* s) {
    s->provider.model.penalise = true;
    announce(s);
  };
}

auto IsDown(Outage::Kind kind) {
  return [kind](Scenario* s) {
    s->provider.model.outages = {
        {absl::Seconds(2), absl::Seconds(5), kind, absl::ZeroDuration()}};
    s->crowd.attempt_timeout = absl::Seconds(1);
  };
}

std::vector<Variant> Variants() {
  using Kind = LimitModel::Kind;
  static constexpr char kYes[] = "yes";
  static constexpr char kNo[] = "no";
  static constexpr char kNotTold[] = "not told";
  return {
      {"wait-short", "waits are told at a fifth of their length", kNo,
       Lies(0.2)},
      {"wait-long", "waits are told at eight times their length", kYes,
       Lies(8)},
      {"wait-absurd", "Retry-After: 999999999", kNo, Says("999999999")},
      {"wait-zero", "Retry-After: 0", kNo, Says("0")},
      {"wait-negative", "Retry-After: -5", kNo, Says("-5")},
      {"wait-past", "Retry-After is a date of the past", kNo,
       Says("Fri, 31 Dec 1999 23:59:59 GMT")},
      {"wait-garbage", "Retry-After: soon", kNo, Says("soon")},
      {"fixed-int", "20 in each second; Retry-After", kYes,
       Windows(Kind::kFixedWindow, true)},
      {"fixed-none", "20 in each second; says nothing", kNotTold,
       Windows(Kind::kFixedWindow, false)},
      {"sliding-int", "20 in any second; Retry-After", kYes,
       Windows(Kind::kSlidingWindow, true)},
      {"sliding-none", "20 in any second; says nothing", kNotTold,
       Windows(Kind::kSlidingWindow, false)},
      {"penalty-none", "refused calls take a token too; says nothing", kNotTold,
       Penalises(SaysNothing)},
      {"penalty-short",
       "refused calls take a token too; waits are told at a fifth", kNo,
       Penalises(Lies(0.2))},
      {"slower-int", "after 4 s a third of the rate; Retry-After", kYes,
       Changes(1.0 / 3, true)},
      {"slower-none", "after 4 s a third of the rate; says nothing", kNotTold,
       Changes(1.0 / 3, false)},
      {"faster-int", "after 4 s three times the rate; Retry-After", kYes,
       Changes(3, true)},
      {"faster-none", "after 4 s three times the rate; says nothing", kNotTold,
       Changes(3, false)},
      {"shed-int", "503 in place of 429; Retry-After", kYes,
       [](Scenario* s) { s->provider.refusal_status = 503; }},
      {"outage-hang", "from 2 s to 5 s: no answer", kYes,
       IsDown(Outage::Kind::kHang)},
      {"outage-reset", "from 2 s to 5 s: resets", kYes,
       IsDown(Outage::Kind::kReset)},
      {"body-huge", "refusals have a body of 1 MiB", kYes,
       [](Scenario* s) { s->provider.refusal_body_bytes = 1 << 20; }},
      {"body-slow", "refusals' bodies come half a second late", kYes,
       [](Scenario* s) {
         s->provider.refusal_body_delay = absl::Milliseconds(500);
       }},
      {"errors", "5 % errors on top", kYes,
       [](Scenario* s) { s->provider.model.error_fraction = 0.05; }},
      {"processes-none", "four processes; says nothing", kNotTold,
       [](Scenario* s) {
         SaysNothing(s);
         s->processes = 4;
         s->crowd.workers = 40;
       }},
  };
}

}  // namespace

std::vector<Scenario> VariantScenarios() {
  std::vector<Scenario> all;
  for (const Variant& variant : Variants()) {
    Scenario scenario = BucketScenario();
    scenario.name = variant.name;
    scenario.group = "variants";
    scenario.title = variant.title;
    scenario.obeyable = variant.obeyable;
    scenario.crowd.calls = 200;
    variant.make(&scenario);
    all.push_back(scenario);
  }
  return all;
}

}  // namespace forbear::arena
