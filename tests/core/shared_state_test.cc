// What the two shared states make of an answer whose body says something else
// than its head.
#include "core/shared_state.h"

#include <cstdint>
#include <memory>
#include <optional>

#include "absl/time/time.h"
#include "core/endpoint.h"
#include "core/outcome.h"
#include "core/quota.h"
#include "core/retry_policy.h"
#include "core/time.h"
#include "core/verdict.h"
#include "core/wait_queue.h"
#include "gtest/gtest.h"

namespace forbear {
namespace {

MonotonicTime At(double seconds) {
  return MonotonicTime() + absl::Seconds(seconds);
}

class Silent final : public Waiter {
 public:
  void Wake() override {}
};

Outcome Of(ErrorKind kind,
           std::optional<absl::Duration> pushback = std::nullopt) {
  Outcome outcome;
  outcome.kind = kind;
  outcome.status = 1;
  outcome.pushback = pushback;
  return outcome;
}

class SharedStateTest : public ::testing::Test {
 protected:
  AttemptPermit Send(double now) {
    WaitPlace place;
    place.ticket = {At(now), ++calls_};
    const DispatchAnswer answer =
        shared_.Dispatch(&place, std::make_shared<Silent>(), At(now), At(1000),
                         WhenOpen::kWait, &wakes_);
    EXPECT_EQ(answer.verdict, Verdict::kGo);
    return answer.permit;
  }
  // A send at 0, whose head comes at 1 and whose end comes at 2.
  SharedState::NotBefore Answer(const Outcome& head, const Outcome& end) {
    AttemptPermit permit = Send(0);
    shared_.OnAnswerHead(&permit, head, At(1), &wakes_);
    return shared_.OnAttemptDone(&permit, end, At(2), 0, &wakes_);
  }
  MonotonicTime QuotaGate() const { return quota_.value.pacer().gate_until(); }
  MonotonicTime EndpointGate() const {
    return endpoint_.value.pacer().gate_until();
  }

  uint64_t calls_ = 0;
  WakeList wakes_;
  Guarded<Quota, NoMutex> quota_{QuotaOptions{}};
  Guarded<Endpoint, NoMutex> endpoint_{EndpointOptions{}, At(0)};
  BasicSharedState<NoMutex> shared_{&quota_, &endpoint_};
};

TEST_F(SharedStateTest, TheSameTwiceIsToldOnce) {
  const Outcome refused = Of(ErrorKind::kThrottled, absl::Seconds(5));
  const SharedState::NotBefore known = Answer(refused, refused);
  EXPECT_GE(QuotaGate(), At(6));
  EXPECT_LT(QuotaGate(), At(6.5)) << "counted from the head, not from the end";
  EXPECT_EQ(known.time, QuotaGate());
}

TEST_F(SharedStateTest, ALongerWaitLengthensTheGate) {
  const SharedState::NotBefore known =
      Answer(Of(ErrorKind::kThrottled, absl::Seconds(5)),
             Of(ErrorKind::kThrottled, absl::Seconds(20)));
  EXPECT_GE(QuotaGate(), At(22));
  EXPECT_EQ(known.time, QuotaGate());
  EXPECT_EQ(known.source, DelaySource::kGate);
}

TEST_F(SharedStateTest, NothingTakesBackWhatTheHeadSaid) {
  for (const ErrorKind kind : {ErrorKind::kPermanent, ErrorKind::kOk,
                               ErrorKind::kThrottled, ErrorKind::kTransient}) {
    Answer(Of(ErrorKind::kThrottled, absl::Seconds(5)), Of(kind));
    EXPECT_GE(QuotaGate(), At(6));
    EXPECT_EQ(EndpointGate(), MonotonicTime::InfinitePast());
    quota_.value.ClearGate(&wakes_);
  }
}

TEST_F(SharedStateTest, ARefusalThatOnlyTheBodyTells) {
  Answer(Of(ErrorKind::kPermanent),
         Of(ErrorKind::kThrottled, absl::Seconds(3)));
  EXPECT_GE(QuotaGate(), At(5));
  EXPECT_EQ(EndpointGate(), MonotonicTime::InfinitePast());
  EXPECT_TRUE(quota_.value.IsIdle(At(6))) << "a permit was counted twice";
}

TEST_F(SharedStateTest, AnUnwellServerThatOnlyTheBodyTellsOf) {
  Answer(Of(ErrorKind::kTransient),
         Of(ErrorKind::kTransient, absl::Seconds(3)));
  EXPECT_GE(EndpointGate(), At(5));
  EXPECT_EQ(QuotaGate(), MonotonicTime::InfinitePast());
  EXPECT_TRUE(endpoint_.value.IsIdle(At(6)));
}

}  // namespace
}  // namespace forbear
