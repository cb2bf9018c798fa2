#include "curl_wrap/head_facts.h"

#include "signals/header_signals.h"

namespace forbear::curl {

bool IsTunnelHead(CURL* easy, int status) {
  // CONNECT's status goes to one place, a request's to another.
  long connect = 0;
  curl_easy_getinfo(easy, CURLINFO_HTTP_CONNECTCODE, &connect);
  if (connect != status) return false;
  long response = 0;
  curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &response);
  return response != status;
}

bool EndsTransfer(int status) {
  // 417: libcurl sends the request again, without its Expect.
  return status != 0 && status / 100 != 3 && status != 401 && status != 407 &&
         status != 417;
}

bool MayHaveActed(int status) { return status >= 301 && status <= 303; }

AnswerFacts FactsOfHead(int status, const HeaderFields& fields, absl::Time at,
                        ServerClock* clock) {
  AnswerFacts answer;
  answer.status = status;
  answer.headers = fields;
  answer.now = at;
  const WallTimes times = WallTimesOf(fields, at);
  if (times.date) clock->OnDate(*times.date, at);
  answer.server = clock->AtLeast(at);
  return answer;
}

}  // namespace forbear::curl
