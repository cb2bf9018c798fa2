#include "benchmarks/grpc_cases.h"

#include <grpcpp/grpcpp.h>
#include <grpcpp/support/client_interceptor.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <optional>
#include <utility>

#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "core/backoff.h"
#include "core/call_record.h"
#include "core/policy.h"
#include "interceptors/interceptor.h"
#include "interceptors/rpc_options.h"
#include "runtime/client.h"
#include "tests/testing/echo.grpc.pb.h"

namespace forbear::bench {
namespace {

using testing::Echo;
using testing::EchoMessage;
using Clock = std::chrono::steady_clock;

// The end of slow start (core/send_window.h), and connections.
constexpr int kWarm = 64;

void Check(bool usual, const char* what) {
  if (usual) return;
  std::fprintf(stderr, "a call took another way than the usual one: %s\n",
               what);
  std::abort();
}

double Micros(Clock::time_point from) {
  return std::chrono::duration<double, std::micro>(Clock::now() - from).count();
}

class Empty final : public grpc::experimental::Interceptor {
 public:
  void Intercept(grpc::experimental::InterceptorBatchMethods* batch) override {
    batch->Proceed();
  }
};
class EmptyFactory final
    : public grpc::experimental::ClientInterceptorFactoryInterface {
 public:
  explicit EmptyFactory(bool makes_one) : makes_one_(makes_one) {}
  grpc::experimental::Interceptor* CreateClientInterceptor(
      grpc::experimental::ClientRpcInfo*) override {
    return makes_one_ ? new Empty : nullptr;
  }

 private:
  const bool makes_one_;
};

constexpr char kServiceConfig[] = R"({"methodConfig": [{
  "name": [{"service": "forbear.testing.Echo"}],
  "retryPolicy": {
    "maxAttempts": 3, "initialBackoff": "0.25s", "maxBackoff": "1s",
    "backoffMultiplier": 2, "retryableStatusCodes": ["UNAVAILABLE"]}}]})";

std::shared_ptr<grpc::Channel> OurChannel(
    const std::string& address, const grpc::ChannelArguments& arguments,
    absl::string_view kind) {
  ClientOptions client;
  rpc::RpcOptions options;
  if (kind == "untouched") {
    // There is a policy, and it is for another method.
    client.enabled = false;
    TargetPolicy other{client};
    other.enabled = true;
    other.name = "other";
    other.match.rpcs = {"/forbear.testing.Echo/Other"};
    client.targets.push_back(other);
  } else {
    if (kind == "waiting") {
      client.retry.backoff.initial = client.retry.backoff.max =
          absl::Seconds(20);
      client.retry.backoff.jitter = Jitter::kNone;
      client.retry.backoff.lone_part = 1;
      client.endpoint.breaker.enabled = false;
      client.endpoint.budget.enabled = false;
    }
    options.methods = {
        {"/forbear.testing.Echo/Say", {grpc::StatusCode::UNAVAILABLE}}};
  }
  return rpc::CreateChannel(address, grpc::InsecureChannelCredentials(),
                            Client::Create(client).value(), options, arguments);
}

// What the cases have in common.
class ByStub : public GrpcCase {
 public:
  ByStub(const std::shared_ptr<grpc::Channel>& channel, bool late,
         bool reads_record)
      : stub_(Echo::NewStub(channel)), reads_record_(reads_record) {
    request_.set_payload(std::string(kPayloadBytes, 'b'));
    if (late) request_.set_n(static_cast<int>(Ask::kLate));
    EchoMessage response;
    for (int i = 0; i < kWarm; ++i) {
      grpc::ClientContext context;
      CheckCall(context, stub_->Say(&context, request_, &response), response);
    }
  }

 protected:
  void CheckCall(const grpc::ClientContext& context, const grpc::Status& status,
                 const EchoMessage& response) const {
    Check(status.ok(), status.error_message().c_str());
    Check(response.payload().size() == kPayloadBytes, "its answer");
    if (!reads_record_) return;
    const std::optional<CallRecord> record = rpc::RecordOf(context);
    Check(record && record->total_attempts == 1, "its attempts");
  }

  const std::unique_ptr<Echo::Stub> stub_;
  const bool reads_record_;
  EchoMessage request_;
};

class Sync final : public ByStub {
 public:
  using ByStub::ByStub;

  void Run(int64_t n) override {
    for (int64_t i = 0; i < n; ++i) One();
  }
  void RunTimed(int64_t n, std::vector<double>* micros) override {
    for (int64_t i = 0; i < n; ++i) {
      const auto begin = Clock::now();
      One();
      micros->push_back(Micros(begin));
    }
  }

