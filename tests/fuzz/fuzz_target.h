// What a fuzz target is: one function that is given any bytes.
//
//   bool forbear::fuzz::Fuzz(absl::string_view input) {
//     const auto wait = ParseRetryAfter(input, std::nullopt, 0);
//     Require(!wait || *wait >= absl::ZeroDuration(), "a wait is not negative");
//     return wait && *wait > absl::Hours(24);   // the planted fault
//   }
//
// It calls what reads input of others and Requires what must hold of the result. What
// it returns says where a planted fault lies: at an input that no seed is, and that
// only somebody finds who sees into the code. It is a fault only when
// FORBEAR_FUZZ_PLANT says so; ./dev fuzz wants it found before it believes a fuzzer
// that finds nothing.
//
// Under --config=fuzz a target is a libFuzzer program with address and undefined
// behaviour sanitizers. In any other build it is a test that replays the seeds, every
// beginning of each, and each with one byte changed (replay_main.cc).
//
// Thread rule: one thread.
#ifndef FORBEAR_TESTS_FUZZ_FUZZ_TARGET_H_
#define FORBEAR_TESTS_FUZZ_FUZZ_TARGET_H_

#include <cstddef>
#include <vector>

#include "absl/strings/string_view.h"

namespace forbear::fuzz {

// A target defines it. `input` is exactly that long: one byte beyond is not its own.
bool Fuzz(absl::string_view input);

// Prints `what` and ends the program if it does not hold.
void Require(bool holds, absl::string_view what);

// Takes the first byte, as a number below `n`: "0" is 0, "1" is 1, … An empty input
// is 0.
unsigned TakeChoice(absl::string_view* input, unsigned n);

// The lines of an input, without their ends; at most `most`.
std::vector<absl::string_view> Lines(absl::string_view input, size_t most);

}  // namespace forbear::fuzz

#endif  // FORBEAR_TESTS_FUZZ_FUZZ_TARGET_H_
