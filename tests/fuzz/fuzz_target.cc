#include "tests/fuzz/fuzz_target.h"

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

namespace forbear::fuzz {
namespace {

// Two faults, one for each sanitizer. Nothing of them is known when compiling.
void ReadBeyond() {
  const auto bytes = std::make_unique<volatile char[]>(16);
  const volatile size_t size = 16;
  std::printf("%d\n", bytes[size]);
}
void Overflow() {
  volatile int most = 2147483647;
  most = most + 1;
  std::printf("%d\n", most);
}

}  // namespace

void Require(bool holds, absl::string_view what) {
  if (holds) return;
  std::fprintf(stderr, "must hold: %.*s\n", static_cast<int>(what.size()),
               what.data());
  std::abort();
}

unsigned TakeChoice(absl::string_view* input, unsigned n) {
  if (input->empty()) return 0;
  const unsigned char byte = static_cast<unsigned char>(input->front()) - '0';
  input->remove_prefix(1);
  return byte % n;
}

std::vector<absl::string_view> Lines(absl::string_view input, size_t most) {
  std::vector<absl::string_view> lines;
  while (!input.empty() && lines.size() < most) {
    const size_t end = input.find('\n');
    lines.push_back(input.substr(0, end));
    if (end == absl::string_view::npos) break;
    input.remove_prefix(end + 1);
  }
  return lines;
}

}  // namespace forbear::fuzz

// libFuzzer's entry, and the replay's.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // "memory" or "overflow".
  static const char* const plant = std::getenv("FORBEAR_FUZZ_PLANT");
  const bool here = forbear::fuzz::Fuzz(
      absl::string_view(reinterpret_cast<const char*>(data), size));
  if (here && plant != nullptr) {
    if (std::strcmp(plant, "memory") == 0) forbear::fuzz::ReadBeyond();
    if (std::strcmp(plant, "overflow") == 0) forbear::fuzz::Overflow();
  }
  return 0;
}
