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
      newest_(Slot(now)) {}

void SlidingWindow::Advance(MonotonicTime now) {
  const int64_t slot = Slot(now);
  if (slot <= newest_) return;
  // They may lie so far apart that their difference overflows; not so unsigned.
  if (static_cast<uint64_t>(slot) - static_cast<uint64_t>(newest_) >=
      uint64_t{kBuckets}) {
    Clear(now);
    return;
  }
  while (newest_ < slot) {
    Bucket& oldest = ring_[Index(++newest_)];
    total_ -= oldest.total;
    failures_ -= oldest.failures;
    oldest = Bucket();
  }
}

void SlidingWindow::Add(MonotonicTime now, bool failure) {
  Advance(now);
  Bucket& bucket = ring_[Index(newest_)];
  ++bucket.total;
  ++total_;
  if (failure) {
    ++bucket.failures;
    ++failures_;
  }
}

void SlidingWindow::Clear(MonotonicTime now) {
  newest_ = std::max(newest_, Slot(now));
  total_ = 0;
  failures_ = 0;
  ring_.fill(Bucket());
}

}  // namespace forbear
