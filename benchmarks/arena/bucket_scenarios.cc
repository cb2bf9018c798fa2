#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "benchmarks/arena/clairvoyant.h"
#include "benchmarks/arena/scenario.h"
#include "benchmarks/arena/scenario_groups.h"
#include "core/random.h"
#include "tests/testing/provider.h"

namespace forbear::arena {
namespace {

using testing::Provider;

constexpr uint64_t kSeed = 2026;
constexpr int kBuckets = 12;
constexpr absl::Duration kLongest = absl::Seconds(25);

struct Announcement {
  const char* name;
  const char* words;
  Provider::WaitStyle wait_style;
  Provider::LimitHeaders limit_headers;
};
constexpr Announcement kAnnouncements[] = {
    {"none", "says nothing", Provider::WaitStyle::kNone,
     Provider::LimitHeaders::kNone},
    {"int", "Retry-After in seconds", Provider::WaitStyle::kSeconds,
     Provider::LimitHeaders::kNone},
    {"date", "Retry-After is a date", Provider::WaitStyle::kDate,
     Provider::LimitHeaders::kNone},
    {"ms", "retry-after-ms", Provider::WaitStyle::kMilliseconds,
     Provider::LimitHeaders::kNone},
    {"xrl", "retry-after-ms and x-ratelimit-…",
     Provider::WaitStyle::kMilliseconds, Provider::LimitHeaders::kMilliseconds},
};

// Its logarithm is uniform. `u` in [0, 1).
double LogUniform(double from, double to, double u) {
  return from * std::pow(to / from, u);
}

// As many calls as wanted, or as a clairvoyant makes in the longest time.
int CallsWithin(const Scenario& scenario, int wanted) {
  Crowd crowd = scenario.crowd;
  const auto fits = [&](int calls) {
    crowd.calls = calls;
    return PlayIdeal(scenario.provider.model, crowd).wall <= kLongest;
  };
  if (fits(wanted)) return wanted;
  int good = 1;
  int bad = wanted;
  while (bad - good > 1) {
    const int middle = good + (bad - good) / 2;
    (fits(middle) ? good : bad) = middle;
  }
  return good;
}

Scenario DrawBucket(uint64_t seed, int number) {
  seed = MixRandom(seed, static_cast<uint64_t>(number));
  Scenario scenario = PlainScenario();
  testing::ProviderModel::Options& model = scenario.provider.model;
  // Of a rate, three digits.
  const double rate = LogUniform(2, 200, UnitRandom(seed, 0));
  const double unit = std::pow(10, std::floor(std::log10(rate)) - 2);
  model.rate = std::round(rate / unit) * unit;
  model.burst = std::round(LogUniform(1, 100, UnitRandom(seed, 1)));
  const double answer = LogUniform(5, 500, UnitRandom(seed, 2));
  model.latency = absl::Milliseconds(std::round(answer));
  model.refusal_latency = model.latency;
  constexpr int kWorkers[] = {1, 4, 10, 64};
  scenario.crowd.workers = kWorkers[MixRandom(seed, 3) % 4];
  const double reach =
      scenario.crowd.workers / absl::ToDoubleSeconds(model.latency);
  const int wanted = static_cast<int>(
      std::max(400.0, model.burst + 20 * std::min(model.rate, reach)));
  scenario.crowd.calls = wanted;
  return scenario;
}

// Makes it announce its waits in that way.
void Announce(absl::string_view announcement, Scenario* scenario) {
  const testing::ProviderModel::Options& model = scenario->provider.model;
  for (const Announcement& known : kAnnouncements) {
    if (announcement != known.name) continue;
    scenario->title = absl::StrFormat(
        "%g/s, holds %g, answers take %g ms, %d workers, %d calls; %s",
        model.rate, model.burst, absl::ToDoubleMilliseconds(model.latency),
        scenario->crowd.workers, scenario->crowd.calls, known.words);
    scenario->provider.wait_style = known.wait_style;
    scenario->provider.limit_headers = known.limit_headers;
  }
}

}  // namespace

Scenario RandomBucket(uint64_t seed, int number,
                      absl::string_view announcement) {
  Scenario scenario = DrawBucket(seed, number);
  Announce(announcement, &scenario);
  return scenario;
}

const std::vector<std::string>& Announcements() {
  static const auto* const kNames = [] {
    auto* names = new std::vector<std::string>;
    for (const Announcement& known : kAnnouncements) {
      names->push_back(known.name);
    }
    return names;
  }();
  return *kNames;
}

std::vector<Scenario> BucketScenarios() {
  std::vector<Scenario> all;
  for (int number = 1; number <= kBuckets; ++number) {
    Scenario bucket = DrawBucket(kSeed, number);
    bucket.crowd.calls = CallsWithin(bucket, bucket.crowd.calls);
    for (const std::string& announcement : Announcements()) {
      Scenario scenario = bucket;
      Announce(announcement, &scenario);
      scenario.group = "buckets";
      scenario.name = absl::StrFormat("bucket-%02d-%s", number, announcement);
      all.push_back(std::move(scenario));
    }
  }
  return all;
}

}  // namespace forbear::arena
