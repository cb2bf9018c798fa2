// A program in a workspace of its own that uses Forbear as @forbear.
// `bazel run //:consumer` exits with 0 when all is well.
#include <iostream>

#include "absl/strings/str_cat.h"

int main() {
  std::cout << absl::StrCat("consumer: ", "ok") << "\n";
  return 0;
}
