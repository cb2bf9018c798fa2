#include "tests/testing/provider_model.h"

#include <algorithm>
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
  absl::Status limit = LimitModel::Check(options);
  if (!limit.ok()) return limit;
  if (options.refuse_first < 0) return bad("refuse_first must be >= 0");
  if (options.refuse_first_wait < absl::ZeroDuration()) {
    return bad("refuse_first_wait must be >= 0");
  }
  // Written so that NaN fails.
  double sum = 0;
  for (const double fraction :
       {options.error_fraction, options.lost_answer_fraction,
        options.hang_fraction}) {
    sum += fraction;
    if (!(fraction >= 0 && sum <= 1)) {
      return bad(
          "error_fraction, lost_answer_fraction and hang_fraction must be in "
          "[0, 1], and so must their sum");
    }
  }
  if (options.lost_answers < 0 ||
      options.lost_answers > options.lost_answers_within) {
    return bad("lost_answers must be in [0, lost_answers_within]");
  }
  if (options.max_faults_per_call < 0) {
    return bad("max_faults_per_call must be >= 0");
  }
  if (options.latency < absl::ZeroDuration() ||
      options.refusal_latency < absl::ZeroDuration()) {
    return bad("latency and refusal_latency must be >= 0");
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
    : options_(options), limit_(options) {
  // The first steps of a shuffle.
  std::vector<int64_t> indexes(options.lost_answers_within);
  for (size_t i = 0; i < indexes.size(); ++i)
    indexes[i] = static_cast<int64_t>(i);
  for (int i = 0; i < options.lost_answers; ++i) {
    const size_t rest = indexes.size() - i;
    const size_t pick =
        i + static_cast<size_t>(static_cast<double>(rest) *
                                Uniform(options.seed, kLostAnswers, i));
    std::swap(indexes[i], indexes[pick]);
    lost_answers_.insert(indexes[i]);
  }
}

ProviderModel::Decision ProviderModel::Decide(absl::Duration now,
                                              const Request& request) {
  Decision decision;
  decision.latency = options_.refusal_latency;
  if (stats_.sends++ < options_.refuse_first) {
    ++stats_.refused;
    decision.verdict = Verdict::kRefuse;
    decision.wait = options_.refuse_first_wait;
    return decision;
  }
  if (const Outage* outage = OutageAt(now)) {
    decision.wait = outage->retry_after == absl::InfiniteDuration()
                        ? outage->until - now
                        : outage->retry_after;
    switch (outage->kind) {
      case Outage::Kind::kError:
        decision.verdict = Verdict::kOutageError;
        break;
      case Outage::Kind::kReset:
      case Outage::Kind::kClosedPort:
        decision.verdict = Verdict::kOutageReset;
        break;
      case Outage::Kind::kHang:
        decision.verdict = Verdict::kOutageHang;
        break;
      case Outage::Kind::kRefuse:
        decision.verdict = Verdict::kOutageRefuse;
        break;
    }
    return decision;
  }

  decision.limit = limit_.Ask(now);
  if (!decision.limit.admitted) {
    ++stats_.refused;
    decision.verdict = Verdict::kRefuse;
    decision.wait = decision.limit.wait;
    return decision;
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
    case Verdict::kHang:
      ++stats_.hangs;
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
  double chance = Uniform(options_.seed, kErrors, admitted_index);
  if (chance < options_.error_fraction) return Verdict::kError;
  chance -= options_.error_fraction;
  if (chance < options_.lost_answer_fraction) return Verdict::kLoseAnswer;
  chance -= options_.lost_answer_fraction;
  if (chance < options_.hang_fraction) return Verdict::kHang;
  return Verdict::kServe;
}

absl::Duration ProviderModel::Earliest(absl::Duration now) const {
  if (stats_.sends < options_.refuse_first) return absl::InfiniteDuration();
  // Each round ends an outage.
  for (size_t i = 0; i <= options_.outages.size(); ++i) {
    if (const Outage* outage = OutageAt(now)) now = outage->until;
    const absl::Duration earliest = limit_.Earliest(now);
    if (earliest == now && OutageAt(now) == nullptr) break;
    now = earliest;
  }
  return now;
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