 private:
  void One() {
    grpc::ClientContext context;
    const grpc::Status status = stub_->Say(&context, request_, &response_);
    CheckCall(context, status, response_);
  }

  EchoMessage response_;
};

class Many final : public ByStub {
 public:
  using ByStub::ByStub;

  void Run(int64_t n) override { Start(n, nullptr); }
  void RunTimed(int64_t n, std::vector<double>* micros) override {
    Start(n, micros);
  }

 private:
  struct OneCall {
    std::optional<grpc::ClientContext> context;
    EchoMessage response;
    Clock::time_point begin;
  };

  void Start(int64_t n, std::vector<double>* micros) {
    micros_ = micros;
    to_start_ = to_finish_ = n;
    for (OneCall& call : calls_) Next(&call);
    std::unique_lock<std::mutex> lock(mutex_);
    finished_.wait(lock, [this] { return to_finish_ == 0; });
    // Those of the last ones hold references to the channel.
    for (OneCall& call : calls_) call.context.reset();
  }

  void Next(OneCall* call) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (to_start_ == 0) return;
      --to_start_;
    }
    call->context.emplace();
    call->begin = Clock::now();
    stub_->async()->Say(
        &*call->context, &request_, &call->response,
        [this, call](const grpc::Status& status) { Done(call, status); });
  }

  void Done(OneCall* call, const grpc::Status& status) {
    CheckCall(*call->context, status, call->response);
    const double took = Micros(call->begin);
    Next(call);
    const std::lock_guard<std::mutex> lock(mutex_);
    if (micros_ != nullptr) micros_->push_back(took);
    if (--to_finish_ == 0) finished_.notify_one();
  }

  OneCall calls_[kInFlight];
  std::mutex mutex_;  // guards all below
  std::condition_variable finished_;
  std::vector<double>* micros_ = nullptr;
  int64_t to_start_ = 0;
  int64_t to_finish_ = 0;
};

}  // namespace

testing::GrpcReply BenchAnswer(const testing::GrpcRequest& request) {
  static std::atomic<int> kept{0};
  testing::GrpcReply echo = testing::GrpcReply::Ok(request.bytes);
  EchoMessage message;
  message.ParseFromString(request.bytes);
  switch (static_cast<Ask>(message.n())) {
    case Ask::kEcho:
      break;
    case Ask::kLate:
      return echo.After(absl::Milliseconds(4));
    case Ask::kHang:
      ++kept;
      return testing::GrpcReply::Hang();
    case Ask::kRefuse:
      ++kept;
      return testing::GrpcReply::Error(grpc::StatusCode::UNAVAILABLE);
    case Ask::kCount:
      message.set_n(kept);
      return testing::GrpcReply::Ok(message.SerializeAsString());
  }
  return echo;
}

std::shared_ptr<grpc::Channel> MakeBenchChannel(const std::string& address,
                                                absl::string_view kind) {
  grpc::ChannelArguments arguments;
  // Channels that are equal would share a connection.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  if (kind == "untouched" || kind == "forbear" || kind == "record" ||
      kind == "waiting") {
    return OurChannel(address, arguments, kind);
  }
  std::vector<
      std::unique_ptr<grpc::experimental::ClientInterceptorFactoryInterface>>
      factories;
  if (kind == "bare" || kind == "null" || kind == "empty") {
    arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
    if (kind != "bare") {
      factories.push_back(std::make_unique<EmptyFactory>(kind == "empty"));
    }
  } else if (kind == "retries") {
    arguments.SetServiceConfigJSON(kServiceConfig);
  } else if (kind != "default") {
    return nullptr;
  }
  return grpc::experimental::CreateCustomChannelWithInterceptors(
      address, grpc::InsecureChannelCredentials(), arguments,
      std::move(factories));
}

std::unique_ptr<GrpcCase> MakeGrpcCase(absl::string_view name,
                                       const std::string& address, bool late) {
  const bool many = absl::ConsumePrefix(&name, "many ");
  if (!many && !absl::ConsumePrefix(&name, "sync ")) return nullptr;
  const auto channel = MakeBenchChannel(address, name);
  if (channel == nullptr) return nullptr;
  const bool reads = name == "record";
  if (many) return std::make_unique<Many>(channel, late, reads);
  return std::make_unique<Sync>(channel, late, reads);
}

}  // namespace forbear::bench
