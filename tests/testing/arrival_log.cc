#include "tests/testing/arrival_log.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/hash/hash.h"

namespace forbear::testing {
namespace {

constexpr size_t kMaxHeaders = 64;
constexpr size_t kMaxHeaderValue = 256;

}  // namespace

ArrivalLog::ArrivalLog(const Options& options)
    : options_(options), start_(std::chrono::steady_clock::now()) {}

absl::Duration ArrivalLog::Now() const {
  return absl::FromChrono(std::chrono::steady_clock::now() - start_);
}

int64_t ArrivalLog::Count() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return count_;
}

int64_t ArrivalLog::CountOfStatus(int status) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto it = by_status_.find(status);
  return it == by_status_.end() ? 0 : it->second;
}

int64_t ArrivalLog::CountCancelled() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return cancelled_;
}

std::vector<Arrival> ArrivalLog::Snapshot() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return std::vector<Arrival>(kept_.begin(), kept_.end());
}

ArrivalLog::Bin ArrivalLog::FullestBin(absl::Duration width,
                                       absl::Duration from) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  Bin fullest;
  if (width <= absl::ZeroDuration()) return fullest;
  size_t first = 0;
  for (size_t last = 0; last < kept_.size(); ++last) {
    if (kept_[last].since_start < from) {
      first = last + 1;
      continue;
    }
    while (kept_[last].since_start - kept_[first].since_start >= width) ++first;
    const int64_t count = static_cast<int64_t>(last - first + 1);
    if (count > fullest.count) fullest = {kept_[first].since_start, count};
  }
  return fullest;
}

bool ArrivalLog::WaitForCount(int64_t n, absl::Duration timeout) const {
  return WaitFor(&decided_, n, timeout);
}

bool ArrivalLog::WaitForCancelled(int64_t n, absl::Duration timeout) const {
  return WaitFor(&cancelled_, n, timeout);
}

bool ArrivalLog::WaitFor(const int64_t* counter, int64_t n,
                         absl::Duration timeout) const {
  std::unique_lock<std::mutex> lock(mutex_);
  return changed_.wait_for(
      lock, absl::ToChronoNanoseconds(std::min(timeout, absl::Hours(24))),
      [counter, n] { return *counter >= n; });
}

size_t ArrivalLog::HashOf(absl::string_view body) {
  return absl::Hash<absl::string_view>()(body);
}

ArrivalLog::Stamp ArrivalLog::Add(Arrival arrival) {
  if (arrival.body.size() > options_.max_body_copy) {
    arrival.body.resize(options_.max_body_copy);
    arrival.body.shrink_to_fit();
  }
  while (arrival.headers.size() > kMaxHeaders) {
    arrival.headers.erase(std::prev(arrival.headers.end()));
  }
  for (auto& header : arrival.headers) {
    if (header.second.size() > kMaxHeaderValue) {
      header.second.resize(kMaxHeaderValue);
      header.second.shrink_to_fit();
    }
  }

  const std::lock_guard<std::mutex> lock(mutex_);
  arrival.index = count_++;
  // Read under the lock: times are in the order of indexes.
  arrival.since_start = Now();
  const Stamp stamp = {arrival.index, arrival.since_start};
  kept_.push_back(std::move(arrival));
  if (kept_.size() > options_.max_kept) kept_.pop_front();
  return stamp;
}

void ArrivalLog::SetAnswer(int64_t index, int status, Fault fault) {
  const std::lock_guard<std::mutex> lock(mutex_);
  ++decided_;
  changed_.notify_all();
  if (status != Arrival::kNoStatus) ++by_status_[status];
  Arrival* arrival = Find(index);
  if (arrival == nullptr) return;
  arrival->status = status;
  arrival->fault = fault;
}

void ArrivalLog::SetAnswered(int64_t index, absl::Duration intended) {
  const std::lock_guard<std::mutex> lock(mutex_);
  Arrival* arrival = Find(index);
  if (arrival == nullptr) return;
  arrival->answer_due = arrival->since_start + intended;
  arrival->answered = Now();
}

void ArrivalLog::SetCancelled(int64_t index) {
  const std::lock_guard<std::mutex> lock(mutex_);
  ++cancelled_;
  changed_.notify_all();
  Arrival* arrival = Find(index);
  if (arrival != nullptr) arrival->cancelled = true;
}

Arrival* ArrivalLog::Find(int64_t index) {
  if (kept_.empty() || index < kept_.front().index ||
      index > kept_.back().index) {
    return nullptr;
  }
  return &kept_[static_cast<size_t>(index - kept_.front().index)];
}

}  // namespace forbear::testing
