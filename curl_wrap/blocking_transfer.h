// BlockingTransfer: an HttpTransport on a multi handle of its own, run by the thread
// that waits for it.
//
//   BlockingTransfer transfer(easy, multi, &settings, &parker, limits, readers);
//   RunBlocking(&call, &parker, &transfer);
//   CURLcode code = transfer.Conclude(call.record());
//
// On a multi handle, and not by curl_easy_perform, so that a cancel takes effect at
// once.
//
// Thread rule: not thread-safe; Parker::Cancel with curl_multi_wakeup ends an
// attempt from outside.
#ifndef FORBEAR_CURL_WRAP_BLOCKING_TRANSFER_H_
#define FORBEAR_CURL_WRAP_BLOCKING_TRANSFER_H_

#include <curl/curl.h>

#include "core/call_record.h"
#include "core/time.h"
#include "curl_wrap/easy_options.h"
#include "curl_wrap/http_transport.h"
#include "curl_wrap/parsed_url.h"
#include "runtime/blocking_driver.h"
#include "runtime/call.h"

namespace forbear::curl {

class BlockingTransfer final : public BlockingTransport {
 public:
  // All must outlive it.
  BlockingTransfer(CURL* easy, CURLM* multi, const EasyOptions* settings,
                   Parker* parker, const HttpTransport::Limits& limits,
                   const HttpTransport::Readers& readers,
                   HttpTransport::Room* room = nullptr,
                   const ParsedUrl* url = nullptr)
      : easy_(easy),
        multi_(multi),
        settings_(*settings),
        parker_(parker),
        transport_(easy, settings, limits, readers, room) {
    transport_.SetParsedUrl(url);
  }

  void Attempt(Call* call, int n, MonotonicTime deadline) override;

  CURLcode Conclude(const CallRecord& record) {
    return transport_.Conclude(record);
  }

 private:
  // Runs the transfer to its end, or to `deadline`, or a cancel.
  CURLcode Run(MonotonicTime deadline);

  CURL* const easy_;
  CURLM* const multi_;
  const EasyOptions& settings_;
  Parker* const parker_;
  HttpTransport transport_;
};

}  // namespace forbear::curl

#endif  // FORBEAR_CURL_WRAP_BLOCKING_TRANSFER_H_
