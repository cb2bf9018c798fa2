#ifndef FORBEAR_TESTS_TESTING_REPLY_H_
#define FORBEAR_TESTS_TESTING_REPLY_H_

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "tests/testing/fault.h"

namespace forbear::testing {

// One answer of an HttpServer, good or bad, as a value.
//
// A reply is made by one of the static functions and refined by the const
// member functions, each of which returns a changed copy:
//
//   Reply::Of(200, "hello")
//   Reply::Of(429).With("Retry-After", "1")
//   Reply::Of(429, big_page).With("Retry-After", "2").BodyAfter(Seconds(5))
//   Reply::Of(200, body).Chunked().InPieces(1, Milliseconds(10))
//   Reply::Truncate("0123456789", 4)          // promises 10 bytes, sends 4
//   Reply::CloseAfterRead().OnlyOnReusedConnection()
//
// The server adds Date, Content-Length and Content-Type where they are absent.
// Reply::Raw() is for answers that must lack them, or are not HTTP at all.
//
// Thread rule: a plain value; no synchronisation of its own.
struct Reply {
  int status = 200;

  // Sent in this order; a name may come more than once.
  std::vector<std::pair<std::string, std::string>> headers;

  std::string body;

  // Send the body in chunked transfer coding instead of with Content-Length.
  bool chunked = false;

  // Say "Connection: close" and close after the answer.
  bool close_connection = false;

  // From the arrival of the whole request to the first byte of the answer, or
  // to the fault that comes instead of it.
  absl::Duration delay_before_head;

  // From the head to the first byte of the body.
  absl::Duration delay_before_body;

  // If not 0: the body is sent in pieces of this many bytes, `piece_interval`
  // apart.
  size_t piece_bytes = 0;
  absl::Duration piece_interval;

  Fault fault = Fault::kNone;

  // kTruncate, kResetMidBody: how much of `body` is sent before the fault.
  size_t bytes_before_fault = 0;

  // The fault is played only to a request that is not the first one on its
  // connection; a first one gets the answer without the fault.
  bool fault_only_on_reused_connection = false;

  // A proper answer.
  static Reply Of(int status, std::string body = "") {
    Reply reply;
    reply.status = status;
    reply.body = std::move(body);
    return reply;
  }

  // The faults; see fault.h for what the client sees.
  static Reply ResetBeforeHead() { return OfFault(Fault::kResetBeforeHead); }
  static Reply CloseAfterRead() { return OfFault(Fault::kCloseAfterRead); }
  static Reply Hang() { return OfFault(Fault::kHang); }

  // Promises the whole of `body` (by Content-Length, or by chunks without a
  // last one), sends its first `sent` bytes, then closes.
  static Reply Truncate(std::string body, size_t sent) {
    Reply reply = OfFault(Fault::kTruncate);
    reply.body = std::move(body);
    reply.bytes_before_fault = sent;
    return reply;
  }

  // As Truncate(), but ends in a reset. The `sent` bytes reach the client
  // first.
  static Reply ResetMidBody(std::string body, size_t sent) {
    Reply reply = Truncate(std::move(body), sent);
    reply.fault = Fault::kResetMidBody;
    return reply;
  }

  // Sends exactly `bytes`, head and all, then closes. For heads that a
  // well-behaved server would not write.
  static Reply Raw(std::string bytes) {
    Reply reply = OfFault(Fault::kRaw);
    reply.body = std::move(bytes);
    return reply;
  }

  Reply With(std::string name, std::string value) const {
    Reply reply = *this;
    reply.headers.emplace_back(std::move(name), std::move(value));
    return reply;
  }
  Reply After(absl::Duration delay) const {
    Reply reply = *this;
    reply.delay_before_head = delay;
    return reply;
  }
  Reply BodyAfter(absl::Duration delay) const {
    Reply reply = *this;
    reply.delay_before_body = delay;
    return reply;
  }
  Reply InPieces(size_t bytes, absl::Duration interval) const {
    Reply reply = *this;
    reply.piece_bytes = bytes;
    reply.piece_interval = interval;
    return reply;
  }
  Reply Chunked() const {
    Reply reply = *this;
    reply.chunked = true;
    return reply;
  }
  Reply ThenClose() const {
    Reply reply = *this;
    reply.close_connection = true;
    return reply;
  }
  Reply OnlyOnReusedConnection() const {
    Reply reply = *this;
    reply.fault_only_on_reused_connection = true;
    return reply;
  }

 private:
  static Reply OfFault(Fault fault) {
    Reply reply;
    reply.fault = fault;
    return reply;
  }
};

}  // namespace forbear::testing

#endif  // FORBEAR_TESTS_TESTING_REPLY_H_
