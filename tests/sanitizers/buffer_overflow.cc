// Must be stopped by ./dev asan: one element too far.
#include <vector>

int main(int argc, char**) {
  std::vector<int> numbers(8);
  const volatile int* beyond = numbers.data() + 7 + argc;
  return *beyond == 123456789 ? 1 : 0;
}
