#ifndef FORBEAR_TESTS_TESTING_PROVIDER_H_
#define FORBEAR_TESTS_TESTING_PROVIDER_H_

#include <chrono>
#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "tests/testing/event_loop.h"
#include "tests/testing/grpc_reply.h"
#include "tests/testing/grpc_server.h"
#include "tests/testing/http_server.h"
#include "tests/testing/provider_model.h"
#include "tests/testing/reply.h"

namespace forbear::testing {

// A paid, rate-limited, flaky service on loopback: one ProviderModel, played
// over HTTP/1.1 and over gRPC at the same time, with one quota for both.
//
//   Provider::Options options;
//   options.model.rate = 20;
//   options.model.seed = 42;
//   absl::StatusOr<std::unique_ptr<Provider>> provider =
//       Provider::Create(options);
//   … POST to (*provider)->http().Url("/v1/chat"),
//     or call Echo.Say at (*provider)->grpc().address() …
//   const ProviderModel::Stats stats = (*provider)->stats();
//   std::cout << stats.sends << " sends, " << stats.refused << " refused\n";
//
//   verdict        HTTP                           gRPC
//   kServe         200, the request's body        OK, the request's bytes
//   kRefuse        429, and a wait                RESOURCE_EXHAUSTED, pushback
//   kError         500                            UNAVAILABLE
//   kLoseAnswer    reset, the work is done        UNAVAILABLE, the work is done
//   kHang          no answer                      no answer
//   kOutageError   503, and a wait if one is set  UNAVAILABLE, likewise
//   kOutageReset   reset                          UNAVAILABLE
//   kOutageHang    no answer                      no answer
//   kOutageRefuse  as kRefuse                     as kRefuse
//
// What identifies a call: the header or metadatum "idempotency-key", which also
// makes it idempotent, or else "x-call-id".
//
// Thread rule: all members may be called from any thread. The destructor
// excludes all other calls.
class Provider {
 public:
  // How an HTTP answer states a wait. (gRPC has one way: milliseconds in
  // grpc-retry-pushback-ms.) Each rounds up; none is below its unit.
  enum class WaitStyle {
    kSeconds,       // Retry-After: 2
    kDate,          // Retry-After: Fri, 31 Dec 1999 23:59:59 GMT
    kMilliseconds,  // retry-after-ms: 1500
    kNone,          // Also without pushback in gRPC.
  };

  // What good answers and refusals say of the limit, if it has one.
  enum class LimitHeaders {
    kNone,
    // x-ratelimit-limit, -remaining and -reset; the reset in seconds, with three
    // decimals or rounded up. gRPC: metadata of the same names.
    kMilliseconds,
    kSeconds,
  };

  // When the model's time begins.
  enum class Begin { kCreate, kFirstRequest };

  struct Options {
    ProviderModel::Options model;
    WaitStyle wait_style = WaitStyle::kSeconds;
    LimitHeaders limit_headers = LimitHeaders::kNone;

    // What is announced is the true wait times this, > 0 …
    double wait_factor = 1;
    // … or this text in its place, whatever it is.
    std::optional<std::string> wait_text;

    // HTTP: the status of a refusal. With 503, gRPC says UNAVAILABLE.
    int refusal_status = 429;

    // HTTP: the size of a refusal's body (0: a small page), and how long after
    // its head it comes.
    size_t refusal_body_bytes = 0;
    absl::Duration refusal_body_delay;

    // A model that has an outage of kClosedPort begins with Create.
    Begin begin = Begin::kCreate;
    // If it is set, the model's time begins then, whatever `begin` says.
    std::optional<std::chrono::steady_clock::time_point> begin_at;

    // 0: any free one.
    int http_port = 0;
    int grpc_port = 0;
  };

  // A running provider; the model's time begins. Errors are those of
  // ProviderModel and of the servers.
  static absl::StatusOr<std::unique_ptr<Provider>> Create(
      const Options& options);

  ~Provider();
  Provider(const Provider&) = delete;
  Provider& operator=(const Provider&) = delete;

  // The servers, for addresses and logs. Their handlers are the provider's.
  const HttpServer& http() const { return *http_; }
  const GrpcServer& grpc() const { return *grpc_; }

  // What came, over both protocols.
  ProviderModel::Stats stats() const;

  // When the model's time began; none: it has not.
  std::optional<std::chrono::steady_clock::time_point> began_at() const;

  // The model's time; 0 before it has begun.
  absl::Duration Now() const;

 private:
  Provider(const Options& options, ProviderModel model);

  ProviderModel::Decision Decide(const ProviderModel::Request& request);
  Reply WithRefusal(Reply reply, const ProviderModel::Decision& decision) const;
  // REQUIRES: mutex_ is held.
  absl::Duration NowLocked() const;
  Reply AnswerHttp(const HttpRequest& request);
  GrpcReply AnswerGrpc(const GrpcRequest& request);
  void SetListening(bool listening);

  const Options options_;

  mutable std::mutex mutex_;  // Guards the two below.
  ProviderModel model_;
  std::optional<std::chrono::steady_clock::time_point> began_at_;

  std::unique_ptr<HttpServer> http_;
  std::unique_ptr<GrpcServer> grpc_;

  // Closes and opens the ports. The timers belong to the loop's thread.
  EventLoop loop_;
  std::vector<std::unique_ptr<LoopTimer>> timers_;
};

}  // namespace forbear::testing

#endif  // FORBEAR_TESTS_TESTING_PROVIDER_H_
