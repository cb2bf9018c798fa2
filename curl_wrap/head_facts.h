// HeadFacts: what the head of an HTTP answer says about the transfer it belongs to, and
// what a classifier has to know of it, however a driver came by its lines.
//
//   if (IsTunnelHead(easy, head.status())) …a proxy's answer to CONNECT: no answer…
//   if (EndsTransfer(status)) …no other head follows…
//   AnswerFacts facts = FactsOfHead(status, fields, WallNow(), call->server_clock());
//
// Thread rule: as the handle; FactsOfHead from anywhere.
#ifndef FORBEAR_CURL_WRAP_HEAD_FACTS_H_
#define FORBEAR_CURL_WRAP_HEAD_FACTS_H_

#include <curl/curl.h>

#include "absl/time/time.h"
#include "curl_wrap/head_reader.h"
#include "runtime/server_clock.h"
#include "signals/http_classify.h"

namespace forbear::curl {

// Whether the head that has just come whole, with this status, is a proxy's answer to
// CONNECT.
bool IsTunnelHead(CURL* easy, int status);

// Whether libcurl makes no further request of its own after such an answer. After the
// others it may, and then reads their bodies for itself.
bool EndsTransfer(int status);

// Whether an answer that libcurl follows may come from a server that has acted on the
// request: what it is sent to see is another one ("your order is here"). 307 and 308
// have the same request made elsewhere.
bool MayHaveActed(int status);

// Beside the body. `at`: when the head was there, of the wall clock; `clock` is the
// server's, and learns from the head. REQUIRES: `fields` outlive what is returned.
AnswerFacts FactsOfHead(int status, const HeaderFields& fields, absl::Time at,
                        ServerClock* clock);

}  // namespace forbear::curl

#endif  // FORBEAR_CURL_WRAP_HEAD_FACTS_H_
