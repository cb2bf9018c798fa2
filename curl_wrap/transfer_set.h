// TransferSet: the calls on one multi handle. It has no loop and no thread: who runs the
// multi handle (curl_wrap/engine.h, curl_wrap/multi.h) tells it what happened, and lets
// it work. Private.
//
//   TransferSet set(multi, client, limits, on_over);
//   …in a loop:
//   set.Post(item) for each of the inbox;
//   set.Run(MonotonicNow());               // starts, times out, reports
//   …let libcurl work, no longer than until set.next()…
//   for each message: set.OnMessage(easy, code);
//
// Order. A transfer that could go on, be it new, woken or over with its wait, goes on
// when there is a place for an attempt: one of max_in_flight, and one of its host's
// max_per_host. Of those for which there is one, the one that was started first. While
// it waits for a place it holds nothing: the core is asked when there is one.
//
// Memory. While a call waits, its easy handle goes to others (curl_wrap/life_pool.h): a
// waiting Request is its own bytes and the call. The handles of the first max_kept are kept, with the refusal that
// they got, and so are those of Handles, and of Requests with a body that is read from a
// function.
//
// Thread rule: one thread.
#ifndef FORBEAR_CURL_WRAP_TRANSFER_SET_H_
#define FORBEAR_CURL_WRAP_TRANSFER_SET_H_

#include <curl/curl.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "core/time.h"
#include "curl_wrap/call_setup.h"
#include "curl_wrap/engine_options.h"
#include "curl_wrap/inbox.h"
#include "curl_wrap/life_pool.h"
#include "curl_wrap/response.h"
#include "curl_wrap/transfer.h"
#include "runtime/client.h"
#include "runtime/due_heap.h"

namespace forbear::curl {

class TransferSet {
 public:
  struct Limits {
    size_t max_in_flight = 0;
    size_t max_per_host = 0;
    size_t max_kept = 0;
    uint64_t max_body_bytes = 0;
  };
  static Limits LimitsOf(const EngineOptions& options);
  struct Counts {
    size_t queued = 0;     // not begun
    size_t waiting = 0;    // begun, and no attempt is out
    size_t in_flight = 0;  // an attempt is out
  };

  // `multi` must outlive it. `on_over` is called before each report; may be empty.
  TransferSet(CURLM* multi, std::shared_ptr<Client> client,
              const Limits& limits, std::function<void()> on_over);
  // REQUIRES: empty().
  ~TransferSet();
  TransferSet(const TransferSet&) = delete;
  TransferSet& operator=(const TransferSet&) = delete;

  // What came in.
  void Post(Inbox::Item item);
  // A transfer of the multi handle is over. False: it is none of these.
  bool OnMessage(CURL* easy, CURLcode code);
  // Takes every transfer back.
  void CancelAll();
  // Does all that is to be done now. Calls Done functions, which may post.
  void Run(MonotonicTime now);

  // When Run must be called, if nothing happens before.
  MonotonicTime next() const;
  bool empty() const { return all_.empty(); }
  Counts counts() const;

 private:
  using State = Transfer::State;
  using Host = Transfer::Host;
  using Order = std::pair<uint64_t, Host*>;

  // Begins.
  void Add(std::shared_ptr<Transfer> transfer);
  // What its call is made of; of a Request, its settings become its life.
  CallSetup SetUp(Transfer* t);
  void Begin(Transfer* t, CallSetup* setup, MonotonicTime now);
  void Cancel(Transfer* t);

  // Places.
  void MakeReady(Transfer* t, State state);
  void TakeFromReady(Transfer* t);
  // Puts the host where it belongs in open_, or takes it out.
  void Sort(Host* host);
  // Of those that wait for a place at this host; null: there is none.
  Transfer* FirstReady(Host* host);
  void Leave(Host* host);
  void FillPlaces(MonotonicTime now);
  void OnDue(Transfer* t, MonotonicTime now);
  // Whether the call may go on now.
  void Ask(Transfer* t, MonotonicTime now);

  // Attempts.
  void GoOn(Transfer* t);
  void StartAttempt(Transfer* t, int n, MonotonicTime deadline);
  void StartPlain(Transfer* t, CallSetup* setup);
  std::unique_ptr<Life> NewLife(Transfer* t);
  // What libcurl says to the options. `plain`: it passes through.
  CURLcode MakeLife(Transfer* t, bool plain);
  // What is in its life is not needed any more.
  void LetGo(Transfer* t) { lives_.Give(std::move(t->life), /*shown=*/false); }
  // The host of a target: made, if there is none.
  Host* HostOf(absl::string_view target);
  // Whether there is a place at this host, for which nobody else waits.
  bool HasPlace(const Host& host) const;
  // False: the handle belongs to a multi handle of others.
  bool TakeOff(Transfer* t, MonotonicTime deadline);
  // Takes it down in mid-air.
  void Land(Transfer* t);
  // It is not in in_flight_ any more.
  void Settle(Transfer* t, bool in_mid_air);
  void SetDue(Transfer* t);
  void Wait(Transfer* t, MonotonicTime until);
  void FinishPlain(Transfer* t, CURLcode code);
  void Finish(Transfer* t);

  // Reports.
  void Report(Transfer* t);
  void FillResponse(Transfer* t, Response* response);

  static void OnHold(void* life);
  static size_t Collect(char* data, size_t size, size_t n, void* life);
  static size_t WriteHead(char* data, size_t size, size_t n, void* file);
  static size_t CollectHead(char* data, size_t size, size_t n, void* life);

  CURLM* const multi_;
  const std::shared_ptr<Client> client_;
  const Limits limits_;
  const std::function<void()> on_over_;

  LifePool lives_;  // goes last
  absl::flat_hash_map<uint64_t, std::shared_ptr<Transfer>> all_;
  absl::flat_hash_map<CURL*, Transfer*> in_flight_;
  absl::flat_hash_map<std::string, std::unique_ptr<Host>> hosts_;
  Host* last_host_ = nullptr;  // that was asked for; null: it is gone
  std::set<Order> open_;       // hosts with a place and somebody for it, by him
  DueHeap<Transfer> due_;
  size_t queued_ = 0;
  size_t kept_ = 0;
  std::vector<Transfer*> over_;  // to be reported
};

}  // namespace forbear::curl

#endif  // FORBEAR_CURL_WRAP_TRANSFER_SET_H_
