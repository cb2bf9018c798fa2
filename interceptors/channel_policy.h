// ChannelPolicy: what the calls of one channel have in common. Private.
//
// Thread rule: immutable.
#ifndef FORBEAR_INTERCEPTORS_CHANNEL_POLICY_H_
#define FORBEAR_INTERCEPTORS_CHANNEL_POLICY_H_

#include <cstdint>
#include <memory>
#include <string>

#include "interceptors/method_table.h"
#include "interceptors/rpc_options.h"
#include "runtime/client.h"

namespace forbear::rpc {

struct ChannelPolicy {
  std::shared_ptr<Client> client;
  std::string quota_id;
  std::string target;
  // For the configuration: the target's host, in lower case, and port.
  std::string host;
  int port = 0;
  MethodTable methods;
  TakeOver take_over = TakeOver::kNever;
  Streams streams = Streams::kRetry;
  int64_t max_stream_buffer = 0;
};

}  // namespace forbear::rpc

#endif  // FORBEAR_INTERCEPTORS_CHANNEL_POLICY_H_
