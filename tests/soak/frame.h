// Frame: what every soak has around it: its flags, its time, what the process must have
// back at the end, and what is said of it.
//
//   int main(int argc, char** argv) {
//     const std::optional<Flags> flags =
//         ParseFlags("curl", {"report", "body"}, argc, argv);
//     if (!flags) return 2;
//     Ledger ledger(MostCalls(*flags, 2000));
//     …what is made once and kept is made…
//     Frame frame("curl", *flags, &ledger);
//     return frame.Run(&stopping, {[&] { while (!stopping) …; }, …});
//   }
//
// Checked is that the books go up (Ledger::Close), that there are as many descriptors
// and threads at the end as when the Frame was made, and that memory has not grown.
// What does not come to its end, or does not move any more, ends the program.
//
// Thread rule: one thread.
#ifndef FORBEAR_TESTS_SOAK_FRAME_H_
#define FORBEAR_TESTS_SOAK_FRAME_H_

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "tests/soak/ledger.h"
#include "tests/soak/stop_sign.h"

namespace forbear::soak {

// What moves and then does not for so long, is stuck.
inline constexpr auto kStuck = std::chrono::seconds(90);

struct Flags {
  double minutes = 20;
  uint64_t seed = 0;
  // A fault to be put in, and to be found; empty: none.
  std::string plant;
};

// --minutes N --seed N --plant WORD, one of `plants`. Nothing: they are faulty, and it
// is said on stderr. The default seed is another one each time.
std::optional<Flags> ParseFlags(const std::string& name,
                                const std::vector<std::string>& plants,
                                int argc, char** argv);

// How many calls there may be, at so many a second.
uint64_t MostCalls(const Flags& flags, int per_second);

class Frame {
 public:
  // `ledger` must outlive it. `pools`: names of a library's threads, which come and go
  // as that likes, and are not counted.
  Frame(std::string name, Flags flags, Ledger* ledger,
        std::vector<std::string> pools = {});

  // Runs all of these for the time of the flags, says so to them by `stopping`, and
  // calls `at_end`, if it is given, when they are back. Returns the exit status.
  int Run(StopSign* stopping, const std::vector<std::function<void()>>& threads,
          const std::function<void()>& at_end = nullptr);

 private:
  using Clock = std::chrono::steady_clock;

  void Watch(const StopSign& stopping);
  void PrintMinute(int minute) const;
  void Sample(int tenth);
  int CountThreads() const;
  void CheckBack(const char* folder, const char* what, int before);
  void CheckMemory() const;
  int Verdict() const;

  const std::string name_;
  const Flags flags_;
  const Clock::duration total_;
  Ledger* const ledger_;
  const std::vector<std::string> pools_;
  const int descriptors_;
  const int threads_;
  std::array<double, 11> resident_ = {};
};

}  // namespace forbear::soak

#endif  // FORBEAR_TESTS_SOAK_FRAME_H_
