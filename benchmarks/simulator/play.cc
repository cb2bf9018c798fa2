#include "benchmarks/simulator/play.h"

#include <algorithm>
#include <cstddef>
#include <deque>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/call_record.h"
#include "core/outcome.h"
#include "core/pacer.h"
#include "core/random.h"
#include "core/stop_reason.h"
#include "core/time.h"
#include "runtime/server_clock.h"
#include "signals/header_field.h"
#include "signals/header_signals.h"
#include "tests/testing/limit_model.h"
#include "tests/testing/provider.h"
#include "tests/testing/provider_model.h"
#include "tests/testing/simulation.h"

namespace forbear::simulator {
namespace {

using testing::LimitModel;
using testing::Provider;
using testing::ProviderModel;
using testing::SimReply;
using testing::SimSend;
using testing::Simulation;
using Verdict = ProviderModel::Verdict;

constexpr int64_t kWave = 5;  // as in benchmarks/arena/analysis.py

std::string HttpDate(absl::Time time) {
  return absl::FormatTime("%a, %d %b %E4Y %H:%M:%S GMT", time,
                          absl::UTCTimeZone());
}

// The server, with its clocks and what it says.
class Server {
 public:
  Server(const Provider::Options& options, ProviderModel model,
         const Weather& weather)
      : options_(options),
        model_(std::move(model)),
        weather_(weather),
        seed_(MixRandom(weather.seed, 77)),
        wall_(absl::FromUnixSeconds(1790000000) +
              absl::Seconds(UnitRandom(seed_, 0))) {
    if (weather.grpc && options_.wait_style == Provider::WaitStyle::kSeconds) {
      options_.wait_style = Provider::WaitStyle::kMilliseconds;
    }
  }

  SimReply Answer(const SimSend& send) {
    if (!began_) began_ = send.time;
    const absl::Duration now = send.time - *began_;
    // The same clock; Date has whole seconds.
    const absl::Time wall = wall_ + now;
    clock_.OnDate(absl::FromUnixSeconds(absl::ToUnixSeconds(wall)), wall);
    const ProviderModel::Decision decision =
        model_.Decide(now, {absl::StrCat(send.call), /*idempotent=*/true});
    SimReply reply = ReplyOf(decision, now);
    if (reply.head != absl::InfiniteDuration()) {
      reply.head =
          decision.latency * (1 + weather_.jitter * (2 * Chance() - 1));
    }
    arrivals_.push_back({now, decision.verdict});
    return reply;
  }

  // The last arrival, in a line.
  std::string Last() const {
    static constexpr const char* kNames[] = {
        "ok",           "refused",      "error",       "answer lost",   "hang",
        "outage error", "outage reset", "outage hang", "outage refuses"};
    const Arrival& last = arrivals_.back();
    return absl::StrFormat("%9.4f %-14s", absl::ToDoubleSeconds(last.time),
                           kNames[static_cast<int>(last.verdict)]);
  }

  // What came, as the door saw it.
  void Count(Played* played) const {
    const ProviderModel::Options& model = options_.model;
    std::map<int64_t, int64_t> refused;
    std::vector<absl::Duration> after;
    for (const Arrival& a : arrivals_) {
      if (a.verdict == Verdict::kRefuse || a.verdict == Verdict::kOutageError ||
          a.verdict == Verdict::kOutageRefuse) {
        ++refused[a.time / absl::Milliseconds(100)];
      }
      if (model.outages.empty()) continue;
      const ProviderModel::Outage& outage = model.outages.front();
      if (a.time >= outage.until) {
        after.push_back(a.time);
      } else if (a.time >= outage.from) {
        ++played->outage_sends;
      }
    }
    int64_t waves = 0;
    for (const auto& [bin, count] : refused) waves += count >= kWave ? 1 : 0;
    played->waves_after_first = std::max<int64_t>(0, waves - 1);
    std::sort(after.begin(), after.end());
    size_t first = 0;
    for (size_t last = 0; last < after.size(); ++last) {
      while (after[last] - after[first] >= absl::Milliseconds(100)) ++first;
      played->fullest_after_outage = std::max<int64_t>(
          played->fullest_after_outage, static_cast<int64_t>(last - first + 1));
    }
  }

 private:
  struct Arrival {
    absl::Duration time;
    Verdict verdict;
  };

