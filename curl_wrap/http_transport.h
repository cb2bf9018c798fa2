// HttpTransport: the attempts of one call, over one easy handle. It has no loop: who
// runs libcurl's multi handle tells it what happened, and when.
//
//   HttpTransport transport(easy, &settings, limits, readers);
//   if (transport.Begin(&call, 1)) {
//     …add the handle to a multi handle; run that until the transfer is over, or its
//     deadline is, or the call is cancelled; when hold_until() has come, OnHoldOver…
//     …remove the handle…
//     transport.End(code);
//   }
//   …the next attempt, …
//   CURLcode code = transport.Conclude(call.record());
//
// While it lives, the handle's callbacks are this object's. What they receive
// is kept back until it is known whose it is:
//
//       lines of heads      the last head is there: Call::OnAnswerHead
//   kHead ───────────────────────┬──────────────────────────► kHold
//                                │ commit                       │ too long or
//                                ▼           the call is over   │ too slow:
//                application ◄─ kStream ◄───────────────────────┤ OnAttemptDone
//                                                               │ it goes on
//                                             transfer aborted ◄┘
//
// An answer that was held to its end is kept until the next attempt starts. If
// none does, Conclude() gives it to the application, whole.
//
// What an answer means is read by the profile of its vendor (signals/
// http_classify.h): at the head, so that gates shut at once, and again with what is
// there of the body. An answer goes to kHold until then if the profile asks about
// the body of such a status; with a classifier (runtime/classifier.h), every one of
// 400 or more does. An answer below 400 is never held back.
//
// Which head is the last: 1xx and a proxy's answer to CONNECT never are; of a
// 3xx, a 401, a 407 and a 417 libcurl may itself send the next request, and
// only the first byte of a body, or the end, shows that it did not.
//
// A redirect to another server makes its limit, its gate and its profile those of the
// answer (Call::OnRedirect), before the request is sent there; if that server may not be
// asked now, the attempt ends there, and is made again when it may. What must not begin
// again goes on. A server that cannot be reached behind a redirect has failed itself;
// one that is switched off says what it says to this call alone.
//
// A request's body that cannot be read again is kept, up to a limit, while it is read,
// and read from there the next time.
//
// One request, one send. libcurl repeats a request by itself, POST too, when a
// reused connection dies before a byte of the answer: the server has perhaps
// acted on it. For a call that must go at most once this is prevented, and not
// by giving up reuse: CURLOPT_PREREQFUNCTION is called before every request
// that libcurl is about to write; a second one without an answer's head in
// between is such a repetition, and is refused; for other calls it is counted
// (Outcome::resends). So that this stays rare, such a
// call reuses only a connection that was used in the last seconds
// (CURLOPT_MAXAGE_CONN): older ones are where servers close. A proxy's answer to
// CONNECT is no answer: where a tunnel is dead, that to the next one comes in between.
//
// Thread rule: not thread-safe.
#ifndef FORBEAR_CURL_WRAP_HTTP_TRANSPORT_H_
#define FORBEAR_CURL_WRAP_HTTP_TRANSPORT_H_

#include <curl/curl.h>
#include <sys/types.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "core/call_record.h"
#include "core/outcome.h"
#include "core/stop_reason.h"
#include "core/time.h"
#include "curl_wrap/call_place.h"
#include "curl_wrap/classify.h"
#include "curl_wrap/easy_options.h"
#include "curl_wrap/head_reader.h"
#include "curl_wrap/parsed_url.h"
#include "runtime/call.h"
#include "runtime/classifier.h"
#include "runtime/server_clock.h"
#include "signals/header_field.h"
#include "signals/http_classify.h"
#include "signals/vendor_profile.h"

namespace forbear::curl {

// What curl_easy_perform would have said of a call of which nothing was sent.
CURLcode CodeOfUnsent(StopReason reason);

class HttpTransport final {
 public:
  struct Limits {
    // What is kept of an answer that is held back, its heads included, and for
    // how long after its head.
    size_t max_held_bytes = 0;
    absl::Duration max_hold;
    // The request must not reach the server twice.
    bool at_most_once = false;
    // What is kept of a request's body that cannot be read again.
    size_t max_buffered_body = 0;
  };

  // Who says what an answer means.
  struct Readers {
    const VendorProfile* profile = nullptr;
    const VendorProfile* generic = nullptr;      // ProfileSet::generic()
    const HttpClassifier* classifier = nullptr;  // may be empty
    // … of other servers, to which redirects lead.
    RedirectPlaces places;

    // They are those of `place` now, which must outlive them. `first`: of the call.
    void GoTo(const RedirectPlaces::Place& place, const Readers& first) {
      profile = generic = first.generic;
      if (place.profile.profile == nullptr) return;
      profile = place.profile.profile;
      generic = &place.profile.set->generic();
    }
  };

