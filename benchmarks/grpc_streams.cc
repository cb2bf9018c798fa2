#include "benchmarks/grpc_streams.h"

#include <grpcpp/grpcpp.h>
#include <grpcpp/impl/codegen/client_callback.h>
#include <grpcpp/impl/codegen/proto_utils.h>
#include <grpcpp/impl/codegen/rpc_method.h>
#include <grpcpp/support/client_interceptor.h>

#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "benchmarks/grpc_cases.h"
#include "interceptors/interceptor.h"
#include "interceptors/rpc_options.h"
#include "runtime/client.h"
#include "tests/testing/echo.grpc.pb.h"

namespace forbear::bench {
namespace {

using grpc::experimental::ClientInterceptorFactoryInterface;
using grpc::experimental::ClientRpcInfo;
using grpc::experimental::Interceptor;
using grpc::experimental::InterceptorBatchMethods;
using testing::Echo;
using testing::EchoMessage;
using Hook = grpc::experimental::InterceptionHookPoints;

constexpr char kPull[] = "/forbear.testing.Echo/Pull";
constexpr char kOther[] = "/forbear.testing.Echo/Push";

void Check(bool usual, const char* what) {
  if (usual) return;
  std::fprintf(stderr, "a stream took another way than the usual one: %s\n",
               what);
  std::abort();
}

// --- The server. ---

class Service final : public Echo::Service {
 public:
  grpc::Status Pull(grpc::ServerContext*, const EchoMessage* request,
                    grpc::ServerWriter<EchoMessage>* writer) override {
    EchoMessage message;
    message.set_payload(std::string(kPayloadBytes, 'b'));
    for (int i = 0; i < request->n(); ++i) {
      if (!writer->Write(message)) return grpc::Status::CANCELLED;
    }
    return grpc::Status::OK;
  }
};

struct Running {
  Service service;
  std::unique_ptr<grpc::Server> server;
};

// --- A hijacked stream that passes everything on. ---

class Passing final : public grpc::ClientReadReactor<grpc::ByteBuffer>,
                      public std::enable_shared_from_this<Passing> {
 public:
  void Intercept(InterceptorBatchMethods* batch) {
    if (batch->QueryInterceptionHookPoint(Hook::PRE_SEND_INITIAL_METADATA)) {
      request_ = *batch->GetSerializedSendMessage();
      channel_ = batch->GetInterceptedChannel();
      Begin();
      batch->Hijack();
      return;
    }
    const bool reads =
        batch->QueryInterceptionHookPoint(Hook::PRE_RECV_MESSAGE);
    const bool finishes =
        batch->QueryInterceptionHookPoint(Hook::PRE_RECV_STATUS);
    if (reads) {
      batch_ = batch;
      StartRead(&response_);
    } else if (finishes) {
      {
        const std::lock_guard<std::mutex> lock(mutex_);
        if (!status_) {
          batch_ = batch;
          return;
        }
      }
      End(batch);
    } else {
      batch->Proceed();
    }
  }

  void OnReadDone(bool ok) override {
    InterceptorBatchMethods* const batch = std::exchange(batch_, nullptr);
    if (ok) {
      const grpc::Status parsed =
          grpc::SerializationTraits<grpc::protobuf::MessageLite>::Deserialize(
              &response_, static_cast<grpc::protobuf::MessageLite*>(
                              batch->GetRecvMessage()));
      Check(parsed.ok(), "its message");
    } else {
      batch->FailHijackedRecvMessage();
      RemoveHold();
    }
    batch->Proceed();
  }

  void OnDone(const grpc::Status& status) override {
    const std::shared_ptr<Passing> self = std::move(self_);
    InterceptorBatchMethods* batch = nullptr;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      status_ = status;
      batch = std::exchange(batch_, nullptr);
    }
    if (batch != nullptr) End(batch);
  }

 private:
  void Begin() {
    self_ = shared_from_this();
    grpc::internal::ClientCallbackReaderFactory<grpc::ByteBuffer>::Create(
        channel_.get(),
        grpc::internal::RpcMethod(kPull,
                                  grpc::internal::RpcMethod::SERVER_STREAMING),
        &context_, &request_, this);
    AddHold();  // reads are started from outside
    StartCall();
  }
  void End(InterceptorBatchMethods* batch) {
    *batch->GetRecvStatus() = *status_;
    batch->Proceed();
  }

  grpc::ClientContext context_;
  std::unique_ptr<grpc::ChannelInterface> channel_;
  grpc::ByteBuffer request_;
  grpc::ByteBuffer response_;
  std::shared_ptr<Passing> self_;  // until OnDone
  std::mutex mutex_;               // guards the two below, once reads are over
  InterceptorBatchMethods* batch_ = nullptr;
  std::optional<grpc::Status> status_;
};

class PassingInterceptor final : public Interceptor {
 public:
  void Intercept(InterceptorBatchMethods* batch) override {
    // The last Proceed may destroy this object.
    const std::shared_ptr<Passing> passing = passing_;
    passing->Intercept(batch);
  }

 private:
  const std::shared_ptr<Passing> passing_ = std::make_shared<Passing>();
};

class PassingFactory final : public ClientInterceptorFactoryInterface {
 public:
  Interceptor* CreateClientInterceptor(ClientRpcInfo*) override {
    return new PassingInterceptor;
  }
};

// --- The client. ---

std::shared_ptr<grpc::Channel> MakeChannel(absl::string_view name,
                                           const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  const auto credentials = grpc::InsecureChannelCredentials();
  if (name == "forbear" || name == "untouched") {
    rpc::RpcOptions options;
    options.methods = {
        {name == "forbear" ? kPull : kOther, {grpc::StatusCode::UNAVAILABLE}}};
    return rpc::CreateChannel(address, credentials, Client::Create().value(),
                              options, arguments);
  }
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  std::vector<std::unique_ptr<ClientInterceptorFactoryInterface>> factories;
  if (name == "empty") {
    factories.push_back(std::make_unique<PassingFactory>());
  } else if (name != "bare") {
    return nullptr;
  }
  return grpc::experimental::CreateCustomChannelWithInterceptors(
      address, credentials, arguments, std::move(factories));
}

class Pull final : public GrpcStreamCase {
 public:
  explicit Pull(const std::shared_ptr<grpc::Channel>& channel)
      : stub_(Echo::NewStub(channel)) {
    for (int i = 0; i < 30; ++i) Run(3);
  }

  void Run(int64_t n) override {
    grpc::ClientContext context;
    EchoMessage request;
    request.set_n(static_cast<int>(n));
    const auto reader = stub_->Pull(&context, request);
    EchoMessage message;
    int64_t seen = 0;
    while (reader->Read(&message)) {
      Check(message.payload().size() == kPayloadBytes, "its message");
      ++seen;
    }
    const grpc::Status status = reader->Finish();
    Check(status.ok(), status.error_message().c_str());
    Check(seen == n, "its messages");
  }

 private:
  const std::unique_ptr<Echo::Stub> stub_;
};

}  // namespace

std::shared_ptr<void> StartStreamServer(int* port) {
  auto running = std::make_shared<Running>();
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(),
                           port);
  builder.RegisterService(&running->service);
  running->server = builder.BuildAndStart();
  if (running->server == nullptr) return nullptr;
  return running;
}

std::unique_ptr<GrpcStreamCase> MakeGrpcStreamCase(absl::string_view name,
                                                   const std::string& address) {
  const auto channel = MakeChannel(name, address);
  if (channel == nullptr) return nullptr;
  return std::make_unique<Pull>(channel);
}

}  // namespace forbear::bench
