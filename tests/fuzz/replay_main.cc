// Feeds a fuzz target with its seeds, with every beginning of each, and with each
// after one byte of it was changed: what any compiler can do of fuzzing.
//
//   delay_text_fuzz FILE-OR-FOLDER…

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "tests/fuzz/fuzz_target.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

// In memory of its own, so that a sanitizer sees who reads beyond the end.
void Feed(absl::string_view input) {
  const auto copy = std::make_unique<uint8_t[]>(input.size());
  std::copy(input.begin(), input.end(), copy.get());
  LLVMFuzzerTestOneInput(copy.get(), input.size());
}

void FeedVariations(const std::string& seed) {
  // Long seeds would take long: every step-th place is enough of them.
  const size_t step = 1 + seed.size() / 512;
  for (size_t n = 0; n < seed.size(); n += step) Feed(seed.substr(0, n));
  for (size_t at = 0; at < seed.size(); at += step) {
    std::string changed = seed;
    for (const char c : {'\0', '0', '9', ' ', '"', ';', '\xff', 'A'}) {
      changed[at] = c;
      Feed(changed);
    }
    changed.erase(at, 1);
    Feed(changed);
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::filesystem::path> files;
  for (int i = 1; i < argc; ++i) {
    const std::filesystem::path path = argv[i];
    if (std::filesystem::is_directory(path)) {
      for (const auto& entry : std::filesystem::directory_iterator(path)) {
        files.push_back(entry.path());
      }
    } else {
      files.push_back(path);
    }
  }
  if (files.empty()) {
    std::fprintf(stderr, "no seeds\n");
    return 1;
  }
  Feed("");
  for (const std::filesystem::path& file : files) {
    std::ifstream in(file, std::ios::binary);
    const std::string seed((std::istreambuf_iterator<char>(in)), {});
    if (!in.good() && !in.eof()) {
      std::fprintf(stderr, "cannot read %s\n", file.c_str());
      return 1;
    }
    if (forbear::fuzz::Fuzz(seed)) {
      std::fprintf(stderr,
                   "%s lies on the planted fault, which then shows nothing\n",
                   file.c_str());
      return 1;
    }
    Feed(seed);
    FeedVariations(seed);
  }
  std::printf("%zu seeds\n", files.size());
  return 0;
}