  // Lines, each of which goes to the application by itself.
  class Lines {
   public:
    void Add(absl::string_view line) {
      if (line.size() > capacity_ - size_) Grow(line.size());
      if (!line.empty()) std::memcpy(&bytes_[size_], line.data(), line.size());
      size_ += line.size();
      sizes_.push_back(line.size());
    }
    void Clear();

    // All of them, one after the other; and how long each is.
    absl::string_view bytes() const { return {bytes_.get(), size_}; }
    const std::vector<size_t>& sizes() const { return sizes_; }

   private:
    void Grow(size_t by);

    std::unique_ptr<char[]> bytes_;  // std::string::append is a call, and slow
    size_t size_ = 0;
    size_t capacity_ = 0;
    std::vector<size_t> sizes_;
  };
  // What is kept back, and how far it was given to the application.
  struct Held {
    Lines head;
    std::string body;
    Lines trailers;
    size_t lines_given = 0;
    size_t bytes_of_lines_given = 0;
    size_t body_given = 0;
    size_t trailers_given = 0;
    size_t bytes_of_trailers_given = 0;
    size_t size() const {
      return head.bytes().size() + body.size() + trailers.bytes().size();
    }
    // Keeps its memory for the next answer, if that is not very much.
    void Clear();
  };
  // What one call may leave to the next: memory, and the Date of the last good answer,
  // which mostly is that of the next one as well.
  struct Room {
    Held held;
    std::array<char, 29> date_text = {};
    absl::Time date;
  };

  // All must outlive it. `settings` are those of `easy`, and may change. `room`, if it
  // is not null, is what earlier calls left.
  HttpTransport(CURL* easy, const EasyOptions* settings, const Limits& limits,
                const Readers& readers, Room* room = nullptr);
  // Puts the handle's own options back, unless Leave() was called.
  ~HttpTransport();
  // Nobody will use the handle's options any more.
  void Leave() { leaves_ = true; }
  // Attempts may begin with this, if it is the handle's URL. Must outlive it. Null: none.
  void SetParsedUrl(const ParsedUrl* url) { parsed_url_ = url; }
  HttpTransport(const HttpTransport&) = delete;
  HttpTransport& operator=(const HttpTransport&) = delete;

  // Attempt n is to be made: the transfer may be started. False: it cannot be, and
  // the call was told so.
  bool Begin(Call* call, int n);

  // When OnHoldOver must be called, if the transfer still runs. Comes to be in
  // libcurl's callbacks, and may lie further ahead when it has come.
  MonotonicTime hold_until() const { return hold_until_; }
  // False: the transfer must end now, with CURLE_WRITE_ERROR.
  bool OnHoldOver();
  // Calls `watch(with)` whenever hold_until() has come to be, or lies earlier.
  void WatchHold(void (*watch)(void*), void* with) {
    watch_ = watch;
    watch_with_ = with;
  }

  // The transfer is over, with what libcurl says, or was ended by the driver: with
  // CURLE_OPERATION_TIMEDOUT, because of its deadline, or CURLE_WRITE_ERROR, as above.
  // The call is told. REQUIRES: the handle belongs to no multi handle.
  void End(CURLcode code);
  // It was ended because the application took the call back.
  void EndCancelled();

  // Into the application's ERRORBUFFER, if it has one.
  void SetError(absl::string_view text);

  // After the call: gives the application what was kept for it, and says what
  // curl_easy_perform would have returned for the last attempt.
  CURLcode Conclude(const CallRecord& record);

 private:
  enum class Mode {
    kHead,     // no head is known to be the last one
    kHold,     // kept back
    kStream,   // straight to the application
    kDiscard,  // for nobody: FAILONERROR has spoken
  };
  enum class Give { kDone, kPaused, kFailed };

  static size_t HeaderCallback(char* data, size_t size, size_t n, void* self);
  static size_t WriteCallback(char* data, size_t size, size_t n, void* self);
  static size_t ReadCallback(char* data, size_t size, size_t n, void* self);
  static int SeekCallback(void* self, curl_off_t offset, int origin);
  static int PrereqCallback(void* self, char* remote, char* local,
                            int remote_port, int local_port);

  // libcurl is about to send a request that a redirect has made. False: it must not.
  // `gone`: it was to be sent, but has failed on the way, and it is true.
  bool Follow(bool gone);
  // Whether libcurl has gone on from the redirect that was the last answer. If not, what
  // has failed is that answer.
  bool WasFollowed() const;
  // The clock of the server that answers.
  ServerClock* Clock() const;

  // The last attempt.
  void Forget();
  void TakeOver();
  void Restore();
  // The parsed URL, from an attempt's begin until libcurl has a copy of it. From then on
  // libcurl has but the application's URL, which may be set in any callback.
  void LendUrl();
  void TakeUrlBack();

  // A decision may wait as long as the limits say, from now.
  void Hold();

