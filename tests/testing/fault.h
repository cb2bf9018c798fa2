#ifndef FORBEAR_TESTS_TESTING_FAULT_H_
#define FORBEAR_TESTS_TESTING_FAULT_H_

#include "absl/strings/string_view.h"

namespace forbear::testing {

// What a server does to a request instead of answering it properly.
//
// Each value says what the *client* sees, and that the server has read the
// whole request first: the dangerous faults are those after which the client
// cannot know whether its request was acted upon.
enum class Fault {
  // A proper answer.
  kNone,

  // The connection is reset (RST) before any byte of the answer: recv() in the
  // client fails with ECONNRESET; libcurl says CURLE_RECV_ERROR.
  kResetBeforeHead,

  // The connection is closed (FIN) before any byte of the answer: recv() in
  // the client returns 0; libcurl says CURLE_GOT_NOTHING, or, on a reused
  // connection, silently sends the request again.
  kCloseAfterRead,

  // No answer, and the connection stays open until the client leaves or the
  // server stops.
  kHang,

  // A head and only a part of the body it promised, then FIN: libcurl says
  // CURLE_PARTIAL_FILE.
  kTruncate,

  // A head and only a part of the body it promised, then RST.
  kResetMidBody,

  // Bytes chosen by the test, whatever they are, then FIN.
  kRaw,
};

// "none", "reset-before-head", … for messages.
inline absl::string_view FaultName(Fault fault) {
  switch (fault) {
    case Fault::kNone:
      return "none";
    case Fault::kResetBeforeHead:
      return "reset-before-head";
    case Fault::kCloseAfterRead:
      return "close-after-read";
    case Fault::kHang:
      return "hang";
    case Fault::kTruncate:
      return "truncate";
    case Fault::kResetMidBody:
      return "reset-mid-body";
    case Fault::kRaw:
      return "raw";
  }
  return "unknown";
}

}  // namespace forbear::testing

#endif  // FORBEAR_TESTS_TESTING_FAULT_H_
