#include "core/stop_reason.h"

#include <set>
#include <string>

#include "gtest/gtest.h"

namespace forbear {
namespace {

TEST(StopReasonTest, EveryReasonHasANameAndASentenceOfItsOwn) {
  std::set<std::string> names;
  std::set<std::string> sentences;
  for (int i = 0; i < kStopReasonCount; ++i) {
    const auto r = static_cast<StopReason>(i);
    const std::string name(StopReasonName(r));
    EXPECT_FALSE(name.empty());
    EXPECT_EQ(name.find_first_not_of("abcdefghijklmnopqrstuvwxyz_"),
              std::string::npos)
        << name;
    EXPECT_TRUE(names.insert(name).second) << name;
    const std::string sentence(StopReasonSentence(r));
    ASSERT_GT(sentence.size(), 10u) << name;
    EXPECT_EQ(sentence.back(), '.') << sentence;
    EXPECT_TRUE(sentences.insert(sentence).second) << sentence;
    const std::string remedy(StopReasonRemedy(r));
    if (!remedy.empty()) {
      EXPECT_NE(std::string(".?").find(remedy.back()), std::string::npos)
          << remedy;
    }
  }
  EXPECT_EQ(static_cast<int>(StopReason::kCostTooLarge), kStopReasonCount - 1);
}

// Records and metrics carry them: a change breaks somebody's dashboard.
TEST(StopReasonTest, NamesAreStable) {
  const std::pair<StopReason, const char*> all[] = {
      {StopReason::kNone, "none"},
      {StopReason::kSuccess, "success"},
      {StopReason::kPermanentError, "permanent_error"},
      {StopReason::kNotIdempotent, "not_idempotent"},
      {StopReason::kNotReplayable, "not_replayable"},
      {StopReason::kCommitted, "committed"},
      {StopReason::kServerSaidNo, "server_said_no"},
      {StopReason::kAttemptsExhausted, "attempts_exhausted"},
      {StopReason::kBudgetExhausted, "budget_exhausted"},
      {StopReason::kWaitExceedsDeadline, "wait_exceeds_deadline"},
      {StopReason::kDeadlineExceeded, "deadline_exceeded"},
      {StopReason::kMaxElapsed, "max_elapsed"},
      {StopReason::kCircuitOpen, "circuit_open"},
      {StopReason::kQueueFull, "queue_full"},
      {StopReason::kCancelled, "cancelled"},
      {StopReason::kQuotaExhausted, "quota_exhausted"},
      {StopReason::kOuterLayer, "outer_layer"},
      {StopReason::kCostTooLarge, "cost_too_large"},
  };
  EXPECT_EQ(sizeof(all) / sizeof(all[0]),
            static_cast<size_t>(kStopReasonCount));
  for (const auto& [reason, name] : all)
    EXPECT_EQ(StopReasonName(reason), name);
}

TEST(StopReasonTest, WhatAPersonCanChangeHasARemedy) {
  for (StopReason r :
       {StopReason::kPermanentError, StopReason::kNotIdempotent,
        StopReason::kNotReplayable, StopReason::kCommitted,
        StopReason::kAttemptsExhausted, StopReason::kBudgetExhausted,
        StopReason::kWaitExceedsDeadline, StopReason::kDeadlineExceeded,
        StopReason::kMaxElapsed, StopReason::kCircuitOpen,
        StopReason::kQueueFull, StopReason::kQuotaExhausted,
        StopReason::kOuterLayer, StopReason::kCostTooLarge}) {
    EXPECT_FALSE(StopReasonRemedy(r).empty()) << StopReasonName(r);
  }
}

TEST(StopReasonTest, ANumberFromElsewhereDoesNoHarm) {
  EXPECT_EQ(StopReasonName(static_cast<StopReason>(200)), "none");
}

// What to do is not what has happened.
TEST(StopReasonTest, ARemedyIsNoSentence) {
  EXPECT_EQ(StopReasonSentence(StopReason::kBudgetExhausted),
            "So many retries to this endpoint failed lately that further ones "
            "are held back.");
  EXPECT_EQ(StopReasonRemedy(StopReason::kBudgetExhausted),
            "The service is failing for most calls. First attempts still go "
            "out; the budget refills as they succeed.");
  EXPECT_EQ(StopReasonRemedy(StopReason::kSuccess), "");
}

}  // namespace
}  // namespace forbear
