#include "benchmarks/arena/door.h"

#include <vector>

#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "tests/testing/arrival_log.h"
#include "tests/testing/fault.h"

namespace forbear::arena {
namespace {

using testing::Arrival;
using testing::Fault;

TEST(DoorTest, Text) {
  std::vector<Arrival> arrivals(2);
  arrivals[0].since_start = absl::Microseconds(12);
  arrivals[0].status = 200;
  arrivals[0].answer_due = absl::Microseconds(20012);
  arrivals[0].answered = absl::Microseconds(20093);
  arrivals[1].index = 1;
  arrivals[1].since_start = absl::Seconds(1.5);
  arrivals[1].fault = Fault::kHang;
  arrivals[1].cancelled = true;
  DoorRun run;
  run.scenario = "S2";
  run.began_ns = 5;
  run.sends = 2;
  run.late = {absl::Microseconds(70), absl::Milliseconds(1),
              absl::Milliseconds(2)};
  EXPECT_EQ(
      DoorText(run, arrivals),
      R"({"scenario":"S2","began_ns":5,"sends":2,"late_ms":{"p50":0.070,"p99":1.000,"max":2.000}})"
      "\n"
      R"({"i":0,"t":0.000012,"s":200,"f":"none","due":0.020012,"at":0.020093})"
      "\n"
      R"({"i":1,"t":1.500000,"s":-1,"f":"hang","due":null,"at":null,"gone":true})"
      "\n");
}

TEST(DoorTest, Lateness) {
  EXPECT_EQ(LatenessOf({}).max, absl::ZeroDuration());
  std::vector<absl::Duration> values;
  for (int i = 100; i > 0; --i) values.push_back(absl::Milliseconds(i));
  const Lateness late = LatenessOf(values);
  EXPECT_EQ(late.p50, absl::Milliseconds(50));
  EXPECT_EQ(late.p99, absl::Milliseconds(99));
  EXPECT_EQ(late.max, absl::Milliseconds(100));
}

TEST(DoorTest, AHeartbeatEndsAtOnce) {
  const Heartbeat heartbeat;
  EXPECT_GE(heartbeat.lateness().max, absl::ZeroDuration());
}

}  // namespace
}  // namespace forbear::arena
