// Spell: its first send, and the marks of a search.

#include "core/spell.h"

#include "absl/time/time.h"
#include "core/time.h"
#include "gtest/gtest.h"

namespace forbear {
namespace {

MonotonicTime At(double seconds) {
  return MonotonicTime() + absl::Seconds(seconds);
}

TEST(SpellTest, BeginsWithItsFirstSendIfTheBucketWasFull) {
  Spell spell;
  spell.OnSend(At(3));
  spell.OnSend(At(4));
  EXPECT_EQ(spell.start, At(3));
  EXPECT_EQ(spell.first, At(3));
}

TEST(SpellTest, BeginsWhenTheBucketWasEmptyIfItWas) {
  Spell spell;
  spell.start = At(1);
  spell.OnSend(At(3));
  EXPECT_EQ(spell.start, At(1));
  EXPECT_EQ(spell.first, At(3));
}

TEST(SpellTest, MarksAFifthMoreEachTime) {
  Spell spell;
  spell.NoteRate(10, 1, At(1));
  spell.NoteRate(11.9, 2, At(2));
  ASSERT_EQ(spell.mark_count, 1U);
  spell.NoteRate(12, 3, At(3));
  ASSERT_EQ(spell.mark_count, 2U);
  EXPECT_EQ(spell.marks[0].time, At(1));
  EXPECT_EQ(spell.marks[1].sent, 3);
  // The oldest goes.
  double rate = 12;
  for (int i = 4; i < 24; ++i) {
    rate *= 1.21;
    spell.NoteRate(rate, i, At(i));
  }
  ASSERT_EQ(spell.mark_count, Spell::kMaxMarks);
  for (size_t i = 0; i < Spell::kMaxMarks; ++i) {
    EXPECT_EQ(spell.marks[i].sent, 16 + static_cast<double>(i));
  }
  spell.ClearMarks();
  EXPECT_EQ(spell.mark_count, 0U);
  spell.NoteRate(1, 1, At(30));
  EXPECT_EQ(spell.mark_count, 1U);
}

}  // namespace
}  // namespace forbear
