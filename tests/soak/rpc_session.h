// RpcSession: a channel of a soak, and what its calls follow.
//
// gRPC 1.51 crashes if a channel's last reference is dropped on a callback thread,
// where calls end. So who makes a session gives its shared_ptr a deleter that has
// another thread do it.
//
// Thread rule: immutable; destroyed by one thread that is not gRPC's.
#ifndef FORBEAR_TESTS_SOAK_RPC_SESSION_H_
#define FORBEAR_TESTS_SOAK_RPC_SESSION_H_

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "absl/time/time.h"
#include "core/hedge.h"
#include "core/retry_policy.h"
#include "interceptors/call_options.h"
#include "interceptors/method_table.h"
#include "interceptors/rpc_options.h"
#include "runtime/client.h"
#include "tests/soak/dice.h"
#include "tests/testing/echo.grpc.pb.h"

namespace forbear::soak {

// A client with waits of milliseconds, and bounds that are met now and then. No call of
// it lasts much longer than kLongestCall.
ClientOptions RandomRpcClient(Dice* dice);
inline constexpr absl::Duration kLongestCall = absl::Seconds(4);

// On. They go to nothing but what may be repeated.
HedgeOptions RandomHedge(Dice* dice);

// The unary method that may be sent again, and the one that may be acted upon once.
inline constexpr char kSay[] = "/forbear.testing.Echo/Say";
inline constexpr char kOther[] = "/forbear.testing.Echo/Other";

struct RpcSession {
  // Its unary calls are made by nothing but what `take_over` says. Hedges, retries and
  // codes are said by rules, a service config, or the client. Of the stream methods it
  // is decided once for a session whether they may be acted upon once.
  RpcSession(std::shared_ptr<Client> client_of, const std::string& address,
             Dice* dice);

  // Whether calls of this method may be acted upon once.
  bool IsStrict(const std::string& method) const;
  // Whether it may be destroyed: not while it connects. gRPC 1.51 forgets a connection
  // that gets ready when the last channel that wanted it has just gone, and its socket
  // stays until the process ends (docs/grpc.md).
  bool MayEnd() const;
  // Until it may, or until then.
  void WaitToEnd(std::chrono::system_clock::time_point until) const;

  // What a call of it goes by. `own`: null: it has none.
  RetryOptions RetryOf(const std::string& method,
                       const rpc::CallOptions* own) const;

  const std::shared_ptr<Client> client;
  rpc::RpcOptions options;
  std::optional<rpc::MethodTable> table;
  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<testing::Echo::Stub> stub;
  std::unique_ptr<grpc::GenericStub> generic;

 private:
  void ChooseRules(Dice* dice);
};

}  // namespace forbear::soak

#endif  // FORBEAR_TESTS_SOAK_RPC_SESSION_H_
