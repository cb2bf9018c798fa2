// ObservedStream: watches one stream of an application, which goes its own way, and
// tells the shared states how it ended (Streams::kObserve). Private.
//
// It asks for a permit, as every attempt does, and gives it back at the end. If there
// is none now (a gate is shut, the breaker is open, others wait) the stream goes out
// all the same, and nobody learns how it ended: what a server says while it is left
// alone is no news.
//
// Its first message shows that the server lives: a stream may take days, and others
// may be waiting for what it finds out.
//
// A stream whose status the application never asks for counts as cancelled.
//
// Thread rule: thread-safe.
#ifndef FORBEAR_INTERCEPTORS_OBSERVED_STREAM_H_
#define FORBEAR_INTERCEPTORS_OBSERVED_STREAM_H_

#include <grpcpp/grpcpp.h>
#include <grpcpp/support/client_interceptor.h>

#include <atomic>
#include <memory>
#include <mutex>

#include "core/call_record.h"
#include "core/time.h"
#include "core/wait_queue.h"
#include "interceptors/channel_policy.h"
#include "interceptors/intercepted_call.h"
#include "interceptors/known_methods.h"
#include "runtime/call.h"

namespace forbear::rpc {

class ObservedStream final : public InterceptedCall {
 public:
  // `known`: what is known of its method, with the call's own options.
  ObservedStream(std::shared_ptr<const ChannelPolicy> policy,
                 std::shared_ptr<const KnownMethod> known,
                 grpc::experimental::ClientRpcInfo* info);

  void Intercept(Batch* batch) override;
  std::shared_ptr<void> Detach() override;
  CallRecord record() const override;

 private:
  // Nobody queues for its sake.
  class NoWaiter final : public Waiter {
   public:
    void Wake() override {}
  };

  void Begin();
  void OnMessage();
  void OnStatus(Batch* batch);

  const std::shared_ptr<const ChannelPolicy> policy_;
  const std::shared_ptr<const KnownMethod> known_;
  const MonotonicTime deadline_;
  const std::shared_ptr<Waiter> waiter_;
  std::atomic<bool> answered_{false};  // a message came

  mutable std::mutex mutex_;  // guards all below
  Call call_;
  bool begun_ = false;
  MonotonicTime call_end_;  // with call_timeout
  bool out_ = false;        // a permit is
  bool cancelled_ = false;
};

}  // namespace forbear::rpc

#endif  // FORBEAR_INTERCEPTORS_OBSERVED_STREAM_H_