  double Chance() { return UnitRandom(seed_, ++chances_); }

  // What the client reads of the wait.
  std::optional<absl::Duration> Announce(absl::Duration wait,
                                         absl::Duration now) const {
    if (options_.wait_style == Provider::WaitStyle::kNone) return std::nullopt;
    wait *= options_.wait_factor;
    const absl::Time wall = wall_ + now;
    const bool ms = options_.wait_style == Provider::WaitStyle::kMilliseconds;
    const absl::Duration unit = ms ? absl::Milliseconds(1) : absl::Seconds(1);
    std::string text;
    if (options_.wait_text) {
      text = *options_.wait_text;
    } else if (options_.wait_style == Provider::WaitStyle::kDate) {
      text = HttpDate(wall + wait - absl::Nanoseconds(1) + absl::Seconds(1));
    } else {
      text = absl::StrCat(std::max<int64_t>(1, absl::Ceil(wait, unit) / unit));
    }
    const std::string date = HttpDate(wall);
    const HeaderField fields[] = {{ms ? "retry-after-ms" : "Retry-After", text},
                                  {"Date", date}};
    return ReadHeaderSignals(fields,
                             WallTimesOf(fields, wall, clock_.AtLeast(wall)))
        .wait();
  }

  SimReply Refused(absl::Duration wait, absl::Duration now) const {
    SimReply reply;
    const std::optional<absl::Duration> told = Announce(wait, now);
    if (options_.refusal_status == 429) {
      reply.outcome = testing::ThrottledOutcome(told);
    } else {
      reply.outcome = testing::TransientOutcome(Processed::kNo, told);
      reply.outcome.shed = true;
    }
    reply.body = options_.refusal_body_delay;
    return reply;
  }

  std::optional<LimitStand> Stand(const LimitModel::Answer& limit) const {
    if (options_.limit_headers == Provider::LimitHeaders::kNone ||
        limit.limit == 0) {
      return std::nullopt;
    }
    LimitStand stand;
    stand.limit = limit.limit;
    stand.remaining = limit.remaining;
    stand.reset = absl::Ceil(
        limit.reset, options_.limit_headers == Provider::LimitHeaders::kSeconds
                         ? absl::Seconds(1)
                         : absl::Milliseconds(1));
    return stand;
  }

  SimReply ReplyOf(const ProviderModel::Decision& decision,
                   absl::Duration now) const {
    SimReply reply;
    switch (decision.verdict) {
      case Verdict::kServe:
        reply.outcome = testing::OkOutcome();
        reply.stand = Stand(decision.limit);
        break;
      case Verdict::kRefuse:
      case Verdict::kOutageRefuse:
        return Refused(decision.wait, now);
      case Verdict::kError:
        reply.outcome = testing::TransientOutcome(Processed::kUnknown);
        reply.outcome.status = 500;
        break;
      case Verdict::kOutageError:
        reply.outcome = testing::TransientOutcome(
            Processed::kNo, decision.wait > absl::ZeroDuration()
                                ? Announce(decision.wait, now)
                                : std::nullopt);
        reply.outcome.shed = true;
        break;
      case Verdict::kLoseAnswer:
      case Verdict::kOutageReset:
        reply.outcome = testing::TransientOutcome(Processed::kUnknown);
        reply.outcome.status = 0;
        reply.headless = true;
        break;
      case Verdict::kHang:
      case Verdict::kOutageHang:
        reply.head = absl::InfiniteDuration();
        break;
    }
    return reply;
  }

  Provider::Options options_;
  ProviderModel model_;
  const Weather weather_;
  const uint64_t seed_;
  const absl::Time wall_;  // at the beginning
  std::optional<MonotonicTime> began_;
  ServerClock clock_;  // the client's
  uint64_t chances_ = 0;
  std::vector<Arrival> arrivals_;
};

// How crowded it is after a wait.
class AfterWaits {
 public:
  // A send leaves.
  void OnSend(const Pacer& pacer, MonotonicTime now) {
    if (pacer.IsGated(now)) return;
    if (pacer.gate_until() != gate_) {
      gate_ = pacer.gate_until();
      recent_.clear();
    }
    recent_.push_back(now);
    while (now - recent_.front() >= absl::Milliseconds(100)) {
      recent_.pop_front();
    }
    if (!pacer.limit().known() || now - gate_ > absl::Seconds(1)) return;
    most_ = std::max(most_, static_cast<double>(recent_.size()) /
                                std::max(2.0, 0.15 * pacer.limit().rate()));
  }
  double most() const { return most_; }

