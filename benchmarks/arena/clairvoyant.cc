#include "benchmarks/arena/clairvoyant.h"

#include <algorithm>
#include <functional>
#include <queue>
#include <vector>

namespace forbear::arena {

using testing::ProviderModel;
using Verdict = ProviderModel::Verdict;

absl::StatusOr<Clairvoyant> Clairvoyant::Create(
    const ProviderModel::Options& options) {
  absl::StatusOr<ProviderModel> model = ProviderModel::Create(options);
  if (!model.ok()) return model.status();
  return Clairvoyant(*std::move(model));
}

absl::Duration Clairvoyant::Earliest(absl::Duration now) const {
  if (now >= told_) now = std::max(now, over_);
  const absl::Duration earliest = model_.Earliest(now);
  // Refused whenever it comes, so that others may follow.
  return earliest == absl::InfiniteDuration() ? now : earliest;
}

ProviderModel::Decision Clairvoyant::Send(absl::Duration at) {
  const ProviderModel::Decision answer = model_.Decide(at, {});
  if (answer.verdict == Verdict::kRefuse) {
    const absl::Duration told = at + answer.latency;
    told_ = std::min(told_, told);
    over_ = std::max(over_, told + answer.wait);
  }
  return answer;
}

Ideal PlayIdeal(const ProviderModel::Options& options, const Crowd& crowd) {
  Ideal ideal;
  absl::StatusOr<Clairvoyant> client = Clairvoyant::Create(options);
  if (!client.ok()) return ideal;
  struct Worker {
    absl::Duration free;  // since then
    bool has_call = false;
    bool operator>(const Worker& other) const { return free > other.free; }
  };
  std::priority_queue<Worker, std::vector<Worker>, std::greater<>> workers;
  for (int i = 0; i < crowd.workers; ++i) workers.push({});
  int left = crowd.calls;
  while (!workers.empty()) {
    Worker worker = workers.top();
    workers.pop();
    if (!worker.has_call && left == 0) continue;
    if (!worker.has_call) --left;
    const absl::Duration at = client->Earliest(worker.free);
    const ProviderModel::Decision answer = client->Send(at);
    worker.free = at + (answer.verdict == Verdict::kHang ? crowd.attempt_timeout
                                                         : answer.latency);
    worker.has_call = answer.verdict != Verdict::kServe;
    if (worker.has_call) {
      ++ideal.wasted;
    } else {
      ideal.wall = std::max(ideal.wall, worker.free);
    }
    workers.push(worker);
  }
  return ideal;
}

}  // namespace forbear::arena
