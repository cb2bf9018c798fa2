// KeptBytes: a message that may have to be sent again: a reference to its bytes, no copy
// of them. Private.
//
//   KeptBytes request;
//   request.Keep(*batch->GetSerializedSendMessage());
//   grpc::ByteBuffer again = request.Get();
//
// A message is one slice, as a rule (those of generated stubs up to 1 MiB are). Such a
// one is kept without allocating anything, which a grpc::ByteBuffer does.
//
// Thread rule: one thread at a time.
#ifndef FORBEAR_INTERCEPTORS_KEPT_BYTES_H_
#define FORBEAR_INTERCEPTORS_KEPT_BYTES_H_

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/slice.h>

#include <cstddef>

namespace forbear::rpc {

class KeptBytes {
 public:
  void Keep(const grpc::ByteBuffer& bytes) {
    one_ = bytes.TrySingleSlice(&slice_).ok();
    if (!one_) many_ = bytes;
  }

  // Whether there is a message; it may be empty.
  bool Valid() const { return one_ || many_.Valid(); }
  size_t Length() const { return one_ ? slice_.size() : many_.Length(); }

  // REQUIRES: Valid().
  grpc::ByteBuffer Get() const {
    return one_ ? grpc::ByteBuffer(&slice_, 1) : many_;
  }

  void Clear() {
    if (one_) slice_ = grpc::Slice();
    one_ = false;
    if (many_.Valid()) many_.Clear();
  }

 private:
  bool one_ = false;  // it is slice_
  grpc::Slice slice_;
  grpc::ByteBuffer many_;
};

}  // namespace forbear::rpc

#endif  // FORBEAR_INTERCEPTORS_KEPT_BYTES_H_
