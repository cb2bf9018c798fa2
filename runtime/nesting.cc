#include "runtime/nesting.h"

namespace forbear {

bool InsideAttempt::AnyOpen() {
  for (const InsideAttempt* i = innermost_; i != nullptr; i = i->outer_) {
    if (!i->settled_) return true;
  }
  return false;
}

}  // namespace forbear
