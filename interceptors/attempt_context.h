// The context of an attempt that is a call of our own. Private.
//
//   FillAttemptContext(application's, deadline, &context);
//   const SentMetadata metadata = MetadataOfAttempt(application's, number);
//   {
//     const StartingAttempt starting(&context);
//     …CreateCall with &context…
//   }
//
// What an attempt carries of the application's call: credentials, which are asked
// anew, the census context, what has no getter (interceptors/private_access.h), and
// its metadata, which hold the choice of compression and what earlier interceptors
// added; later ones also how many there were before.
//
// Thread rule: the functions as gRPC's own objects; a StartingAttempt lives on the
// stack of its thread.
#ifndef FORBEAR_INTERCEPTORS_ATTEMPT_CONTEXT_H_
#define FORBEAR_INTERCEPTORS_ATTEMPT_CONTEXT_H_

#include <grpc/support/time.h>
#include <grpcpp/client_context.h>

#include <map>
#include <string>

namespace forbear::rpc {

using SentMetadata = std::multimap<std::string, std::string>;

// Whether the metadata carry the marker of a layer that repeats the call
// (signals/retry_marker.h). Null: no.
bool HasRetryMarker(const SentMetadata* metadata);

// `from`: of the application, or of the attempt before.
void FillAttemptContext(grpc::ClientContext& from, gpr_timespec deadline,
                        grpc::ClientContext* to);

// Of attempt `number`: 1 is the first.
SentMetadata MetadataOfAttempt(const SentMetadata& metadata, int number);

// While it exists, this thread starts the attempt with `context`.
class StartingAttempt {
 public:
  explicit StartingAttempt(const grpc::ClientContext* context);
  ~StartingAttempt();
  StartingAttempt(const StartingAttempt&) = delete;
  StartingAttempt& operator=(const StartingAttempt&) = delete;

  // Such a call must not get an interceptor.
  static bool Is(const grpc::ClientContext* context);

 private:
  const grpc::ClientContext* const before_;
};

}  // namespace forbear::rpc

#endif  // FORBEAR_INTERCEPTORS_ATTEMPT_CONTEXT_H_
