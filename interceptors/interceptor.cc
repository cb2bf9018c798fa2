#include "interceptors/interceptor.h"

#include <array>
#include <cstddef>
#include <mutex>
#include <utility>
#include <vector>

#include "absl/hash/hash.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/string_view.h"
#include "core/call_match.h"
#include "core/wait_queue.h"
#include "interceptors/attempt_context.h"
#include "interceptors/call_options.h"
#include "interceptors/channel_policy.h"
#include "interceptors/intercepted_call.h"
#include "interceptors/known_methods.h"
#include "interceptors/method_table.h"
#include "interceptors/observed_stream.h"
#include "interceptors/private_access.h"
#include "interceptors/service_config.h"
#include "interceptors/stream_call.h"
#include "interceptors/unary_call.h"
#include "runtime/clock.h"

namespace forbear::rpc {
namespace {

using grpc::experimental::ClientInterceptorFactoryInterface;
using grpc::experimental::ClientRpcInfo;
using grpc::experimental::Interceptor;
using grpc::experimental::InterceptorBatchMethods;
using Hook = grpc::experimental::InterceptionHookPoints;

class CallInterceptor;

// From a context to its call. A context offers no place for anything of ours
// that could be found from outside; but its interceptors die with it, so an
// entry is there as long as its context, and there are never more of them than
// contexts with a call. The interceptors themselves are the entries: a call allocates
// nothing for this.
class CallsByContext {
 public:
  void Add(CallInterceptor* interceptor);
  void Remove(CallInterceptor* interceptor);
  // Of two for one context (two factories on one channel) the newer one's.
  std::shared_ptr<InterceptedCall> Find(const grpc::ClientContext* context);

 private:
  struct Bucket {
    std::mutex mutex;  // guards all below
    CallInterceptor* first = nullptr;
  };

  Bucket& BucketOf(const grpc::ClientContext* context) {
    return buckets_[absl::HashOf(context) % buckets_.size()];
  }

  std::array<Bucket, 4096> buckets_;
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
    Calls().Add(this);
  }

  ~CallInterceptor() override {
    Calls().Remove(this);
    call_->Detach();
  }

  void Intercept(InterceptorBatchMethods* batch) override {
    // The last Proceed may destroy this object.
    const std::shared_ptr<InterceptedCall> call = call_;
    call->Intercept(batch);
  }

 private:
  friend CallsByContext;

  const grpc::ClientContext* const context_;
  const std::shared_ptr<InterceptedCall> call_;
  CallInterceptor* next_ = nullptr;  // of its bucket, whose lock guards it
};

void CallsByContext::Add(CallInterceptor* interceptor) {
  Bucket& bucket = BucketOf(interceptor->context_);
  const std::lock_guard<std::mutex> lock(bucket.mutex);
  interceptor->next_ = std::exchange(bucket.first, interceptor);
}

void CallsByContext::Remove(CallInterceptor* interceptor) {
  Bucket& bucket = BucketOf(interceptor->context_);
  const std::lock_guard<std::mutex> lock(bucket.mutex);
  CallInterceptor** at = &bucket.first;
  while (*at != interceptor) at = &(*at)->next_;
  *at = interceptor->next_;
}

std::shared_ptr<InterceptedCall> CallsByContext::Find(
    const grpc::ClientContext* context) {
  Bucket& bucket = BucketOf(context);
  const std::lock_guard<std::mutex> lock(bucket.mutex);
  for (CallInterceptor* i = bucket.first; i != nullptr; i = i->next_) {
    if (i->context_ == context) return i->call_;
  }
  return nullptr;
}

// Ends a call with one status. It takes the first batch, whatever that is, and so all
// of them: a corked stream's reactor asks for the status before it sends metadata, and
// what has gone down to gRPC by then would never come back. Nor would what comes before
// gRPC knows that the call is hijacked: it waits for that (early_).
class Refuser final : public Interceptor {
 public:
  explicit Refuser(const grpc::Status& status) : status_(status) {}

  void Intercept(InterceptorBatchMethods* batch) override {
    if (batch->QueryInterceptionHookPoint(Hook::PRE_SEND_CANCEL)) return;
    std::vector<InterceptorBatchMethods*> early;
    {
      std::unique_lock<std::mutex> lock(mutex_);
      if (!hijacked_) {
        hijacked_ = true;
        hijacking_ = batch;
        lock.unlock();
        batch->Hijack();  // comes back, without what it sends
        return;
      }
      if (hijacking_ == batch) {
        hijacking_ = nullptr;
        early.swap(early_);
      } else if (hijacking_ != nullptr) {
        early_.push_back(batch);
        return;
      }
    }
    // The last of them may destroy this object.
    early.insert(early.begin(), batch);
    for (InterceptorBatchMethods* each : early) End(each);
  }

 private:
  void End(InterceptorBatchMethods* batch) const {
    if (batch->QueryInterceptionHookPoint(Hook::PRE_SEND_MESSAGE)) {
      batch->FailHijackedSendMessage();
    }
    if (batch->QueryInterceptionHookPoint(Hook::PRE_RECV_MESSAGE)) {
      batch->FailHijackedRecvMessage();
    }
    if (batch->QueryInterceptionHookPoint(Hook::PRE_RECV_STATUS)) {
      *batch->GetRecvStatus() = status_;
    }
    batch->Proceed();
  }

