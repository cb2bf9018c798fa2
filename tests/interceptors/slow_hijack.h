// SlowHijack: a channel with Forbear on it, on which the first batch that is seen is
// hijacked slowly: between Forbear's call of Hijack and gRPC's the next batch comes.
// Each call of a channel may do with two threads what this one does for certain.
//
//   SlowHijack slow;
//   const auto channel = slow.Channel(address, client, options);
//   …a thread makes the first batch of the only call; another one:
//   slow.WaitUntilHijacking();
//   …makes the next one; when Forbear has seen it, the first thread goes on…
//
// Thread rule: thread-safe. It must outlive the channel.
#ifndef FORBEAR_TESTS_INTERCEPTORS_SLOW_HIJACK_H_
#define FORBEAR_TESTS_INTERCEPTORS_SLOW_HIJACK_H_

#include <grpcpp/grpcpp.h>
#include <grpcpp/support/client_interceptor.h>

#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "interceptors/interceptor.h"
#include "interceptors/rpc_options.h"
#include "runtime/client.h"

namespace forbear::rpc {

class SlowHijack {
 public:
  std::shared_ptr<grpc::Channel> Channel(const std::string& address,
                                         std::shared_ptr<Client> client,
                                         RpcOptions options) {
    options.target = address;
    std::vector<std::unique_ptr<FactoryInterface>> factories;
    factories.push_back(std::make_unique<Factory>(
        this, MakeInterceptorFactory(std::move(client), std::move(options))));
    return grpc::experimental::CreateCustomChannelWithInterceptors(
        address, grpc::InsecureChannelCredentials(), grpc::ChannelArguments(),
        std::move(factories));
  }

  // Is called on the thread that makes the first batch, when Forbear has it.
  void AfterFirst(std::function<void()> then) {
    after_first_ = std::move(then);
  }
  void WaitUntilHijacking() { hijacking_.Wait(); }

 private:
  using FactoryInterface =
      grpc::experimental::ClientInterceptorFactoryInterface;
  using InterceptorBatch = grpc::experimental::InterceptorBatchMethods;
  using Hook = grpc::experimental::InterceptionHookPoints;

  class Flag {
   public:
    void Set() {
      const std::lock_guard<std::mutex> lock(mutex_);
      set_ = true;
      changed_.notify_all();
    }
    // Not for ever.
    void Wait() {
      std::unique_lock<std::mutex> lock(mutex_);
      changed_.wait_for(lock, std::chrono::seconds(15),
                        [this] { return set_; });
    }

   private:
    std::mutex mutex_;
    std::condition_variable changed_;
    bool set_ = false;
  };

  // gRPC's, but for Hijack.
  class Batch final : public InterceptorBatch {
   public:
    Batch(SlowHijack* slow, InterceptorBatch* real)
        : slow_(slow), real_(real) {}

    void Hijack() override {
      slow_->hijacking_.Set();
      slow_->next_seen_->Wait();
      real_->Hijack();
    }

    bool QueryInterceptionHookPoint(Hook type) override {
      return real_->QueryInterceptionHookPoint(type);
    }
    void Proceed() override { real_->Proceed(); }
    grpc::ByteBuffer* GetSerializedSendMessage() override {
      return real_->GetSerializedSendMessage();
    }
    const void* GetSendMessage() override { return real_->GetSendMessage(); }
    void ModifySendMessage(const void* message) override {
      real_->ModifySendMessage(message);
    }
    bool GetSendMessageStatus() override {
      return real_->GetSendMessageStatus();
    }
    std::multimap<std::string, std::string>* GetSendInitialMetadata() override {
      return real_->GetSendInitialMetadata();
    }
    grpc::Status GetSendStatus() override { return real_->GetSendStatus(); }
    void ModifySendStatus(const grpc::Status& status) override {
      real_->ModifySendStatus(status);
    }
    std::multimap<std::string, std::string>* GetSendTrailingMetadata()
        override {
      return real_->GetSendTrailingMetadata();
    }
    void* GetRecvMessage() override { return real_->GetRecvMessage(); }
    std::multimap<grpc::string_ref, grpc::string_ref>* GetRecvInitialMetadata()
        override {
      return real_->GetRecvInitialMetadata();
    }
    grpc::Status* GetRecvStatus() override { return real_->GetRecvStatus(); }
    std::multimap<grpc::string_ref, grpc::string_ref>* GetRecvTrailingMetadata()
        override {
      return real_->GetRecvTrailingMetadata();
    }
    std::unique_ptr<grpc::ChannelInterface> GetInterceptedChannel() override {
      return real_->GetInterceptedChannel();
    }
    void FailHijackedRecvMessage() override {
      real_->FailHijackedRecvMessage();
    }
    void FailHijackedSendMessage() override {
      real_->FailHijackedSendMessage();
    }

   private:
    SlowHijack* const slow_;
    InterceptorBatch* const real_;
  };

  class Interceptor final : public grpc::experimental::Interceptor {
   public:
    Interceptor(SlowHijack* slow, grpc::experimental::Interceptor* forbear)
        : slow_(slow), forbear_(forbear) {}

    // What comes back of a batch may destroy this object.
    void Intercept(InterceptorBatch* batch) override {
      SlowHijack* const slow = slow_;
      if (batch->QueryInterceptionHookPoint(Hook::PRE_SEND_CANCEL)) {
        forbear_->Intercept(batch);
      } else if (!first_) {
        first_.emplace(slow, batch);
        first_is_ = batch;
        forbear_->Intercept(&*first_);
        if (slow->after_first_) std::exchange(slow->after_first_, nullptr)();
      } else if (batch == first_is_) {
        // Back from Hijack. After that it is one like the others, which may lie
        // where it lay.
        first_is_ = nullptr;
        forbear_->Intercept(&*first_);
      } else {
        // It may end the call, and with it the test.
        const std::shared_ptr<Flag> next_seen = slow->next_seen_;
        forbear_->Intercept(batch);
        next_seen->Set();
      }
    }

   private:
    SlowHijack* const slow_;
    const std::unique_ptr<grpc::experimental::Interceptor> forbear_;
    std::optional<Batch> first_;
    InterceptorBatch* first_is_ = nullptr;
  };

  class Factory final : public FactoryInterface {
   public:
    Factory(SlowHijack* slow, std::unique_ptr<FactoryInterface> forbear)
        : slow_(slow), forbear_(std::move(forbear)) {}

    grpc::experimental::Interceptor* CreateClientInterceptor(
        grpc::experimental::ClientRpcInfo* info) override {
      grpc::experimental::Interceptor* const forbear =
          forbear_->CreateClientInterceptor(info);
      return forbear == nullptr ? nullptr : new Interceptor(slow_, forbear);
    }

   private:
    SlowHijack* const slow_;
    const std::unique_ptr<FactoryInterface> forbear_;
  };

  std::function<void()> after_first_;
  Flag hijacking_;
  const std::shared_ptr<Flag> next_seen_ = std::make_shared<Flag>();
};

}  // namespace forbear::rpc

#endif  // FORBEAR_TESTS_INTERCEPTORS_SLOW_HIJACK_H_
