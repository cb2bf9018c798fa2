#include "interceptors/interceptor.h"

#include <array>
#include <cstddef>
#include <mutex>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/hash/hash.h"
#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "core/call_match.h"
#include "interceptors/attempt_context.h"
#include "interceptors/call_options.h"
#include "interceptors/channel_policy.h"
#include "interceptors/intercepted_call.h"
#include "interceptors/method_table.h"
#include "interceptors/observed_stream.h"
#include "interceptors/private_access.h"
#include "interceptors/stream_call.h"
#include "interceptors/unary_call.h"

namespace forbear::rpc {
namespace {

using grpc::experimental::ClientInterceptorFactoryInterface;
using grpc::experimental::ClientRpcInfo;
using grpc::experimental::Interceptor;
using grpc::experimental::InterceptorBatchMethods;
using Hook = grpc::experimental::InterceptionHookPoints;

// From a context to its call. A context offers no place for anything of ours
// that could be found from outside; but its interceptors die with it, so an
// entry is there as long as its context, and there are never more of them than
// contexts with a call.
class CallsByContext {
 public:
  void Add(const grpc::ClientContext* context,
           const std::shared_ptr<InterceptedCall>& call) {
    Shard& shard = ShardOf(context);
    const std::lock_guard<std::mutex> lock(shard.mutex);
    shard.calls.insert_or_assign(context, call);
  }

  // Nothing if the context has another call by now: two factories on one
  // channel.
  void Remove(const grpc::ClientContext* context, const InterceptedCall* call) {
    Shard& shard = ShardOf(context);
    const std::lock_guard<std::mutex> lock(shard.mutex);
    const auto it = shard.calls.find(context);
    if (it != shard.calls.end() && it->second.get() == call) {
      shard.calls.erase(it);
    }
  }

  std::shared_ptr<InterceptedCall> Find(const grpc::ClientContext* context) {
    Shard& shard = ShardOf(context);
    const std::lock_guard<std::mutex> lock(shard.mutex);
    const auto it = shard.calls.find(context);
    return it == shard.calls.end() ? nullptr : it->second;
  }

 private:
  struct Shard {
    std::mutex mutex;
    absl::flat_hash_map<const grpc::ClientContext*,
                        std::shared_ptr<InterceptedCall>>
        calls;
  };

  Shard& ShardOf(const grpc::ClientContext* context) {
    return shards_[absl::HashOf(context) % shards_.size()];
  }

  std::array<Shard, 16> shards_;
};

CallsByContext& Calls() {
  // Leaked on purpose: contexts may outlive static destructors.
  static auto* const calls = new CallsByContext;
  return *calls;
}

// What gRPC owns. It dies with the application's context.
class CallInterceptor final : public Interceptor {
 public:
  CallInterceptor(const grpc::ClientContext* context,
                  std::shared_ptr<InterceptedCall> call)
      : context_(context), call_(std::move(call)) {
    Calls().Add(context_, call_);
  }

  ~CallInterceptor() override {
    Calls().Remove(context_, call_.get());
    call_->Detach();
  }

  void Intercept(InterceptorBatchMethods* batch) override {
    // The last Proceed may destroy this object.
    const std::shared_ptr<InterceptedCall> call = call_;
    call->Intercept(batch);
  }

 private:
  const grpc::ClientContext* const context_;
  const std::shared_ptr<InterceptedCall> call_;
};

// Ends every call with one status.
class Refuser final : public Interceptor {
 public:
  explicit Refuser(const grpc::Status& status) : status_(status) {}

  void Intercept(InterceptorBatchMethods* batch) override {
    if (batch->QueryInterceptionHookPoint(Hook::PRE_SEND_CANCEL)) return;
    if (batch->QueryInterceptionHookPoint(Hook::PRE_RECV_MESSAGE)) {
      batch->FailHijackedRecvMessage();
    }
    if (batch->QueryInterceptionHookPoint(Hook::PRE_RECV_STATUS)) {
      *batch->GetRecvStatus() = status_;
    }
    if (batch->QueryInterceptionHookPoint(Hook::PRE_SEND_INITIAL_METADATA)) {
      batch->Hijack();
    } else {
      batch->Proceed();
    }
  }