  const grpc::Status status_;

  std::mutex mutex_;  // guards all below
  bool hijacked_ = false;
  InterceptorBatchMethods* hijacking_ = nullptr;  // on its way back
  std::vector<InterceptorBatchMethods*> early_;
};

// The values of GRPC_ARG_SERVICE_CONFIG, of which gRPC takes the first.
std::vector<char**> ServiceConfigsIn(const grpc::ChannelArguments& arguments) {
  std::vector<char**> values;
  const grpc_channel_args all = arguments.c_channel_args();
  if (all.args == nullptr) return values;
  for (size_t i = 0; i < all.num_args; ++i) {
    grpc_arg& arg = all.args[i];
    if (arg.type == GRPC_ARG_STRING &&
        absl::string_view(arg.key) == GRPC_ARG_SERVICE_CONFIG) {
      values.push_back(&arg.value.string);
    }
  }
  return values;
}

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
    // Valid, as has been seen.
    std::vector<ServiceRule> service_rules;
    if (!options.service_config.empty()) {
      service_rules = ReadServiceConfig(options.service_config)->rules;
    }
    MethodTable methods(options, service_rules);
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
    const char* const method = info->method();
    std::shared_ptr<const KnownMethod> known;
    if (own == nullptr) known = known_.Find(method);
    if (known == nullptr) {
      known = LookUp(method, own);
      if (own == nullptr) known_.Keep(known);
    }
    const TargetPolicy& found = *known->policy;
    if (!found.enabled || (!unary && !known->named)) return nullptr;
    if (found.wait_for_ready) {
      SetDefaultWaitForReady(*found.wait_for_ready, info->client_context());
    }
    return new CallInterceptor(info->client_context(),
                               MakeCall(std::move(known), info));
  }

 private:
  // `own`: of one call, or null.
  std::shared_ptr<const KnownMethod> LookUp(absl::string_view method,
                                            const CallOptions* own) const {
    auto known = std::make_shared<KnownMethod>();
    known->name = std::string(method);
    CallRoute route;
    route.host = policy_->host;
    route.port = policy_->port;
    route.rpc = method;
    known->policy = client_->PolicyOf(route);
    if (!known->policy->enabled) return known;
    const MethodWords words = policy_->methods.Find(method);
    // A service config's timeout, and what else is not of retries, gRPC sees to.
    known->named =
        words.rule != nullptr ||
        (words.service != nullptr && words.service->ChangesRetries()) ||
        known->policy.policy != &known->policy.table->top() ||
        (own != nullptr && own->retryable.has_value());
    known->retryable = RetryableCodes(own, words, *known->policy);
    known->retry = RetryOf(own, words, known->retryable, *known->policy);
    CallKind kind;
    kind.quota_key = own == nullptr || own->quota_id.empty() ? policy_->quota_id
                                                             : own->quota_id;
    kind.endpoint_key = policy_->target;
    kind.target = policy_->target;
    kind.method = method;
    kind.protocol = Protocol::kGrpc;
    WakeList wakes;
    known->handle =
        client_->HandleOf(kind, known->policy, MonotonicNow(), &wakes);
    for (const std::shared_ptr<Waiter>& waiter : wakes) waiter->Wake();
    return known;
  }

  std::shared_ptr<InterceptedCall> MakeCall(
      std::shared_ptr<const KnownMethod> known, ClientRpcInfo* info) const {
    if (info->type() == ClientRpcInfo::Type::UNARY) {
      return std::make_shared<UnaryCall>(policy_, std::move(known), info);
    }
    if (policy_->streams == Streams::kRetry && HasPrivateAccess()) {
      return std::make_shared<StreamCall>(policy_, std::move(known), info);
    }
    return std::make_shared<ObservedStream>(policy_, std::move(known), info);
  }

  const std::shared_ptr<Client> client_;
  grpc::Status fault_;
  std::shared_ptr<const ChannelPolicy> policy_;  // null: fault_ says why
  KnownMethods known_{client_.get()};
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
  // Switched off for good, Forbear is no retrier: gRPC's retries, and all of the
  // service config, stay what they are.
  const bool off = client->off();
  if (!off) ours.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  if (options.target.empty()) options.target = target;
  const std::vector<char**> given = ServiceConfigsIn(ours);
  if (options.service_config.empty() && !given.empty()) {
    options.service_config = *given[0];
  }
  std::string rest = options.service_config;  // lives until the channel is made
  if (!rest.empty()) {
    // A faulty one ends every call (Refuser), but for those that pass through; for
    // these it is gRPC's to judge.
    const absl::StatusOr<ServiceConfig> config = ReadServiceConfig(rest);
    if (config.ok() && !off) rest = config->rest;
    // Arguments cannot be taken out of a ChannelArguments, nor be set again.
    for (char** value : given) *value = &rest[0];
    if (given.empty()) ours.SetServiceConfigJSON(rest);
  }
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
