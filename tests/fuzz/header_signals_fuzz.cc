// All lines of a head: ReadHeaderSignals.

#include <optional>
#include <vector>

#include "absl/time/time.h"
#include "signals/delay_text.h"
#include "signals/header_field.h"
#include "signals/header_signals.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/fuzz/head_lines.h"

namespace forbear::fuzz {

bool Fuzz(absl::string_view input) {
  const absl::Time now = absl::FromUnixSeconds(1763800000);
  std::vector<HeaderField> fields = HeadLines(input);
  // Each line alone is read below.
  if (fields.size() > 30) fields.resize(30);
  const WallTimes times = WallTimesOf(fields, now);
  const HeaderSignals signals = ReadHeaderSignals(fields, times);
  Require(signals.wait().value_or(absl::ZeroDuration()) >= absl::ZeroDuration(),
          "a wait is not negative");
  Require(signals.explicit_wait.has_value() == !signals.explicit_field.empty(),
          "a wait has a field");
  for (const HeaderField& field : fields) {
    const HeaderSignals alone = ReadHeaderSignals({field}, times);
    if (!alone.explicit_wait) continue;
    Require(signals.explicit_wait >= alone.explicit_wait,
            "no line makes another one's wait shorter");
  }
  return signals.should_retry && signals.explicit_wait > absl::ZeroDuration();
}

}  // namespace forbear::fuzz
