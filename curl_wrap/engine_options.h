// EngineOptions: the bounds of an Engine (curl_wrap/engine.h) or a Multi.
//
// Thread rule: a value.
#ifndef FORBEAR_CURL_WRAP_ENGINE_OPTIONS_H_
#define FORBEAR_CURL_WRAP_ENGINE_OPTIONS_H_

#include <cstdint>

#include "absl/status/status.h"

namespace forbear::curl {

struct EngineOptions {
  // Attempts that are out at a time. Default 256. 1 … 65,536.
  int max_in_flight = 256;

  // … to one host and port. Default 32. 1 … 65,536.
  int max_per_host = 32;

  // Transfers that are started and not over; one more ends at once with kQueueFull.
  // Default 100,000. 1 … 10,000,000.
  int max_transfers = 100000;

  // Waiting Requests whose easy handle is kept, with its connection's place and the
  // refusal that it got: that is what the application sees if the wait comes to
  // nothing. About 8 KB each, and the refusal (CallOptions::max_held_bytes). Default
  // 100. 0 … 1,000,000.
  int max_kept = 100;

  // Of an answer that no function takes: more than this ends the transfer with
  // CURLE_WRITE_ERROR. Default 64 MiB. 0 … 2^40.
  int64_t max_body_bytes = int64_t{64} << 20;
};

// INVALID_ARGUMENT with all faults.
absl::Status ValidateEngineOptions(const EngineOptions& options);

}  // namespace forbear::curl

#endif  // FORBEAR_CURL_WRAP_ENGINE_OPTIONS_H_
