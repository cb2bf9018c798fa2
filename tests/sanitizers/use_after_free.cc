// Must be stopped by ./dev asan: a reference outlives what it refers to.
#include <memory>

// volatile: the compiler would find this fault.
const int* volatile borrowed = nullptr;

int main() {
  auto owner = std::make_unique<int>(1);
  borrowed = owner.get();
  owner.reset();
  // NOLINTNEXTLINE(clang-analyzer-cplusplus.NewDelete): planted
  return *borrowed == 123456789 ? 1 : 0;
}
