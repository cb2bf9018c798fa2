#include "runtime/nesting.h"

namespace forbear {
namespace {

thread_local InsideAttempt* innermost = nullptr;

}  // namespace

InsideAttempt::InsideAttempt(const void* call)
    : call_(call), outer_(innermost) {
  innermost = this;
}

InsideAttempt::~InsideAttempt() { innermost = outer_; }

void InsideAttempt::Settle(const void* call) {
  if (innermost != nullptr && innermost->call_ == call) {
    innermost->settled_ = true;
  }
}

bool InsideAttempt::Any() {
  for (const InsideAttempt* i = innermost; i != nullptr; i = i->outer_) {
    if (!i->settled_) return true;
  }
  return false;
}

}  // namespace forbear
