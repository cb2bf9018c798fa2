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

#include <string>

#include "absl/strings/string_view.h"
#include "core/call_record.h"
#include "core/policy.h"
#include "core/time.h"
#include "curl_wrap/call_options.h"
#include "curl_wrap/easy_options.h"
#include "curl_wrap/http_transport.h"
#include "runtime/call.h"
#include "runtime/client.h"

namespace forbear::curl {

struct CallSetup {
  // `easy` may be null; of a handle that others have set up, it tells the URL. `now`:
  // from then on the deadline counts.
  CallSetup(Client* client, const EasyOptions& settings, CURL* easy,
            const CallOptions& options, MonotonicTime now);

  // Not to be touched: switched off, another protocol, or CONNECT_ONLY.
  bool passes_through = false;
  // If not CURLE_OK: the result; nothing may be sent.
  CURLcode fault = CURLE_OK;
  // To be put in front of HTTPHEADER while the call runs; empty: nothing.
  std::string key_line;

  CallRequest request;
  ProfileRef profile;
  HttpTransport::Limits limits;
  HttpTransport::Readers readers;

  // The record of a call that was passed through and is over. `record` has its begin.
  void RecordPlain(Client* client, const EasyOptions& settings, CURL* easy,
                   CURLcode code, CallRecord* record) const;

 private:
  bool is_http_ = false;
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
