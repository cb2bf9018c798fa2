#include "runtime/nesting.h"

namespace forbear {
InsideAttempt::InsideAttempt(const void* call)
    : call_(call), outer_(innermost_) {
  innermost_ = this;
}

InsideAttempt::~InsideAttempt() { innermost_ = outer_; }

void InsideAttempt::Settle(const void* call) {
  if (innermost_ != nullptr && innermost_->call_ == call) {
    innermost_->settled_ = true;
  }
}

bool InsideAttempt::AnyOpen() {
  for (const InsideAttempt* i = innermost_; i != nullptr; i = i->outer_) {
    if (!i->settled_) return true;
  }
  return false;
}

}  // namespace forbear
