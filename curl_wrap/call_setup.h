// CallSetup: what a driver of libcurl must know before a call begins, from the options of
// its handle, of the call and of the client.
//
//   CallSetup setup(client.get(), settings, easy, options, MonotonicNow());
//   if (setup.fault != CURLE_OK) …the options are out of bounds…
//   if (setup.passes_through) …curl_easy_perform, and setup.RecordPlain(…)…
//   Call call(client, setup.request, waiter);
//   HttpTransport transport(easy, &settings, setup.limits, setup.readers);
//
// Thread rule: a value; of one call.
#ifndef FORBEAR_CURL_WRAP_CALL_SETUP_H_
#define FORBEAR_CURL_WRAP_CALL_SETUP_H_

#include <curl/curl.h>

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "core/call_record.h"
#include "core/policy.h"
#include "core/time.h"
#include "curl_wrap/call_options.h"
#include "curl_wrap/easy_options.h"
#include "curl_wrap/http_transport.h"
#include "curl_wrap/parsed_url.h"
#include "runtime/call.h"
#include "runtime/client.h"

namespace forbear::curl {

// What the calls of one handle have in common, as long as it is used for the same URL
// in the same way: kept from call to call, so that it is looked up once. What it was
// looked up by stands beside it; of credentials, only salted hashes. Keeps the states
// of the last call from being forgotten (runtime/registry.h). Not beyond the client.
struct CallMemory {
  static constexpr uint64_t kNone = ~uint64_t{0};

  uint64_t revision = kNone;  // EasyOptions::revision()
  std::string profile_id;
  std::string quota_id;
  uint64_t credential = 0;  // of HTTPHEADER

  bool repeatable = false;  // by its method
  ProfileRef profile;
  HandleRef handle;  // empty: it remembers nothing

  // The URL, since the second call: who makes but one has it parsed once in any case.
  std::optional<ParsedUrl> url;
  const ParsedUrl* parsed_url() const { return url ? &*url : nullptr; }
};

struct CallSetup {
  // `easy` may be null; of a handle that others have set up, it tells the URL. `now`:
  // from then on the deadline counts, if there is one.
  CallSetup(Client* client, const EasyOptions& settings, CURL* easy,
            const CallOptions& options, MonotonicTime now,
            CallMemory* memory = nullptr);

  // Not to be touched: switched off, another protocol, or CONNECT_ONLY.
  bool passes_through = false;
  // If not CURLE_OK: the result; nothing may be sent.
  CURLcode fault = CURLE_OK;
  // To be put in front of HTTPHEADER while the call runs; empty: nothing.
  std::string key_line;

  // If there is a memory, and the call is not passed through: what it is of, instead of
  // the request's texts and policy, and of `profile`. As long as the memory is not used
  // for another call.
  const CallHandle* handle = nullptr;
  CallRequest request;
  ProfileRef profile;
  HttpTransport::Limits limits;
  HttpTransport::Readers readers;

  // The record of a call that was passed through and is over. `record` has its begin.
  void RecordPlain(Client* client, const EasyOptions& settings, CURL* easy,
                   CURLcode code, CallRecord* record) const;

 private:
  // HTTPHEADER: whether it has a retry marker; the credential in it.
  uint64_t ReadLines(const curl_slist* line);
  // What must be looked up. `credential`: of HTTPHEADER.
  void LookUp(Client* client, const EasyOptions& settings, CURL* easy,
              const CallOptions& options, uint64_t credential);
  // The same, if it is what was looked up last time.
  bool Recall(const Client& client, const EasyOptions& settings,
              const CallOptions& options, uint64_t credential,
              const CallMemory& memory);
  void Remember(Client* client, const EasyOptions& settings,
                const CallOptions& options, uint64_t credential,
                CallMemory* memory);
  // The rest, by these. What the options refer to must outlive the readers.
  void Fill(Client* client, const EasyOptions& settings,
            const CallOptions& options, const Policy& policy,
            const ProfileRef& profile_of, MonotonicTime now);

  bool is_http_ = false;
  bool repeatable_ = false;  // by its method
};

// What a record of a call that did not come to be says.
void FillFault(CURLcode fault, CallResult* result);

// CallResult's other fields, from its record. `easy` may be null.
void FillResult(CURL* easy, CallResult* result);

// A line in front of the application's own ones, as long as this lives.
class ExtraHeader {
 public:
  // `settings` are those of `easy`. An empty text is none.
  ExtraHeader(CURL* easy, const EasyOptions* settings, std::string text);
  ~ExtraHeader();
  ExtraHeader(const ExtraHeader&) = delete;
  ExtraHeader& operator=(const ExtraHeader&) = delete;

 private:
  CURL* const easy_;
  const EasyOptions& settings_;
  std::string text_;
  curl_slist line_ = {};
};

}  // namespace forbear::curl

#endif  // FORBEAR_CURL_WRAP_CALL_SETUP_H_
