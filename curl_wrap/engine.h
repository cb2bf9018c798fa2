// Engine: thousands of transfers on one thread, each of which gets through a
// rate-limited, flaky service as a Handle does (curl_wrap/handle.h: what is retried,
// what the application sees, at most once).
//
//   absl::StatusOr<std::unique_ptr<forbear::curl::Engine>> engine =
//       forbear::curl::Engine::Create(client);
//   forbear::curl::Request request("https://api.example.com/v1/models");
//   (*engine)->Start(request, {}, [](const forbear::curl::Response& response) {
//     if (response.code == CURLE_OK) Use(response.http_status, response.body);
//   });
//   // Or, for who wants to wait:
//   std::future<forbear::curl::Response> future = (*engine)->Send(request, {});
//
// A program that has set up easy handles gives these: Start(&handle, options, done).
// One with a multi handle and a loop of its own needs no engine: curl_wrap/multi.h.
//
// Order. Transfers begin in the order in which they were started, as far as there are
// places (max_in_flight, and max_per_host, which also bounds the connections to a host).
// Who waits for a server holds no place. The deadline counts from Start.
//
// Memory. While a call waits, its easy handle is let go; what remains of a Request is
// its bytes and about a kilobyte (docs/benchmarks.md). Handles of Requests that are over
// are used for the next ones, reset where need be, so that nothing goes from one to the
// other (curl_wrap/life_pool.h); up to 64 are kept, some kilobytes each.
//
// Callbacks, Done too, run on the engine's thread: whoever blocks it, blocks all
// transfers. They must not throw. They may call Start, Send and Cancel; not Shutdown,
// nor destroy the engine, nor wait for its futures. A callback of a Handle must not call
// Perform of another one there; a Done function may, but it blocks.
//
// Every transfer is reported once, whatever happens: also if the queue is full
// (kQueueFull), and after Shutdown (kCancelled), then by the thread that calls Start; of
// one that is started in such a report, when that is over. A Done function that starts
// the next one whatever it is told would go on for ever: after 100,000 refusals in a row
// Start returns 0, and reports nothing.
//
// fork: a child has no thread, and must not use its parent's engine, nor destroy it.
// Signals are blocked on the engine's thread.
//
// Thread rule: all members from any thread; but see "Callbacks".
#ifndef FORBEAR_CURL_WRAP_ENGINE_H_
#define FORBEAR_CURL_WRAP_ENGINE_H_

#include <cstddef>
#include <cstdint>
#include <future>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "curl_wrap/call_options.h"
#include "curl_wrap/engine_options.h"
#include "curl_wrap/handle.h"
#include "curl_wrap/request.h"
#include "curl_wrap/response.h"
#include "runtime/client.h"

namespace forbear::curl {

class Engine {
 public:
  // INVALID_ARGUMENT with all faults of the options; RESOURCE_EXHAUSTED if the system
  // has no thread or no file descriptors for it.
  static absl::StatusOr<std::unique_ptr<Engine>> Create(
      std::shared_ptr<Client> client = Client::Default(),
      const EngineOptions& options = {});

  // Shutdown(0).
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // Starts a transfer, and returns its number, which Cancel takes. `done` may be empty.
  // 0: it is not started, and not reported (see above).
  uint64_t Start(Request request, CallOptions options, const Done& done);
  // Of a handle, which must live, and be left alone, until `done` runs. If it is busy,
  // that is CURLE_RECURSIVE_API_CALL.
  uint64_t Start(Handle* handle, CallOptions options, const Done& done);

  // The same for who waits. Response::easy is null.
  std::future<Response> Send(Request request, CallOptions options = {});

  // Takes a transfer back, within a millisecond or so, wherever it is: it is reported
  // with CURLE_ABORTED_BY_CALLBACK and kCancelled. Nothing, if it is over.
  void Cancel(uint64_t id);

  // Takes no more, waits up to `grace` (0 … infinite) until all transfers are over, and
  // cancels the rest. Until then they go on as before, and Cancel takes one back. When it
  // returns all are reported, and the thread is gone. Of several, on threads of their
  // own, the shortest grace counts.
  void Shutdown(absl::Duration grace);

  struct Counts {
    size_t queued = 0;     // wait for a place, and have not begun
    size_t waiting = 0;    // wait for the server, or for a place to go on
    size_t in_flight = 0;  // an attempt is out
  };
  // As of the thread's last round.
  Counts counts() const;

 private:
  class Loop;

  explicit Engine(std::unique_ptr<Loop> loop);

  const std::unique_ptr<Loop> loop_;
};

}  // namespace forbear::curl

#endif  // FORBEAR_CURL_WRAP_ENGINE_H_
