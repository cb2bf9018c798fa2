// LifePool: what a transfer has while an attempt of it is out, its easy handle with all
// that belongs to it, kept for the next transfer. Private.
//
//   LifePool pool;
//   std::unique_ptr<Life> life = pool.Take(request);
//   request.PutOn(life->Open(/*plain=*/false), &life->own, &life->lists);
//   …the transfer…
//   pool.Give(std::move(life), /*shown=*/true);
//
// Making an easy handle costs more than all else of a transfer on this side of libcurl.
// What must not go from one request to the next:
//
// 1. Options. A handle that goes to a request of another shape (Request::HasShape), or
//    which somebody may have changed, is reset. One that goes to a request of the same
//    shape has exactly the options that this one sets, and it sets them all.
// 2. What survives curl_easy_reset: cookies, HSTS, Alt-Svc, a CURLSH, states of
//    authentication. Only handles of plain requests (Request::IsPlain) are kept, which
//    cannot have any of these.
// 3. A handle's own callbacks. One of a call that passes through is not kept.
// 4. What a failure has left in libcurl. One whose transfer was cut off, or ended with
//    anything but an answer, is not kept.
//
// Connections, names and TLS sessions are the multi handle's, kept or not.
//
// Bounds: kMax lives with a handle and as many without, each some kilobytes, and as much
// memory for the next answer as HttpTransport::Held::Clear leaves; and the states of its
// last call (CallMemory), which are not forgotten meanwhile.
//
// Thread rule: one thread.
#ifndef FORBEAR_CURL_WRAP_LIFE_POOL_H_
#define FORBEAR_CURL_WRAP_LIFE_POOL_H_

#include <curl/curl.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "curl_wrap/call_setup.h"
#include "curl_wrap/easy_options.h"
#include "curl_wrap/http_transport.h"
#include "curl_wrap/parsed_url.h"
#include "curl_wrap/request.h"

namespace forbear::curl {

class Transfer;
class TransferSet;

// An easy handle with everything on it; or, of a Request, what will be on it, while
// there is none (`easy` is null).
struct Life {
  Life() = default;
  ~Life();
  Life(const Life&) = delete;
  Life& operator=(const Life&) = delete;

  // What Open will make of it; null: it is not there yet.
  CURL* spare() const { return spare_; }
  // Makes `easy`, one of its own. Null: there is no memory. `plain`: the call passes
  // through.
  CURL* Open(bool plain);
  // It shall not be kept.
  void Spoil() { keeps_ = false; }

  CURL* easy = nullptr;
  bool owned = false;
  EasyOptions own{/*fresh=*/true};
  bool is_set = false;  // `spare` has them
  const EasyOptions* settings = &own;
  Request::Lists lists;
  CallMemory memory;             // of a Request
  HttpTransport::Room room;      // of its calls
  std::optional<ParsedUrl> url;  // of the last request, as a rule
  std::optional<ExtraHeader> key;
  std::optional<HttpTransport> transport;  // none: it passes through
  bool at_most_once = false;               // … of the transport
  // For who has no functions of his own.
  bool takes_head = false;
  bool writes_head = false;  // to the FILE* that is HEADERDATA
  bool takes_body = false;
  std::string head;
  std::string body;
  uint64_t max_body = 0;
  // For callbacks.
  TransferSet* set = nullptr;
  Transfer* transfer = nullptr;

 private:
  friend class LifePool;

  CURL* spare_ = nullptr;  // what `easy` will be
  bool keeps_ = false;     // it may be kept
  bool changed_ = false;   // the handle must be reset
  std::string shape_;      // of the last request
};

class LifePool {
 public:
  static constexpr size_t kMax = 64;

  // For a handle of others.
  std::unique_ptr<Life> Take();
  // For a request, which then sets its options, all of them.
  std::unique_ptr<Life> Take(const Request& request);

  // What is not needed any more. `shown`: the application had its handle.
  void Give(std::unique_ptr<Life> life, bool shown);

  // Handles that are kept.
  size_t handles() const { return open_.size(); }

 private:
  std::vector<std::unique_ptr<Life>> bare_;
  std::vector<std::unique_ptr<Life>> open_;
};

}  // namespace forbear::curl

#endif  // FORBEAR_CURL_WRAP_LIFE_POOL_H_
