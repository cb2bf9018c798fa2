#include "benchmarks/arena/scenario.h"

#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "benchmarks/arena/scenario_groups.h"
#include "tests/testing/limit_model.h"
#include "tests/testing/provider_model.h"

namespace forbear::arena {
namespace {

using testing::LimitModel;
using testing::ProviderModel;

std::vector<Scenario> MakeAll() {
  std::vector<Scenario> all = MainScenarios();
  for (std::vector<Scenario>& group : std::vector<std::vector<Scenario>>{
           BucketScenarios(), VariantScenarios()}) {
    for (Scenario& scenario : group) all.push_back(std::move(scenario));
  }
  for (Scenario& scenario : all) {
    scenario.ideal = IdealOf(scenario);
  }
  return all;
}

std::string Seconds(absl::Duration duration) {
  return duration == absl::InfiniteDuration()
             ? "null"
             : absl::StrFormat("%.9g", absl::ToDoubleSeconds(duration));
}

std::string Rate(const ProviderModel::Options& model) {
  if (model.limit_kind != LimitModel::Kind::kBucket) {
    return absl::StrFormat("%.9g",
                           model.burst / absl::ToDoubleSeconds(model.window));
  }
  return std::isinf(model.rate) ? "null" : absl::StrFormat("%.9g", model.rate);
}

std::string OutageOf(const ProviderModel::Options& model) {
  if (model.outages.empty()) return "null";
  const ProviderModel::Outage& outage = model.outages.front();
  return absl::StrCat("[", Seconds(outage.from), ",", Seconds(outage.until),
                      "]");
}

// Names and titles are ours, and have nothing that JSON would escape.
std::string Json(const Scenario& scenario) {
  const ProviderModel::Options& model = scenario.provider.model;
  return absl::StrFormat(
      R"({"name":"%s","group":"%s","title":"%s","workers":%d,"calls":%d,)"
      R"("processes":%d,"attempt_timeout_s":%s,"grpc":%s,"obeyable":"%s",)"
      R"("answer_s":%s,"rate":%s,"outage_s":%s,"ideal_s":%s,)"
      R"("ideal_wasted":%d})",
      scenario.name, scenario.group, scenario.title, scenario.crowd.workers,
      scenario.crowd.calls, scenario.processes,
      Seconds(scenario.crowd.attempt_timeout), scenario.grpc ? "true" : "false",
      scenario.obeyable, Seconds(model.latency), Rate(model), OutageOf(model),
      Seconds(scenario.ideal.wall), scenario.ideal.wasted);
}

}  // namespace

const std::vector<Scenario>& AllScenarios() {
  // Never destroyed: it may be used until the very end.
  static const auto* const kAll = new std::vector<Scenario>(MakeAll());
  return *kAll;
}

const Scenario* FindScenario(absl::string_view name) {
  for (const Scenario& scenario : AllScenarios()) {
    if (scenario.name == name) return &scenario;
  }
  return nullptr;
}

Ideal IdealOf(const Scenario& scenario) {
  return PlayIdeal(scenario.provider.model, scenario.crowd);
}

bool Binds(const Scenario& scenario) {
  const ProviderModel::Options& model = scenario.provider.model;
  return scenario.crowd.workers / absl::ToDoubleSeconds(model.latency) >
         1.2 * model.rate;
}

std::string ScenariosJson() {
  std::string json = "[";
  for (const Scenario& scenario : AllScenarios()) {
    absl::StrAppend(&json, json.size() > 1 ? ",\n " : "", Json(scenario));
  }
  return json + "]\n";
}

}  // namespace forbear::arena