 private:
  MonotonicTime gate_;
  std::deque<MonotonicTime> recent_;
  double most_ = 0;
};

// What a pacer knows.
std::string Knows(const Pacer& pacer, MonotonicTime now) {
  const std::optional<double> rate = pacer.RateAt(now);
  return absl::StrFormat(
      "rate %.2f%s learned %.2f ±%.2f of %.1f%s%s", rate.value_or(0),
      pacer.IsGated(now) ? " gate" : "", pacer.limit().rate(),
      pacer.limit().doubt(), pacer.limit().burst(),
      pacer.confirming() ? " confirming" : "",
      pacer.told().known() ? absl::StrFormat(" told %.2f", pacer.told().rate())
                           : "");
}

}  // namespace

Played Play(const arena::Scenario& scenario, absl::Duration ideal,
            const Weather& weather) {
  Played played;
  absl::StatusOr<ProviderModel> model =
      ProviderModel::Create(scenario.provider.model);
  if (!model.ok()) {
    played.faults = std::string(model.status().message());
    return played;
  }
  Server server(scenario.provider, *std::move(model), weather);

  testing::SimOptions options;
  options.seed = weather.seed;
  options.transit = weather.transit;
  const auto processes = static_cast<size_t>(scenario.processes);
  options.quotas = options.endpoints = processes;
  if (weather.peers) {
    options.quota.peers = options.endpoint.peers = scenario.processes;
  }
  Simulation simulation(options);
  std::vector<AfterWaits> after(processes);
  simulation.SetServer([&](const SimSend& send) {
    SimReply reply = server.Answer(send);
    after[send.quota].OnSend(simulation.quota(send.quota).pacer(), send.time);
    if (weather.trace != nullptr) {
      absl::FPrintF(weather.trace, "%s %2d | %s | %s\n", server.Last(),
                    send.quota,
                    Knows(simulation.quota(send.quota).pacer(), send.time),
                    Knows(simulation.endpoint(send.quota).pacer(), send.time));
    }
    return reply;
  });
  testing::SimCallOptions call;
  call.retry.attempt_timeout = scenario.crowd.attempt_timeout;
  call.retry.max_elapsed = weather.patience;
  std::vector<int> left(processes, scenario.crowd.calls / scenario.processes);
  std::vector<double> took;
  // Each worker's next call begins when its last one has ended.
  const auto next = [&](size_t process, absl::Duration start) {
    if (left[process]-- <= 0) return;
    call.start = start;
    call.quota = call.endpoint = process;
    simulation.AddCall(call);
    ++played.asked;
  };
  simulation.SetOnFinish([&](const Simulation::Call& done) {
    const absl::Duration end = done.finished_at() - simulation.start();
    if (!done.record().attempts.empty()) {
      const AttemptRecord& first = done.record().attempts.front();
      played.held =
          std::max(played.held,
                   absl::ToDoubleSeconds(first.start - done.record().begin));
    }
    if (done.record().stop_reason == StopReason::kSuccess) {
      ++played.answered;
      took.push_back(absl::ToDoubleSeconds(end - done.options().start));
    }
    next(done.options().quota, end);
  });
  for (int i = 0; i < scenario.crowd.workers; ++i) {
    next(static_cast<size_t>(i) % processes, absl::Microseconds(10) * i);
  }
  simulation.Run();

  played.sends = static_cast<int64_t>(simulation.sends().size());
  played.wasted = played.sends - played.answered;
  played.x_ideal = absl::FDivDuration(simulation.LastEnd(), ideal);
  server.Count(&played);
  for (const AfterWaits& a : after) {
    played.crowding = std::max(played.crowding, a.most());
  }
  if (!took.empty()) {
    const size_t at = (took.size() * 95 - 1) / 100;
    std::nth_element(took.begin(), took.begin() + static_cast<long>(at),
                     took.end());
    played.p95 = took[at];
  }
  played.faults = simulation.Faults();
  return played;
}

}  // namespace forbear::simulator
