#ifndef FORBEAR_TESTS_TESTING_ARRIVAL_LOG_H_
#define FORBEAR_TESTS_TESTING_ARRIVAL_LOG_H_

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "tests/testing/fault.h"

namespace forbear::testing {

// One request as the server saw it.
struct Arrival {
  // An arrival that has no answer yet, or gets none.
  static constexpr int kNoStatus = -1;

  // 0 for the first arrival of the log.
  int64_t index = 0;

  // Monotonic time between the making of the log and the arrival of the last
  // byte of the request.
  absl::Duration since_start;

  // HTTP: "POST". gRPC: empty.
  std::string method;

  // HTTP: path and query. gRPC: "/package.Service/Method".
  std::string path;

  // HTTP header fields or gRPC metadata. Names are in lower case, several
  // values of one name are joined with ", ". Bounded: see ArrivalLog.
  std::map<std::string, std::string> headers;

  // Size of the whole body, ArrivalLog::HashOf() of the whole body, and a copy
  // of its beginning.
  size_t body_bytes = 0;
  size_t body_hash = 0;
  std::string body;

  // HTTP: 0 for the first connection on which a request came, and so on. gRPC:
  // the same for peers, which are connections.
  int64_t connection_id = 0;

  // 0 for the first request of its connection.
  int64_t index_on_connection = 0;

  // What was decided for it: the HTTP status or gRPC status code, and the
  // fault. A fault that leaves no answer also leaves kNoStatus.
  int status = kNoStatus;
  Fault fault = Fault::kNone;

  // When the answer's head, or the reset that comes instead, was to leave, and
  // when it was given to the system; infinite until then. The difference is how
  // late a busy machine made the server.
  absl::Duration answer_due = absl::InfiniteDuration();
  absl::Duration answered = absl::InfiniteDuration();

  // The client left before the answer was complete.
  bool cancelled = false;
};

// What arrived at a server's door, and when.
//
// Tests count here and not in the client: a client can forget a send, or not
// know of one (libcurl repeats a request on a dead connection by itself).
//
//   server->log().Count()                       // exact, however many
//   for (const Arrival& a : server->log().Snapshot()) …
//   EXPECT_LE(server->log().FullestBin(absl::Milliseconds(100), gate).count,
//             5);
//   ASSERT_TRUE(server->log().WaitForCount(3, absl::Seconds(5)));
//
// Memory is bounded: the newest `max_kept` arrivals are kept, of each at most
// `max_body_copy` bytes of body, 64 header fields and 256 bytes per value.
// Counts are exact beyond that.
//
// Thread rule: all members may be called from any thread.
class ArrivalLog {
 public:
  struct Options {
    size_t max_kept = 100000;
    size_t max_body_copy = 1024;
  };

  // The arrivals in [start, start + width).
  struct Bin {
    absl::Duration start;
    int64_t count = 0;
  };

  ArrivalLog() : ArrivalLog(Options{}) {}
  explicit ArrivalLog(const Options& options);
  ArrivalLog(const ArrivalLog&) = delete;
  ArrivalLog& operator=(const ArrivalLog&) = delete;

  // Monotonic time since the log was made: the clock of Arrival::since_start.
  absl::Duration Now() const;
  std::chrono::steady_clock::time_point start() const { return start_; }

  // Arrivals so far.
  int64_t Count() const;

  // Arrivals so far for which SetAnswer() was called with this status.
  int64_t CountOfStatus(int status) const;

  // Arrivals so far that the client left before the answer was complete.
  int64_t CountCancelled() const;

  // The kept arrivals, oldest first.
  std::vector<Arrival> Snapshot() const;

  // The densest stretch of `width` among kept arrivals not before `from`. It
  // slides: it need not begin at a multiple of `width`, so no burst hides on
  // a border.
  // REQUIRES: width > 0.
  Bin FullestBin(absl::Duration width,
                 absl::Duration from = absl::ZeroDuration()) const;

  // Waits until n requests have arrived and it is decided how they are
  // answered, so that a script set afterwards is not for them; or until
  // CountCancelled() >= n. False if it takes longer than `timeout`.
  bool WaitForCount(int64_t n, absl::Duration timeout) const;
  bool WaitForCancelled(int64_t n, absl::Duration timeout) const;

  // Equal for equal bodies, within one process.
  static size_t HashOf(absl::string_view body);

  // For servers. Add() gives the arrival its index and time (whatever these
  // fields held), bounds what it holds, and returns both; body_bytes and
  // body_hash are the caller's. The others do nothing for an arrival that is
  // no longer kept, except to count. SetAnswer() comes once for each arrival,
  // the others at most once; SetAnswered(), which says that the answer has just
  // left, knows how long after the arrival it was to leave.
  struct Stamp {
    int64_t index;
    absl::Duration since_start;
  };
  Stamp Add(Arrival arrival);
  void SetAnswer(int64_t index, int status, Fault fault);
  void SetAnswered(int64_t index, absl::Duration intended);
  void SetCancelled(int64_t index);

 private:
  // REQUIRES: mutex_ is held.
  Arrival* Find(int64_t index);

  // Waits until `*counter`, which mutex_ guards, is at least n.
  bool WaitFor(const int64_t* counter, int64_t n, absl::Duration timeout) const;

  const Options options_;
  const std::chrono::steady_clock::time_point start_;

  mutable std::mutex mutex_;  // Guards all below.
  mutable std::condition_variable changed_;
  std::deque<Arrival> kept_;
  int64_t count_ = 0;
  int64_t decided_ = 0;
  int64_t cancelled_ = 0;
  absl::flat_hash_map<int, int64_t> by_status_;
};

}  // namespace forbear::testing

#endif  // FORBEAR_TESTS_TESTING_ARRIVAL_LOG_H_
