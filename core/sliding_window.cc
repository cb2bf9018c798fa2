#include "core/sliding_window.h"

#include <algorithm>

namespace forbear {
namespace {

// A slot number may be negative (a clock whose zero is in the future).
size_t Index(int64_t slot) {
  const int64_t i = slot % SlidingWindow::kBuckets;
  return static_cast<size_t>(i < 0 ? i + SlidingWindow::kBuckets : i);
}

}  // namespace

SlidingWindow::SlidingWindow(absl::Duration length, MonotonicTime now)
    : bucket_nanos_(
          std::max<int64_t>(1, absl::ToInt64Nanoseconds(length) / kBuckets)),
      newest_(Slot(now)) {
  SetNewest(newest_);
}

MonotonicTime SlidingWindow::EndOf(int64_t slot) const {
  int64_t end;
  if (__builtin_mul_overflow(slot + 1, bucket_nanos_, &end)) {
    return MonotonicTime::Infinite();
  }
  return MonotonicTime::FromNanos(end);
}

void SlidingWindow::SetNewest(int64_t slot) {
  newest_ = slot;
  newest_end_ = EndOf(slot);
}

void SlidingWindow::MoveTo(MonotonicTime now) {
  const int64_t slot = Slot(now);
  if (slot <= newest_) return;
  // They may lie so far apart that their difference overflows; not so unsigned.
  if (static_cast<uint64_t>(slot) - static_cast<uint64_t>(newest_) >=
      uint64_t{kBuckets}) {
    Clear(now);
    return;
  }
  for (int64_t next = newest_ + 1; next <= slot; ++next) {
    Bucket& oldest = ring_[Index(next)];
    total_ -= oldest.total;
    failures_ -= oldest.failures;
    slow_ -= oldest.slow;
    oldest = Bucket();
  }
  SetNewest(slot);
}

void SlidingWindow::Add(MonotonicTime now, bool failure, bool slow) {
  Advance(now);
  Bucket& bucket = ring_[Index(newest_)];
  ++bucket.total;
  ++total_;
  if (failure) {
    ++bucket.failures;
    ++failures_;
  }
  if (slow) {
    ++bucket.slow;
    ++slow_;
  }
}

void SlidingWindow::AddGood(int64_t calls) {
  ring_[Index(newest_)].total += calls;
  total_ += calls;
}

void SlidingWindow::Clear(MonotonicTime now) {
  SetNewest(std::max(newest_, Slot(now)));
  total_ = 0;
  failures_ = 0;
  slow_ = 0;
  ring_.fill(Bucket());
}

void SlidingWindow::Resize(absl::Duration length, MonotonicTime now) {
  Advance(now);
  SlidingWindow resized(length, now);
  for (int64_t slot = newest_ - kBuckets + 1; slot <= newest_; ++slot) {
    const Bucket& from = ring_[Index(slot)];
    const MonotonicTime last = Earlier(now, EndOf(slot) - absl::Nanoseconds(1));
    const int64_t age = resized.newest_ - resized.Slot(last);
    if (age >= kBuckets) continue;
    Bucket& to = resized.ring_[Index(resized.newest_ - age)];
    to.total += from.total;
    to.failures += from.failures;
    to.slow += from.slow;
    resized.total_ += from.total;
    resized.failures_ += from.failures;
    resized.slow_ += from.slow;
  }
  *this = resized;
}

}  // namespace forbear
