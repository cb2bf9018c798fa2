// Multi: the calls of Handles (curl_wrap/handle.h) on a multi handle, and by a loop, that
// are the application's own. Nothing blocks, and no thread is made.
//
//   CURLM* m = curl_multi_init();
//   std::unique_ptr<forbear::curl::Multi> forbear =
//       *forbear::curl::Multi::Create(m, client);
//   // A call of Forbear's:
//   forbear->Add(&handle, {}, [](const forbear::curl::Response& response) { … });
//   curl_multi_add_handle(m, easy);                 // a transfer of one's own, untouched
//   int running = 0, left = 0;
//   do {
//     forbear->Perform(&running);               // was curl_multi_perform
//     while (CURLMsg* message = forbear->InfoRead(&left)) …    // was curl_multi_info_read
//     if (running != 0) forbear->Poll(nullptr, 0, 1000, nullptr);  // was curl_multi_poll
//   } while (running != 0);
//
// An existing program changes these three names and gets its calls reported by Done.
// What waits counts as running. A program that waits by itself (select, epoll with
// CURLMOPT_SOCKETFUNCTION) sleeps no longer than TimeoutMs(), calls SocketAction instead
// of curl_multi_socket_action, with CURL_SOCKET_TIMEOUT when that time is over, and uses
// its own CURLMOPT_TIMERFUNCTION as before.
//
// Done functions run in Perform, SocketAction and the destructor; they may call Add and
// Cancel. What is cancelled is reported at the next Perform. What is added in the
// destructor is reported there, with kCancelled: when the Done function that adds it is
// over, if that was itself told so of what it had added. One that adds the next whatever
// it is told would go on for ever: after 100,000 in a row Add returns 0, and reports
// nothing.
//
// Messages. To find those of its calls, Perform takes all of them out of libcurl, and
// keeps the application's for InfoRead, while a call is out. libcurl forgets those of a
// handle that is removed before they are read, and so does InfoRead if it was removed by
// RemoveHandle; or by curl_multi_remove_handle, with libcurl 8.4 and later, unless it was
// added again at once. With an older one InfoRead could tell of a handle that is gone: a
// program that removes handles before it has read all messages calls RemoveHandle.
//
// Bounds: EngineOptions (curl_wrap/engine_options.h) but for max_transfers: a loop of
// one's own sees how many it adds.
//
// Thread rule: as the multi handle: one thread at a time. Other threads' calls may wake
// those that wait here: then curl_multi_wakeup ends Poll; a loop without Poll gives a
// function for that to Create. The destructor waits until one that runs is over: the
// thread that destroys must hold no lock that it takes.
#ifndef FORBEAR_CURL_WRAP_MULTI_H_
#define FORBEAR_CURL_WRAP_MULTI_H_

#include <curl/curl.h>

#include <cstdint>
#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "curl_wrap/call_options.h"
#include "curl_wrap/engine_options.h"
#include "curl_wrap/handle.h"
#include "curl_wrap/request.h"
#include "curl_wrap/response.h"
#include "runtime/client.h"

namespace forbear::curl {

class Multi {
 public:
  // `multi` must outlive it. Of the options, max_transfers means nothing here. `wake`
  // makes the loop come round, without blocking; empty: curl_multi_wakeup. It is called by
  // any thread on which a call lets one of these go on, and by Add and Cancel, with no
  // lock held; not by Perform and SocketAction, nor by Done functions in them: ask
  // TimeoutMs after these. It must not throw, nor destroy the Multi. INVALID_ARGUMENT with
  // all faults of the options.
  static absl::StatusOr<std::unique_ptr<Multi>> Create(
      CURLM* multi, std::shared_ptr<Client> client = Client::Default(),
      const EngineOptions& options = {}, std::function<void()> wake = {});
  // What is not over is cancelled, and reported.
  ~Multi();
  Multi(const Multi&) = delete;
  Multi& operator=(const Multi&) = delete;

  // Adds a call, which begins with the next Perform or SocketAction, and returns its
  // number. The handle must live, and be left alone, until `done` runs; if it is busy,
  // `done` is called at once, with CURLE_RECURSIVE_API_CALL. 0: it is not added (see
  // above).
  uint64_t Add(Handle* handle, CallOptions options, const Done& done);
  uint64_t Add(Request request, CallOptions options, const Done& done);

  // Takes a call back. Nothing, if it is over.
  void Cancel(uint64_t id);

  // As the functions of libcurl. `running` counts the application's own transfers and the
  // calls that are not over, also those that a Done function has just added.
  CURLMcode Perform(int* running);
  CURLMcode SocketAction(curl_socket_t socket, int mask, int* running);
  CURLMcode Poll(curl_waitfd* extra, unsigned int count, int timeout_ms,
                 int* ready);
  // Messages of transfers that are the application's own. Valid until the next one, and
  // as long as with libcurl. See "Messages".
  CURLMsg* InfoRead(int* left);
  // curl_multi_remove_handle, for a handle whose message may not have been read.
  CURLMcode RemoveHandle(CURL* easy);

  // Until Perform, or SocketAction with CURL_SOCKET_TIMEOUT, must be called; -1: there
  // is nothing to wait for. As curl_multi_timeout, with what waits here; 0 when there is
  // something new.
  long TimeoutMs();

 private:
  struct Impl;
  explicit Multi(std::unique_ptr<Impl> impl);
  const std::unique_ptr<Impl> impl_;
};

}  // namespace forbear::curl

#endif  // FORBEAR_CURL_WRAP_MULTI_H_