  size_t OnHeader(absl::string_view line);
  // Whether the head that is there is a proxy's answer to CONNECT.
  bool IsOfTunnel() const;
  // It is the last one of an answer to what was requested.
  void OnAnswer();
  // Whether the good answer whose head is there may be to a request by which libcurl
  // only asks how to authenticate, with an empty body, and is followed by the true one.
  bool MayBeARound() const;
  size_t OnBody(absl::string_view chunk);

  // The head, or as much of the answer as is wanted, is there. False: the
  // transfer must end now.
  bool Decide();
  bool DecideGood();
  // … or as much of it as may be held is.
  bool HoldBack();
  bool DecideEarly();
  // Whether the body may change what the answer means whose head is there.
  bool LooksAtBody() const;
  // What is known of the attempt while it runs, or at its end; `with_body`: and
  // of what is held of the body.
  AttemptFacts Facts(bool with_body) const;
  HeaderFields Fields() const;
  // What a good answer's head says of limits and of the server's clock.
  void ReadGoodHead();
  // Whether it says nothing of limits. Then the clock was told.
  bool ReadDateOnly();
  // As AddDate.
  void AddDateOf(absl::string_view line, std::optional<absl::Time>* date);
  // What is to be known beside the body. REQUIRES: `fields` outlive it.
  AnswerFacts HeadFacts(const HeaderFields& fields) const;
  // The application's own look at the answer.
  void AskClassifier(Outcome* outcome) const;
  bool ReportDone(const Outcome& outcome);

  // Gives what is held to the application, and all that follows. False: the
  // transfer must end now.
  bool Stream();
  Give GiveHeld();
  Give GiveLine(absl::string_view line, bool trailer);
  Give GiveBody(absl::string_view chunk);
  Give GiveTo(curl_write_callback function, absl::string_view data, void* to);
  Give NotTaken(size_t taken);
  bool FailsOnError() const;

  bool CanSeek() const;
  bool CanRewind() const;
  bool Rewind();
  FILE* File() const;
  // From the application.
  size_t Read(char* data, size_t size) const;
  // … or what of that is kept.
  size_t ReadBuffered(char* data, size_t size);
  // Tells the call if the request cannot be sent again. REQUIRES: the request
  // is not being sent any more if `rewind`.
  void CheckReplay(bool rewind);

  bool WasSent() const;

  CURL* const easy_;
  const EasyOptions& settings_;
  const Limits limits_;
  const Readers first_readers_;
  Readers readers_;        // of the answer
  const bool takes_body_;  // the request body comes through ReadCallback
  bool buffers_;           // … and is kept, all of it so far, in buffer_
  std::string buffer_;
  size_t buffer_read_ = 0;   // of it, since the last rewind
  bool body_ended_ = false;  // all of the body is in buffer_
  off_t file_start_ = -1;    // of a FILE*: where the body begins; -1: unknown

  Call* call_ = nullptr;
  int attempts_ = 0;
  bool leaves_ = false;
  const ParsedUrl* parsed_url_ = nullptr;
  bool lends_url_ = false;
  void (*watch_)(void*) = nullptr;
  void* watch_with_ = nullptr;

  // Of the attempt.
  int number_ = 0;
  MonotonicTime started_ =
      MonotonicTime::InfinitePast();  // for an error's text
  Mode mode_ = Mode::kHead;
  HeadReader head_;
  int status_ = 0;  // of the last head that is no interim one
  absl::Time head_time_ =
      absl::InfinitePast();  // wall clock, when it was there
  AnswerMeaning at_head_;
  Room own_room_;
  Room& room_;
  Held& held_;  // in room_
  MonotonicTime hold_until_ = MonotonicTime::Infinite();
  size_t discarded_ = 0;
  bool reported_ = false;  // OnAttemptDone was called
  bool stopped_ = false;   // by us: nobody wants the rest
  bool application_failed_ = false;
  bool delivered_ = false;
  bool paused_in_head_ = false;  // libcurl will repeat a line that we have
  bool giving_ = false;          // part of what is held waits for a pause's end
  bool requested_ = false;       // a request was written …
  bool answered_ = false;        // … and an answer's head has come since
  bool redirected_ = false;  // … of 3xx, which may lead to the next request
  bool resend_refused_ = false;
  bool redirect_refused_ = false;
  // Where a redirect has led, and the clock there; null: nowhere.
  RedirectPlaces::Place place_;
  ServerClock* clock_ = nullptr;
  ServerClock nobodys_clock_;  // of servers that are none of ours
  uint8_t resends_ = 0;
  long redirects_ = 0;  // CURLINFO_REDIRECT_COUNT, when a redirect came
  // CURLINFO_NUM_CONNECTS, if it was not the first request.
  long connects_ = -1;
  bool acted_ = false;       // an answer that was followed may mean that it was
  bool body_asked_ = false;  // the body was read, and not rewound since
  CURLcode code_ = CURLE_OK;
};

}  // namespace forbear::curl

#endif  // FORBEAR_CURL_WRAP_HTTP_TRANSPORT_H_
