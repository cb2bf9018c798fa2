// Must be stopped by ./dev ubsan: a signed sum that has no value.
#include <limits>

int main(int argc, char**) {
  volatile int big = std::numeric_limits<int>::max();
  volatile int sum = big + argc;
  return sum == 0 ? 1 : 0;
}
