// What a call's messages are, as far as an interceptor can know. Private.
//
// Thread rule: a value.
#ifndef FORBEAR_INTERCEPTORS_MESSAGE_TYPE_H_
#define FORBEAR_INTERCEPTORS_MESSAGE_TYPE_H_

namespace forbear::rpc {

enum class MessageType {
  kUnknown,
  kProtobuf,  // google::protobuf::MessageLite
  kBytes,     // grpc::ByteBuffer: a generic stub
};

}  // namespace forbear::rpc

#endif  // FORBEAR_INTERCEPTORS_MESSAGE_TYPE_H_
