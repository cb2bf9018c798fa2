// RawTransfer: the attempts of one call over a handle whose callbacks are the
// application's, and not known.
//
//   RawTransfer transfer(easy, multi, &options, readers, key_headers,
//                        RawTransfer::BrakeOfLibcurl());
//   RunBlocking(&call, &parker, &transfer);
//   CURLcode code = transfer.Conclude(call.record());
//
// It sees what libcurl tells a debug function: every request's head, every line of
// every answer's head, and when a body begins. When an answer's last head is there,
// the call is asked at once, and for good, whether another attempt follows. If so,
// the body must not reach the write callback, which libcurl calls next:
//
//                                      application's header function
//                                                  ▲
//   status line ─► field ─► … ─► field ─► empty line ─► [decide] ─► body
//                                     ▲                    │
//                       FAILONERROR is looked at           kPause
//
// kPause: receiving is paused from within the debug function, after the empty line.
//   libcurl keeps what else came with the head, and the transfer is taken away right
//   after that. The decision has all of the head. libcurl up to 8.6.
// kFail: since 8.7 a pause no longer stops what libcurl has read already. There is
//   only FAILONERROR, and libcurl looks at that before it shows the empty line, which
//   tells that the head is over. So it is on or off after every line, as the head says
//   so far (Call::PreviewHead). What the shared states say to the real question, an
//   empty retry budget, say, comes too late then: such an answer arrives without its
//   body, as CURLE_HTTP_RETURNED_ERROR.
//
// The application's own FAILONERROR ends a transfer at its head, too, and is told from
// ours by nobody asking: decisions are made by what was read, not by CURLcodes.
//
// Thread rule: not thread-safe.
#ifndef FORBEAR_CURL_WRAP_RAW_TRANSFER_H_
#define FORBEAR_CURL_WRAP_RAW_TRANSFER_H_

#include <curl/curl.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "core/call_record.h"
#include "core/outcome.h"
#include "core/time.h"
#include "curl_wrap/call_place.h"
#include "curl_wrap/classify.h"
#include "curl_wrap/head_reader.h"
#include "curl_wrap/http_transport.h"
#include "curl_wrap/raw_options.h"
#include "runtime/blocking_driver.h"
#include "runtime/call.h"
#include "runtime/server_clock.h"

namespace forbear::curl {

class RawTransfer final : public BlockingTransport {
 public:
  enum class Brake : uint8_t { kPause, kFail };
  // What the libcurl that runs here needs.
  static Brake BrakeOfLibcurl();

  // All pointers must outlive it. Without a `multi`, each attempt has one of its own,
  // and asks for a new connection, so none that was used before. `key_headers`: a request
  // that has one of them with a value may be repeated.
  RawTransfer(CURL* easy, CURLM* multi, const RawOptions* options,
              const HttpTransport::Readers& readers,
              std::vector<std::string> key_headers, Brake brake);
  // Clears the options that it has set.
  ~RawTransfer() override;
  RawTransfer(const RawTransfer&) = delete;
  RawTransfer& operator=(const RawTransfer&) = delete;

  void Attempt(Call* call, int n, MonotonicTime deadline) override;

  // After the call: what curl_easy_perform would have returned for the last attempt.
  CURLcode Conclude(const CallRecord& record) const;

  // Of the call's first request; empty: none was sent.
  const std::string& method() const { return method_; }
  // The handle belongs to a multi handle of others, and was not touched.
  bool refused() const { return refused_; }

 private:
  static int OnDebug(CURL* easy, curl_infotype type, char* data, size_t size,
                     void* self);
  void OnRequestHead(absl::string_view text);
  void OnHeadLine(absl::string_view line);
  // The head that is there is the last one of an answer to the request before it.
  void OnAnswer();
  void OnBody();

  // A request that a redirect has made was sent, or has failed on the way.
  void Follow();
  // The clock of the server that answers.
  ServerClock* Clock() const;

  bool Begin(Call* call, int n);
  CURLcode Run(MonotonicTime deadline);
  CURLcode RunOn(CURLM* multi, MonotonicTime deadline);
  void End(CURLcode code);

  // The last head is there.
  void Decide();
  void Arm();
  void SetFailOnError(bool on);
  // Of the head as far as it is there.
  AttemptFacts Facts(int status) const;
  HeaderFields Fields() const;
  void AskClassifier(Outcome* outcome) const;
  void Complete(Outcome* outcome) const;
  void ReportDone(const Outcome& outcome);

  bool WasSent() const;
  // Every request that was sent may be repeated, by its method or its key.
  bool IsRepeatable() const;
  // The read callback may have been called.
  bool BodyBegun() const;
  // … and libcurl does not see to that.
  bool NeedsRewind() const;
  bool CanReplay() const;
  // The head says that no body follows.
  bool IsEmpty() const;

  CURL* const easy_;
  CURLM* const multi_;
  const RawOptions& options_;
  const HttpTransport::Readers first_readers_;
  HttpTransport::Readers readers_;  // of the answer
  const std::vector<std::string> key_headers_;
  const Brake brake_;

  Call* call_ = nullptr;
  int attempts_ = 0;
  bool taken_over_ = false;
  bool refused_ = false;
  uint8_t resends_ = 0;  // of the attempt, by libcurl itself
  bool must_rewind_ = false;
  std::string method_;
  CURLcode code_ = CURLE_OK;

  // Of the attempt.
  int number_ = 0;
  bool running_ = false;
  // Its requests.
  bool requested_ = false;
  bool unanswered_ = false;  // the last one, as yet
  bool repeatable_ = true;
  bool has_body_ = false;        // one of them, as far as its head tells
  bool awaits_consent_ = false;  // the last one: Expect: 100-continue …
  bool consented_ = false;       // … and that has come
  bool uploaded_ = false;
  bool acted_ = false;    // an answer that was followed may mean that one was
  bool tunnels_ = false;  // CONNECT was the last one: heads are a proxy's
  // Its answer.
  HeadReader head_;
  std::string head_text_;
  std::vector<size_t> head_lines_;
  bool head_is_cut_ = false;  // too long to be kept
  int status_ = 0;            // of the last head that is no interim one
  absl::Time head_time_ = absl::InfinitePast();
  bool redirected_ = false;  // it was 3xx, and no request has gone since
  long redirects_ = 0;       // when that came
  // Where one has led, and the clock there; null: nowhere.
  RedirectPlaces::Place place_;
  ServerClock* clock_ = nullptr;
  ServerClock nobodys_clock_;  // of servers that are none of ours
  bool armed_ = false;         // FAILONERROR, by us
  bool decided_ = false;       // about the last head
  bool reported_ = false;
  bool stopped_ = false;    // its body goes to nobody
  bool delivered_ = false;  // a byte of its body has gone to the application
  AnswerMeaning at_head_;
  int64_t bytes_sent_ = 0;
  int64_t bytes_received_ = 0;
};

}  // namespace forbear::curl

#endif  // FORBEAR_CURL_WRAP_RAW_TRANSFER_H_
