// Transfer: one transfer of a soak, decided by dice before it is started: its request,
// its callbacks, its limits, and what must be true of its end.
//
//   Transfer t(id, Transfer::Way::kRequest, client, servers, &ledger, false, &dice);
//   t.Dress(&request);
//   …start it with t.options…
//   t.Check(response, &response.body);
//
// Thread rule: one thread at a time.
#ifndef FORBEAR_TESTS_SOAK_TRANSFER_H_
#define FORBEAR_TESTS_SOAK_TRANSFER_H_

#include <curl/curl.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "curl_wrap/call_options.h"
#include "curl_wrap/handle.h"
#include "curl_wrap/raw_options.h"
#include "curl_wrap/request.h"
#include "runtime/client.h"
#include "tests/soak/dice.h"
#include "tests/soak/ledger.h"
#include "tests/soak/servers.h"

namespace forbear::soak {

// A client with waits of milliseconds, and bounds that are met now and then. No call of
// it lasts much longer than kLongest.
ClientOptions RandomClient(Dice* dice);
inline constexpr absl::Duration kLongest = absl::Seconds(4);

class Transfer {
 public:
  enum class Way { kRequest, kHandle, kRaw };

  // `resend`: one POST in 50 that may be acted upon once is said to be harmless.
  Transfer(uint64_t id, Way way, std::shared_ptr<Client> client,
           const Servers& servers, Ledger* ledger, bool resend, Dice* dice);
  // What was dressed must be reset, or destroyed, or be `handle`.
  ~Transfer();
  Transfer(const Transfer&) = delete;
  Transfer& operator=(const Transfer&) = delete;

  void Dress(curl::Request* request);
  void Dress(curl::Handle* to);
  void Dress(CURL* easy);

  // The end. `body`: null, if the sink has it.
  void Check(const curl::CallResult& result, const std::string* body);

  uint64_t id() const { return id_; }

  // CallOptions, unless it is a raw one.
  curl::RawOptions options;
  // For ways that make a handle for each.
  std::optional<curl::Handle> handle;
  // Called in the middle of its answer, if its plan is to be cancelled from there.
  std::function<void()> cancel_self;

 private:
  enum class Body { kNone, kBytes, kFunction, kMime };
  enum class Taste { kTakesAll, kRefuses, kPauses, kCancels };

  template <typename To>
  void DressIn(To* to);
  void Choose(Dice* dice, bool resend);
  void ChooseOptions(Dice* dice);
  void Fault(absl::string_view what, const curl::CallResult& result);
  void CheckBody(const curl::CallResult& result, const std::string& body);
  void CheckReplay(const curl::CallResult& result);

  static size_t OnBody(char* data, size_t size, size_t n, void* self);
  static size_t OnRead(char* to, size_t size, size_t n, void* self);
  static int OnSeek(void* self, curl_off_t offset, int origin);
  static int OnProgress(void* self, curl_off_t, curl_off_t, curl_off_t,
                        curl_off_t);

  const uint64_t id_;
  const Way way_;
  const std::shared_ptr<Client> client_;
  const Servers& servers_;
  Ledger* const ledger_;
  const std::chrono::steady_clock::time_point begin_ =
      std::chrono::steady_clock::now();

  std::string url_;
  std::string flags_;
  const char* method_ = "GET";
  size_t size_ = 0;
  bool plain_ = false;   // passes through
  bool faulty_ = false;  // is to be refused, with nothing sent
  bool follows_ = false;
  bool fails_on_error_ = false;
  long timeout_ms_ = 0;  // libcurl's
  bool own_key_ = false;

  Body body_ = Body::kNone;
  size_t body_size_ = 0;
  bool sized_ = true;
  bool seeks_ = true;
  size_t read_ = 0;
  size_t aborts_at_ = kMostBytes;
  size_t read_step_ = 0;

  bool own_sink_ = true;
  Taste taste_ = Taste::kTakesAll;
  size_t taste_at_ = 0;
  bool tasted_ = false;
  bool paused_ = false;  // and nobody has let it go on
  std::string sink_;

  CURL* easy_ = nullptr;  // for the progress function
  curl_slist* lines_ = nullptr;
  curl_mime* mime_ = nullptr;
};

}  // namespace forbear::soak

#endif  // FORBEAR_TESTS_SOAK_TRANSFER_H_
