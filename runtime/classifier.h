// Classifier: the user's own look at an answer. A function that sees what came
// back and may change what Forbear makes of it: an error that is worth a retry
// after all, a refusal that no wait will cure, a wait that only the body tells.
//
//   ClientOptions options;
//   options.classify_http = [](const HttpAnswer& answer, Outcome* outcome) {
//     if (answer.status == 429 &&
//         absl::StrContains(answer.body, "\"code\":\"account_on_hold\"")) {
//       outcome->kind = ErrorKind::kPermanent;   // no wait ends that
//     }
//   };
//
// What vendors document is read already (docs/profiles.md); this is for what a
// profile cannot say.
//
// When. Once per attempt that brought an answer other than OK, at its end, before
// the decision. HTTP: a status of 400 or more; the body as far as it was held
// back, at most the first 64 KiB. gRPC: any code but OK. The gate is shut when
// the head arrives, by Forbear's own reading: a classifier can refuse the retry or
// lengthen the wait, but not take back what the head has told the other callers.
// A refusal or a longer wait that it alone has seen stops them from then on.
//
// What it may change: kind, processed, retry_forbidden, pushback (with its
// source), repeatable. A negative pushback counts as zero; one that is too long
// to be believed is dropped as any other. `committed`, `timed_out` and the facts for
// the record are Forbear's: changes to them are undone.
//
// Thread rule: called on the thread that drives the call, with no lock held, from
// several threads at once. It must not block and not throw; what it is given is
// only valid during the call.
#ifndef FORBEAR_RUNTIME_CLASSIFIER_H_
#define FORBEAR_RUNTIME_CLASSIFIER_H_

#include <functional>
#include <utility>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "core/outcome.h"

namespace forbear {

// A field's or a metadatum's name (as it came) and value.
using NameAndValue = std::pair<absl::string_view, absl::string_view>;

struct HttpAnswer {
  int status = 0;
  absl::Span<const NameAndValue> headers;
  // The first bytes of the body; not all of it if it was longer, or too slow.
  absl::string_view body;
};

struct RpcAnswer {
  int code = 0;  // a grpc::StatusCode
  absl::string_view message;
  absl::string_view details;  // grpc-status-details-bin, serialized
  absl::Span<const NameAndValue> trailers;
};

using HttpClassifier = std::function<void(const HttpAnswer&, Outcome*)>;
using RpcClassifier = std::function<void(const RpcAnswer&, Outcome*)>;

// Lets `classifier` look at `answer`, and undoes what it may not change.
template <typename Classifier, typename Answer>
void Reclassify(const Classifier& classifier, const Answer& answer,
                Outcome* outcome) {
  if (!classifier) return;
  const Outcome before = *outcome;
  classifier(answer, outcome);
  outcome->committed = before.committed;
  outcome->timed_out = before.timed_out;
  outcome->status = before.status;
  outcome->transport_error = before.transport_error;
  outcome->resends = before.resends;
  outcome->bytes_sent = before.bytes_sent;
  outcome->bytes_received = before.bytes_received;
}

}  // namespace forbear

#endif  // FORBEAR_RUNTIME_CLASSIFIER_H_
