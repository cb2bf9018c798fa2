#include "benchmarks/arena/door.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "tests/testing/fault.h"

namespace forbear::arena {
namespace {

using testing::Arrival;
using testing::ArrivalLog;

constexpr std::chrono::milliseconds kBeat(5);
constexpr size_t kMostBeats = 1 << 20;  // more than an hour

absl::Duration Percentile(const std::vector<absl::Duration>& sorted,
                          double part) {
  if (sorted.empty()) return absl::ZeroDuration();
  const auto rank =
      static_cast<size_t>(std::ceil(part * static_cast<double>(sorted.size())));
  return sorted[std::max<size_t>(rank, 1) - 1];
}

std::string Seconds(absl::Duration duration) {
  return duration == absl::InfiniteDuration()
             ? "null"
             : absl::StrFormat("%.6f", absl::ToDoubleSeconds(duration));
}

// Since `began`, in place of since the log's making.
void Append(const ArrivalLog& log, std::chrono::steady_clock::time_point began,
            std::vector<Arrival>* all) {
  const absl::Duration shift = absl::FromChrono(log.start() - began);
  for (Arrival& arrival : log.Snapshot()) {
    // The first one began it, an instant after it was noted.
    arrival.since_start =
        std::max(arrival.since_start + shift, absl::ZeroDuration());
    arrival.answer_due += shift;
    arrival.answered += shift;
    all->push_back(std::move(arrival));
  }
}

}  // namespace

Lateness LatenessOf(std::vector<absl::Duration> values) {
  std::sort(values.begin(), values.end());
  return {Percentile(values, 0.50), Percentile(values, 0.99),
          Percentile(values, 1)};
}

Heartbeat::Heartbeat() : thread_([this] { Run(); }) {}

Heartbeat::~Heartbeat() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    ended_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

void Heartbeat::Run() {
  std::unique_lock<std::mutex> lock(mutex_);
  while (!ended_ && late_.size() < kMostBeats) {
    const auto due = std::chrono::steady_clock::now() + kBeat;
    if (wake_.wait_until(lock, due, [this] { return ended_; })) return;
    late_.push_back(absl::FromChrono(std::chrono::steady_clock::now() - due));
  }
}

Lateness Heartbeat::lateness() const {
  std::vector<absl::Duration> late;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    late = late_;
  }
  return LatenessOf(std::move(late));
}

std::vector<Arrival> ArrivalsOf(const testing::Provider& provider) {
  std::vector<Arrival> all;
  const std::optional<std::chrono::steady_clock::time_point> began =
      provider.began_at();
  if (!began.has_value()) return all;
  Append(provider.http().log(), *began, &all);
  Append(provider.grpc().log(), *began, &all);
  std::stable_sort(all.begin(), all.end(),
                   [](const Arrival& a, const Arrival& b) {
                     return a.since_start < b.since_start;
                   });
  return all;
}

std::string DoorText(const DoorRun& run, const std::vector<Arrival>& arrivals) {
  std::string text =
      absl::StrFormat(R"({"scenario":"%s","began_ns":%d,"sends":%d,)"
                      R"("late_ms":{"p50":%.3f,"p99":%.3f,"max":%.3f}})"
                      "\n",
                      run.scenario, run.began_ns, run.sends,
                      absl::ToDoubleMilliseconds(run.late.p50),
                      absl::ToDoubleMilliseconds(run.late.p99),
                      absl::ToDoubleMilliseconds(run.late.max));
  for (const Arrival& arrival : arrivals) {
    absl::StrAppendFormat(
        &text,
        R"({"i":%d,"t":%s,"s":%d,"f":"%s","due":%s,"at":%s%s})"
        "\n",
        arrival.index, Seconds(arrival.since_start), arrival.status,
        testing::FaultName(arrival.fault), Seconds(arrival.answer_due),
        Seconds(arrival.answered), arrival.cancelled ? R"(,"gone":true)" : "");
  }
  return text;
}

}  // namespace forbear::arena
