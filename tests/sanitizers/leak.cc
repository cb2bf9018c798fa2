// Must be stopped by ./dev asan: memory that nobody can free any more.
#include <string>

int main() {
  auto* lost = new std::string(1000, 'x');
  const bool ok = lost->size() == 1000;
  lost = nullptr;
  return ok ? 0 : 1;
}
