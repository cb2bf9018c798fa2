#include "curl_wrap/classify.h"

namespace forbear::curl {
namespace {

struct Meaning {
  ErrorKind kind = ErrorKind::kPermanent;
  Processed processed = Processed::kUnknown;
};

Meaning OfCode(CURLcode code, bool sent) {
  const Processed processed = sent ? Processed::kUnknown : Processed::kNo;
  switch (code) {
    // Before anything is sent; but a redirect's second hop may fail so, too.
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
    case CURLE_PROXY:
    // Before or after.
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
    case CURLE_HTTP3:
    case CURLE_BAD_CONTENT_ENCODING:  // what a truncated gzip looks like
      return {ErrorKind::kTransient, processed};
    case CURLE_PARTIAL_FILE:
      // Before anything was sent: an upload that RESUME_FROM says is complete.
      return {sent ? ErrorKind::kTransient : ErrorKind::kPermanent, processed};
    case CURLE_ABORTED_BY_CALLBACK:
      return {ErrorKind::kCancelled, processed};
    default:
      return {ErrorKind::kPermanent, processed};
  }
}

}  // namespace

Outcome Classify(const AttemptFacts& facts) {
  // FAILONERROR turns a status into an error; the status says more.
  const bool whole =
      !facts.timed_out &&
      (facts.code == CURLE_OK || facts.code == CURLE_HTTP_RETURNED_ERROR);
  // The application's own abort ends everything, whatever the head said.
  const bool aborted = facts.code == CURLE_ABORTED_BY_CALLBACK ||
                       facts.code == CURLE_WRITE_ERROR;
  Outcome outcome;
  bool heard = facts.status != 0 && !aborted;
  if (heard) {
    outcome.kind = facts.answer.kind;
    outcome.processed = facts.answer.processed;
    outcome.retry_forbidden = facts.answer.retry_forbidden;
    outcome.retry_wanted = facts.answer.retry_wanted;
    outcome.pushback = facts.answer.pushback;
    outcome.pushback_source = facts.answer.pushback_source;
    outcome.shed = facts.answer.shed;
    // Half an answer is none, unless it is a refusal.
    heard = whole || MayChange(outcome);
    if (facts.acted && outcome.processed == Processed::kNo) {
      outcome.processed = Processed::kUnknown;
    }
  }
  if (!heard) {
    outcome = Outcome();
    Meaning meaning = {ErrorKind::kOk, Processed::kYes};
    if (!whole || aborted) {
      meaning = OfCode(facts.timed_out ? CURLE_OPERATION_TIMEDOUT : facts.code,
                       facts.sent || facts.status != 0);
    }  // else HTTP/0.9: a body, no head
    outcome.kind = meaning.kind;
    outcome.processed = meaning.processed;
  }
  outcome.committed = facts.delivered && outcome.kind != ErrorKind::kOk;
  outcome.timed_out = facts.timed_out || facts.code == CURLE_OPERATION_TIMEDOUT;
  outcome.status = facts.status;
  outcome.transport_error = facts.code == CURLE_OK && facts.timed_out
                                ? static_cast<int>(CURLE_OPERATION_TIMEDOUT)
                                : static_cast<int>(facts.code);
  return outcome;
}

Outcome NothingLeft(CURLcode code) {
  AttemptFacts facts;
  facts.code = CURLE_COULDNT_CONNECT;
  Outcome outcome = Classify(facts);
  outcome.transport_error = code;
  return outcome;
}

}  // namespace forbear::curl
