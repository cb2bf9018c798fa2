// The clients of the demo: how each of them makes one call.
//
//   CallFn call = WithSleepOne(PlainHttp(url));
//   bool answered = call("key-1");
//
// Two loops as people write them, around one plain send; and Forbear, which is
// given the same plain request and no loop.
//
// Thread rule: one CallFn per worker thread; not shared.
#ifndef FORBEAR_TOOLS_DEMO_SENDERS_H_
#define FORBEAR_TOOLS_DEMO_SENDERS_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "core/call_record.h"
#include "runtime/client.h"

namespace forbear::tools {

// Makes one call with the given idempotency key; true if it was answered.
using CallFn = std::function<bool(const std::string& key)>;

// One send each, with no retry at all: plain libcurl, plain gRPC.
CallFn PlainHttp(const std::string& url);
CallFn PlainGrpc(const std::string& target);

// "try three times, sleep a second in between".
CallFn WithSleepOne(CallFn send);
// "try five times, sleep 2**n + U(0, 1) seconds in between".
CallFn WithExponential(CallFn send, uint64_t seed);

// Gets the record of each call.
using RecordFn = std::function<void(const CallRecord&)>;

// The same requests through Forbear. Workers share `client`.
CallFn ForbearHttp(std::shared_ptr<Client> client, const std::string& url,
                   RecordFn on_record);
CallFn ForbearGrpc(std::shared_ptr<Client> client, const std::string& target,
                   RecordFn on_record);

}  // namespace forbear::tools

#endif  // FORBEAR_TOOLS_DEMO_SENDERS_H_
