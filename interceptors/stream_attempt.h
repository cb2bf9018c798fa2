// StreamAttempt: one attempt of a stream, as a call of our own whose messages are
// bytes. All three shapes of stream are one with both directions here. Private.
//
//   class Mine : public StreamAttempt { … };      // is told of what ends
//   FillAttemptContext(application's, deadline, &mine->context());
//   mine->Create(channel, method, metadata);      // in a StartingAttempt
//   mine->Start();                                // OnHead, OnStatus will come
//   mine->Send(&bytes, {}, /*close=*/false);      // OnSent will
//   mine->Read();                                 // OnRead will: mine->message
//
// gRPC has reactors for this (ClientBidiReactor). They tell of the status only when
// nothing else is out and nobody holds the call, so that whoever sends and reads
// from outside of a reaction would have to read ahead of the application to learn
// that a call has ended. Here the status is asked for by itself. That takes private
// members of gRPC (interceptors/private_access.h): not in a build without them.
//
// Each of the four has an end, also once the call is over. The attempt must live
// until all that it was told to do has ended.
//
// Thread rule: Create and Start once, then at most one Send and one Read at a time.
// The ends come on gRPC's threads, several at once.
#ifndef FORBEAR_INTERCEPTORS_STREAM_ATTEMPT_H_
#define FORBEAR_INTERCEPTORS_STREAM_ATTEMPT_H_

#include <grpcpp/grpcpp.h>
#include <grpcpp/impl/call.h>
#include <grpcpp/impl/call_op_set.h>
#include <grpcpp/impl/channel_interface.h>
#include <grpcpp/impl/rpc_method.h>
#include <grpcpp/support/callback_common.h>

#include "interceptors/attempt_context.h"

namespace forbear::rpc {

class StreamAttempt {
 public:
  StreamAttempt() = default;
  virtual ~StreamAttempt() = default;
  StreamAttempt(const StreamAttempt&) = delete;
  StreamAttempt& operator=(const StreamAttempt&) = delete;

  void Create(grpc::ChannelInterface* channel,
              const grpc::internal::RpcMethod& method, SentMetadata metadata);
  void Start();
  // The first one begins with the metadata. `bytes`: null: no message; else it must
  // live until OnSent. `close`: nothing follows.
  void Send(const grpc::ByteBuffer* bytes, grpc::WriteOptions options,
            bool close);
  void Read();

  grpc::ClientContext& context() { return context_; }
  // After OnStatus.
  const grpc::Status& status() const { return status_; }

  // What OnRead(true) has brought.
  grpc::ByteBuffer message;

 private:
  // `real`: the server has sent a head; else the call has ended without one, or with
  // trailers alone.
  virtual void OnHead(bool real) = 0;
  virtual void OnStatus() = 0;
  virtual void OnSent(bool ok) = 0;
  virtual void OnRead(bool ok) = 0;

  grpc::ClientContext context_;
  SentMetadata metadata_;
  grpc::Status status_;
  grpc::internal::Call call_;
  bool opened_ = false;  // the metadata were sent

  grpc::internal::CallOpSet<grpc::internal::CallOpRecvInitialMetadata>
      head_ops_;
  grpc::internal::CallOpSet<grpc::internal::CallOpClientRecvStatus> status_ops_;
  grpc::internal::CallOpSet<grpc::internal::CallOpSendInitialMetadata,
                            grpc::internal::CallOpSendMessage,
                            grpc::internal::CallOpClientSendClose>
      send_ops_;
  grpc::internal::CallOpSet<grpc::internal::CallOpRecvMessage<grpc::ByteBuffer>>
      read_ops_;
  grpc::internal::CallbackWithSuccessTag head_tag_;
  grpc::internal::CallbackWithSuccessTag status_tag_;
  grpc::internal::CallbackWithSuccessTag send_tag_;
  grpc::internal::CallbackWithSuccessTag read_tag_;
};

}  // namespace forbear::rpc

#endif  // FORBEAR_INTERCEPTORS_STREAM_ATTEMPT_H_
