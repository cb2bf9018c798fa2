// ParentWatch: tells a call that waits of the end of the server call that it is made
// for. Private.
//
//   ParentWatch* watch =
//       ParentWatch::Start(channel, method, context, [call](code) { … });
//   …
//   watch->Stop();     // once, also after it has told; and then it is gone
//
// ClientContext::FromServerContext has gRPC end a call with the deadline and the
// cancellation of the server call, of which it tells nobody. It ends calls, though: so
// another call is made for the same server call, which asks for its status, sends
// nothing, and ends with it. Of a server call that is over already it tells at once.
// Interceptors below ours see it as one that receives a status, and nothing else.
//
// Thread rule: thread-safe. `ended` is called once at most, on one of gRPC's threads or
// in Start, with no lock held, and perhaps while Stop is called. It is let go, and with
// it a reference to the channel, on a timer's thread.
#ifndef FORBEAR_INTERCEPTORS_PARENT_WATCH_H_
#define FORBEAR_INTERCEPTORS_PARENT_WATCH_H_

#include <grpcpp/grpcpp.h>
#include <grpcpp/impl/call.h>
#include <grpcpp/impl/call_op_set.h>
#include <grpcpp/impl/channel_interface.h>
#include <grpcpp/support/callback_common.h>

#include <atomic>
#include <functional>
#include <string>

namespace forbear::rpc {

class ParentWatch {
 public:
  // CANCELLED or DEADLINE_EXCEEDED.
  using Ended = std::function<void(grpc::StatusCode)>;

  // Null: `from` is made for no server call, or inherits nothing of it; or gRPC's
  // private members are not there. `channel`: below the interceptor.
  static ParentWatch* Start(grpc::ChannelInterface* channel,
                            const std::string& method,
                            const grpc::ClientContext& from, Ended ended);
  void Stop();

 private:
  ParentWatch(const std::string& method, Ended ended);

  void OnStatus();
  void OnePartLess();

  const std::string method_;
  const Ended ended_;
  std::atomic<bool> stopped_{false};
  std::atomic<int> parts_{2};  // its status, and Stop
  grpc::ClientContext context_;
  grpc::Status status_;
  grpc::internal::Call call_;
  grpc::internal::CallOpSet<grpc::internal::CallOpClientRecvStatus> ops_;
  grpc::internal::CallbackWithSuccessTag tag_;
};

}  // namespace forbear::rpc

#endif  // FORBEAR_INTERCEPTORS_PARENT_WATCH_H_
