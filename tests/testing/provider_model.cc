#include "tests/testing/provider_model.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/status/status.h"

namespace forbear::testing {
namespace {

constexpr size_t kMaxCalls = 100000;

// SplitMix64: the same on every machine, unlike the generators of Abseil.
uint64_t Mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

// In [0, 1), a function of (seed, stream, index).
double Uniform(uint64_t seed, uint64_t stream, uint64_t index) {
  return static_cast<double>(Mix(Mix(Mix(seed) ^ stream) ^ index) >> 11) *
         0x1.0p-53;
}

enum Stream : uint64_t { kErrors, kLostAnswers };

absl::Status Check(const ProviderModel::Options& options) {
  const auto bad = [](const char* what) {
    return absl::InvalidArgumentError(what);
  };
  // Written so that NaN fails.
  if (!(options.rate > 0)) return bad("rate must be > 0");
  if (!(options.burst >= 1) || std::isinf(options.burst)) {
    return bad("burst must be finite and >= 1");
  }
  if (!(options.error_fraction >= 0 && options.error_fraction <= 1)) {
    return bad("error_fraction must be in [0, 1]");
  }
  if (options.lost_answers < 0 ||
      options.lost_answers > options.lost_answers_within) {
    return bad("lost_answers must be in [0, lost_answers_within]");
  }
  if (options.max_faults_per_call < 0) {
    return bad("max_faults_per_call must be >= 0");
  }
  if (options.latency < absl::ZeroDuration()) {
    return bad("latency must be >= 0");
  }
  for (const ProviderModel::Outage& outage : options.outages) {
    if (outage.from < absl::ZeroDuration() || outage.until < outage.from ||
        outage.retry_after < absl::ZeroDuration()) {
      return bad("an outage must have 0 <= from <= until, retry_after >= 0");
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ProviderModel> ProviderModel::Create(const Options& options) {
  const absl::Status status = Check(options);
  if (!status.ok()) return status;
  return ProviderModel(options);
}

ProviderModel::ProviderModel(const Options& options)
    : options_(options), token_time_(absl::Seconds(1 / options.rate)) {
  // The first steps of a shuffle.
  std::vector<int64_t> indexes(options.lost_answers_within);
  for (size_t i = 0; i < indexes.size(); ++i) indexes[i] = i;
  for (int i = 0; i < options.lost_answers; ++i) {
    const size_t rest = indexes.size() - i;
    const size_t pick =
        i + static_cast<size_t>(rest * Uniform(options.seed, kLostAnswers, i));
    std::swap(indexes[i], indexes[pick]);
    lost_answers_.insert(indexes[i]);
  }
}

ProviderModel::Decision ProviderModel::Decide(absl::Duration now,
                                              const Request& request) {
  ++stats_.sends;
  Decision decision;
  if (const Outage* outage = OutageAt(now)) {
    switch (outage->kind) {
      case Outage::Kind::kError:
        decision.verdict = Verdict::kOutageError;
        decision.wait = outage->retry_after;
        break;
      case Outage::Kind::kReset:
      case Outage::Kind::kClosedPort:
        decision.verdict = Verdict::kOutageReset;
        break;
      case Outage::Kind::kHang:
        decision.verdict = Verdict::kOutageHang;
        break;
    }
    return decision;
  }

  if (!std::isinf(options_.rate)) {
    // In times, not in tokens: exact, so that who comes back after `wait`
    // finds its token.
    now_ = std::max(now_, now);
    const absl::Duration full_with_this =
        std::max(full_at_, now_) + token_time_;
    const absl::Duration wait =
        full_with_this - options_.burst * token_time_ - now_;
    if (wait > absl::ZeroDuration()) {
      if (options_.penalise) {
        full_at_ =
            std::min(full_with_this, now_ + 2 * options_.burst * token_time_);
      }
      ++stats_.refused;
      decision.verdict = Verdict::kRefuse;
      decision.wait =
          full_at_ + token_time_ - options_.burst * token_time_ - now_;
      return decision;
    }
    full_at_ = full_with_this;
  }

  decision.verdict = FaultOf(admitted_++);
  decision.latency = options_.latency;
  Call* call = request.call_id.empty() ? nullptr : FindCall(request.call_id);
  if (decision.verdict != Verdict::kServe && call != nullptr &&
      ++call->faults > options_.max_faults_per_call) {
    decision.verdict = Verdict::kServe;
  }
  switch (decision.verdict) {
    case Verdict::kError:
      ++stats_.errors;
      break;
    case Verdict::kLoseAnswer:
      ++stats_.lost_answers;
      Execute(call, request.idempotent);
      break;
    default:
      ++stats_.answered;
      Execute(call, request.idempotent);
  }
  return decision;
}

const ProviderModel::Outage* ProviderModel::OutageAt(absl::Duration now) const {
  for (const Outage& outage : options_.outages) {
    if (now >= outage.from && now < outage.until) return &outage;
  }
  return nullptr;
}

ProviderModel::Verdict ProviderModel::FaultOf(int64_t admitted_index) const {
  if (lost_answers_.contains(admitted_index)) return Verdict::kLoseAnswer;
  if (Uniform(options_.seed, kErrors, admitted_index) <
      options_.error_fraction) {
    return Verdict::kError;
  }
  return Verdict::kServe;
}

ProviderModel::Call* ProviderModel::FindCall(const std::string& id) {
  const auto [it, is_new] = calls_.try_emplace(id);
  if (!is_new) return &it->second;
  call_ids_.push_back(id);
  if (call_ids_.size() > kMaxCalls) {
    calls_.erase(call_ids_.front());
    call_ids_.pop_front();
  }
  // Erasing moved nothing.
  return &it->second;
}

void ProviderModel::Execute(Call* call, bool idempotent) {
  if (call == nullptr) return;
  if (!call->executed) {
    call->executed = true;
  } else if (idempotent) {
    ++stats_.replays;
  } else {
    ++stats_.duplicates_executed;
  }
}

}  // namespace forbear::testing