 private:
  const grpc::Status status_;
};

grpc::Status Refusal(const absl::Status& fault) {
  return grpc::Status(grpc::StatusCode::INVALID_ARGUMENT,
                      std::string(fault.message()));
}

class Factory final : public ClientInterceptorFactoryInterface {
 public:
  Factory(std::shared_ptr<Client> client, RpcOptions options)
      : client_(std::move(client)) {
    const absl::Status valid = ValidateRpcOptions(options);
    if (!valid.ok()) {
      fault_ = Refusal(valid);
      return;
    }
    MethodTable methods(options);
    if (options.quota_id.empty()) options.quota_id = options.target;
    const HostAndPort server = SplitHostPort(ServerOf(options.target));
    std::string host = absl::AsciiStrToLower(server.host);
    policy_ = std::make_shared<const ChannelPolicy>(ChannelPolicy{
        client_, std::move(options.quota_id), std::move(options.target),
        std::move(host), server.port, std::move(methods), options.take_over,
        options.streams, options.max_stream_buffer});
  }

  Interceptor* CreateClientInterceptor(ClientRpcInfo* info) override {
    if (!client_->enabled() || StartingAttempt::Is(info->client_context())) {
      return nullptr;
    }
    const bool unary = info->type() == ClientRpcInfo::Type::UNARY;
    if (policy_ == nullptr) return new Refuser(fault_);
    if (!unary && policy_->streams == Streams::kOff) return nullptr;
    const CallOptions* const own = WithCallOptions::Of(info->client_context());
    if (own != nullptr) {
      if (!own->enabled) return nullptr;
      const absl::Status valid = ValidateCallOptions(*own);
      if (!valid.ok()) return new Refuser(Refusal(valid));
    }
    CallRoute route;
    route.host = policy_->host;
    route.port = policy_->port;
    route.rpc = info->method();
    PolicyRef found = client_->PolicyOf(route);
    if (!found->enabled) return nullptr;
    if (!unary && !IsOurs(*info, found, own)) return nullptr;
    if (found->wait_for_ready) {
      SetDefaultWaitForReady(*found->wait_for_ready, info->client_context());
    }
    return new CallInterceptor(info->client_context(),
                               MakeCall(std::move(found), own, info));
  }

 private:
  // Of a stream: whether anything was said of its method.
  bool IsOurs(const ClientRpcInfo& info, const PolicyRef& found,
              const CallOptions* own) const {
    return policy_->methods.Find(info.method()) != nullptr ||
           found.policy != &found.table->top() ||
           (own != nullptr && own->retryable.has_value());
  }

  std::shared_ptr<InterceptedCall> MakeCall(PolicyRef found,
                                            const CallOptions* own,
                                            ClientRpcInfo* info) const {
    if (info->type() == ClientRpcInfo::Type::UNARY) {
      return std::make_shared<UnaryCall>(policy_, std::move(found), own, info);
    }
    if (policy_->streams == Streams::kRetry && HasPrivateAccess()) {
      return std::make_shared<StreamCall>(policy_, std::move(found), own, info);
    }
    return std::make_shared<ObservedStream>(policy_, std::move(found), own,
                                            info);
  }

  const std::shared_ptr<Client> client_;
  grpc::Status fault_;
  std::shared_ptr<const ChannelPolicy> policy_;  // null: fault_ says why
};

}  // namespace

std::unique_ptr<ClientInterceptorFactoryInterface> MakeInterceptorFactory(
    std::shared_ptr<Client> client, RpcOptions options) {
  return std::make_unique<Factory>(std::move(client), std::move(options));
}

std::shared_ptr<grpc::Channel> CreateChannel(
    const std::string& target,
    const std::shared_ptr<grpc::ChannelCredentials>& credentials,
    std::shared_ptr<Client> client, RpcOptions options,
    const grpc::ChannelArguments& arguments) {
  grpc::ChannelArguments ours = arguments;
  ours.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  if (options.target.empty()) options.target = target;
  std::vector<std::unique_ptr<ClientInterceptorFactoryInterface>> factories;
  factories.push_back(
      MakeInterceptorFactory(std::move(client), std::move(options)));
  return grpc::experimental::CreateCustomChannelWithInterceptors(
      target, credentials, ours, std::move(factories));
}

std::optional<CallRecord> RecordOf(const grpc::ClientContext& context) {
  const std::shared_ptr<InterceptedCall> call = Calls().Find(&context);
  if (call == nullptr) return std::nullopt;
  return call->record();
}

}  // namespace forbear::rpc
