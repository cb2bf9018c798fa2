#include "tests/testing/grpc_server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/grpcpp.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <fstream>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/testing/echo.grpc.pb.h"
#include "tests/testing/echo2.grpc.pb.h"

namespace forbear::testing {
namespace {

constexpr absl::Duration kLong = absl::Seconds(10);
constexpr char kSay[] = "/forbear.testing.Echo/Say";

std::string Bytes(absl::string_view payload) {
  EchoMessage message;
  message.set_payload(std::string(payload));
  return message.SerializeAsString();
}

int ConnectError(int port) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(port));
  const int error = connect(fd, reinterpret_cast<const sockaddr*>(&address),
                            sizeof(address)) == 0
                        ? 0
                        : errno;
  close(fd);
  return error;
}

int ThreadsOfThisProcess() {
  std::ifstream status("/proc/self/status");
  std::string word;
  int threads = 0;
  while (status >> word) {
    if (word == "Threads:") status >> threads;
  }
  return threads;
}

class GrpcServerTest : public ::testing::Test {
 protected:
  GrpcServerTest() {
    absl::StatusOr<std::unique_ptr<GrpcServer>> server = GrpcServer::Create();
    if (!server.ok()) abort();
    server_ = *std::move(server);
    channel_ = NewChannel();
    stub_ = Echo::NewStub(channel_);
  }

  // A connection of its own; `service_config` may be empty.
  std::shared_ptr<grpc::Channel> NewChannel(
      const std::string& service_config = "") {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 20);
    arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 20);
    arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 20);
    if (!service_config.empty()) {
      arguments.SetServiceConfigJSON(service_config);
    }
    return grpc::CreateCustomChannel(
        server_->address(), grpc::InsecureChannelCredentials(), arguments);
  }

  static void Limit(grpc::ClientContext* context) {
    context->set_deadline(std::chrono::system_clock::now() +
                          std::chrono::seconds(20));
  }

  // A plain call; its payload, or "" with an error.
  grpc::Status Say(absl::string_view payload, std::string* answer = nullptr) {
    grpc::ClientContext context;
    Limit(&context);
    EchoMessage request, response;
    request.set_payload(std::string(payload));
    grpc::Status status = stub_->Say(&context, request, &response);
    if (answer != nullptr) *answer = response.payload();
    return status;
  }

  const ArrivalLog& log() const { return server_->log(); }

  std::unique_ptr<GrpcServer> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<Echo::Stub> stub_;
};

TEST_F(GrpcServerTest, EchoesByDefaultAndLogsWhatCame) {
  grpc::ClientContext context;
  Limit(&context);
  context.AddMetadata("idempotency-key", "k1");
  context.AddMetadata("x-twice", "a");
  context.AddMetadata("x-twice", "b");
  EchoMessage request, response;
  request.set_payload("hello");
  request.set_n(7);
  ASSERT_TRUE(stub_->Say(&context, request, &response).ok());
  EXPECT_EQ(response.payload(), "hello");
  EXPECT_EQ(response.n(), 7);

  ASSERT_EQ(log().Count(), 1);
  const Arrival arrival = log().Snapshot().front();
  EXPECT_EQ(arrival.path, kSay);
  EXPECT_EQ(arrival.status, grpc::StatusCode::OK);
  EXPECT_EQ(arrival.body, request.SerializeAsString());
  EXPECT_EQ(arrival.headers.at("idempotency-key"), "k1");
  EXPECT_EQ(arrival.headers.at("x-twice"), "a, b");
  EXPECT_FALSE(arrival.cancelled);
}

TEST_F(GrpcServerTest, AnswersEveryServiceAndKnowsConnections) {
  const auto other_channel = NewChannel();
  const auto other = other::Echo::NewStub(other_channel);
  for (int i = 0; i < 2; ++i) {
    grpc::ClientContext context;
    Limit(&context);
    EchoMessage request, response;
    request.set_n(i);
    ASSERT_TRUE(other->Say(&context, request, &response).ok());
    EXPECT_EQ(response.n(), i);
  }
  EXPECT_TRUE(Say("x").ok());
  const std::vector<Arrival> arrivals = log().Snapshot();
  ASSERT_EQ(arrivals.size(), 3u);
  EXPECT_EQ(arrivals[0].path, "/forbear.testing.other.Echo/Say");
  EXPECT_EQ(arrivals[1].index_on_connection, 1);
  EXPECT_NE(arrivals[2].connection_id, arrivals[1].connection_id);
  EXPECT_EQ(arrivals[2].index_on_connection, 0);
}

TEST_F(GrpcServerTest, ErrorsCarryEverything) {
  server_->Script({GrpcReply::Error(grpc::StatusCode::RESOURCE_EXHAUSTED, "no")
                       .Pushback("1000")
                       .WithDetails(std::string("\x00\xff bytes", 8))
                       .WithTrailing("x-trailing", "t")});
  grpc::ClientContext context;
  Limit(&context);
  EchoMessage response;
  const grpc::Status status = stub_->Say(&context, EchoMessage(), &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(status.error_message(), "no");
  EXPECT_EQ(status.error_details(), std::string("\x00\xff bytes", 8));
  const auto& trailers = context.GetServerTrailingMetadata();
  ASSERT_EQ(trailers.count("grpc-retry-pushback-ms"), 1u);
  EXPECT_EQ(trailers.find("grpc-retry-pushback-ms")->second, "1000");
  EXPECT_EQ(trailers.count("x-trailing"), 1u);
  EXPECT_TRUE(context.GetServerInitialMetadata().empty());
  EXPECT_EQ(log().CountOfStatus(grpc::StatusCode::RESOURCE_EXHAUSTED), 1);
}

// What a C++ client can see of a wrong pushback, from any server.
TEST_F(GrpcServerTest, WrongPushbackIsParsedByGrpc) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"garbage", "-9223372036854775808"},
      {"1.5", "-9223372036854775808"},
      {"", "-9223372036854775808"},
      {"99999999999999999999", "-9223372036854775808"},
      {" 05", "5"},
      {"-1", "-1"},
      {"4294967296", "4294967296"},
  };
  for (const auto& [sent, seen] : cases) {
    server_->Script(
        {GrpcReply::Error(grpc::StatusCode::UNAVAILABLE).Pushback(sent)});
    grpc::ClientContext context;
    Limit(&context);
    EchoMessage response;
    EXPECT_FALSE(stub_->Say(&context, EchoMessage(), &response).ok());
    const auto& trailers = context.GetServerTrailingMetadata();
    const auto it = trailers.find("grpc-retry-pushback-ms");
    ASSERT_NE(it, trailers.end()) << sent;
    EXPECT_EQ(std::string(it->second.data(), it->second.size()), seen) << sent;
  }
}

TEST_F(GrpcServerTest, ScriptsComeBeforeTheHandler) {
  server_->SetHandler([](const GrpcRequest& request) {
    return GrpcReply::Ok(Bytes(absl::StrCat("handler ", request.index)));
  });
  server_->Script(kSay, {GrpcReply::Error(grpc::StatusCode::INTERNAL),
                         GrpcReply::Ok(Bytes("scripted"))});
  std::string answer;
  EXPECT_EQ(Say("x").error_code(), grpc::StatusCode::INTERNAL);
  EXPECT_TRUE(Say("x", &answer).ok());
  EXPECT_EQ(answer, "scripted");

  grpc::ClientContext context;
  Limit(&context);
  EchoMessage response;
  EXPECT_TRUE(stub_->Other(&context, EchoMessage(), &response).ok());
  EXPECT_EQ(response.payload(), "handler 2");

  server_->Script(kSay, {});
  server_->Script({GrpcReply::Error(grpc::StatusCode::ABORTED)});
  EXPECT_EQ(Say("x").error_code(), grpc::StatusCode::ABORTED);
  server_->Script({});
  server_->SetHandler(nullptr);
  EXPECT_TRUE(Say("echo", &answer).ok());
  EXPECT_EQ(answer, "echo");
}

// gRPC's own retries are the judge: a call with headers is committed, one with
// trailers alone is not.
constexpr char kRetryConfig[] = R"json({"methodConfig": [{
  "name": [{"service": "forbear.testing.Echo"}],
  "retryPolicy": {"maxAttempts": 4, "initialBackoff": "0.005s",
                  "maxBackoff": "0.005s", "backoffMultiplier": 1,
                  "retryableStatusCodes": ["UNAVAILABLE"]}}]})json";

TEST_F(GrpcServerTest, ErrorsAreTrailersOnly) {
  stub_ = Echo::NewStub(NewChannel(kRetryConfig));
  server_->Script({GrpcReply::Error(grpc::StatusCode::UNAVAILABLE),
                   GrpcReply::Error(grpc::StatusCode::UNAVAILABLE)
                       .Pushback("5")
                       .After(absl::Milliseconds(5)),
                   GrpcReply::Ok(Bytes("third"))});
  std::string answer;
  EXPECT_TRUE(Say("x", &answer).ok());
  EXPECT_EQ(answer, "third");
  const std::vector<Arrival> arrivals = log().Snapshot();
  ASSERT_EQ(arrivals.size(), 3u);
  EXPECT_EQ(arrivals[0].headers.count("grpc-previous-rpc-attempts"), 0u);
  EXPECT_EQ(arrivals[1].headers.at("grpc-previous-rpc-attempts"), "1");
  EXPECT_EQ(arrivals[2].headers.at("grpc-previous-rpc-attempts"), "2");
}

TEST_F(GrpcServerTest, ErrorsThatCommit) {
  stub_ = Echo::NewStub(NewChannel(kRetryConfig));
  const GrpcReply error = GrpcReply::Error(grpc::StatusCode::UNAVAILABLE);
  GrpcReply with_message = error;
  with_message.response = Bytes("x");
  const std::vector<GrpcReply> committing = {
      error.WithInitial("x-initial", "i"),
      error.HeadersFirst(),
      error.HeadersFirst().After(absl::Milliseconds(5)),
      with_message,
  };
  for (size_t i = 0; i < committing.size(); ++i) {
    server_->Script({committing[i]});
    EXPECT_EQ(Say("x").error_code(), grpc::StatusCode::UNAVAILABLE);
    EXPECT_EQ(log().Count(), static_cast<int64_t>(i + 1));
  }
}

TEST_F(GrpcServerTest, OkWithoutAMessageIsABrokenServer) {
  server_->Script({GrpcReply()});
  EXPECT_FALSE(Say("x").ok());
}

TEST_F(GrpcServerTest, TellsTheHandlerTheTimeLeft) {
  std::vector<absl::Duration> left;
  server_->SetHandler([&left](const GrpcRequest& request) {
    left.push_back(request.time_left);
    return GrpcReply::Ok(request.bytes);
  });
  Say("x");
  grpc::ClientContext context;
  EchoMessage response;
  EXPECT_TRUE(stub_->Say(&context, EchoMessage(), &response).ok());
  ASSERT_EQ(left.size(), 2u);
  EXPECT_LE(left[0], absl::Seconds(21));
  EXPECT_GE(left[0], absl::Seconds(15));
  EXPECT_EQ(left[1], absl::InfiniteDuration());
}

TEST_F(GrpcServerTest, SeesCancellationAndDeadline) {
  server_->Script({GrpcReply::Hang(), GrpcReply::Hang().HeadersFirst(),
                   GrpcReply::Ok("").After(absl::Hours(1)),
                   GrpcReply::Ok("").After(absl::Hours(1))});
  for (int i = 0; i < 4; ++i) {
    grpc::ClientContext context;
    if (i == 3) {
      context.set_deadline(std::chrono::system_clock::now() +
                           std::chrono::milliseconds(50));
    }
    EchoMessage response;
    std::future<grpc::Status> status = std::async(std::launch::async, [&] {
      return stub_->Say(&context, EchoMessage(), &response);
    });
    ASSERT_TRUE(log().WaitForCount(i + 1, kLong));
    if (i < 3) {
      EXPECT_EQ(log().CountCancelled(), i);
      context.TryCancel();
    }
    ASSERT_TRUE(log().WaitForCancelled(i + 1, kLong));
    EXPECT_EQ(status.get().error_code(),
              i < 3 ? grpc::StatusCode::CANCELLED
                    : grpc::StatusCode::DEADLINE_EXCEEDED);
  }
  const std::vector<Arrival> arrivals = log().Snapshot();
  ASSERT_EQ(arrivals.size(), 4u);
  EXPECT_EQ(arrivals[0].fault, Fault::kHang);
  EXPECT_EQ(arrivals[0].status, Arrival::kNoStatus);
  EXPECT_TRUE(arrivals[3].cancelled);
}

TEST_F(GrpcServerTest, Streams) {
  EchoMessage request, response;
  request.set_payload("s");
  {
    grpc::ClientContext context;
    Limit(&context);
    auto reader = stub_->Pull(&context, request);
    ASSERT_TRUE(reader->Read(&response));
    EXPECT_EQ(response.payload(), "s");
    EXPECT_FALSE(reader->Read(&response));
    EXPECT_TRUE(reader->Finish().ok());
  }
  {
    grpc::ClientContext context;
    Limit(&context);
    auto writer = stub_->Push(&context, &response);
    writer->Write(request);
    writer->WritesDone();
    EXPECT_TRUE(writer->Finish().ok());
    EXPECT_EQ(response.payload(), "s");
  }
  {
    grpc::ClientContext context;
    Limit(&context);
    auto stream = stub_->Chat(&context);
    stream->WritesDone();
    EXPECT_EQ(stream->Finish().error_code(),
              grpc::StatusCode::INVALID_ARGUMENT);
  }
  EXPECT_EQ(log().Count(), 2);
}

TEST_F(GrpcServerTest, TakesAndGivesLargeMessages) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);
  stub_ = Echo::NewStub(grpc::CreateCustomChannel(
      server_->address(), grpc::InsecureChannelCredentials(), arguments));
  const std::string payload(size_t{16} << 20, 'x');
  std::string answer;
  EXPECT_TRUE(Say(payload, &answer).ok());
  EXPECT_TRUE(answer == payload);
}

TEST_F(GrpcServerTest, ThousandsOfWaitingCallsHoldNoThread) {
  constexpr int kCalls = 2000;
  Say("warm");
  const int threads_before = ThreadsOfThisProcess();
  server_->SetHandler([](const GrpcRequest& request) {
    return request.index % 2 == 0
               ? GrpcReply::Ok(request.bytes).After(absl::Milliseconds(300))
               : GrpcReply::Hang();
  });
  struct Call {
    grpc::ClientContext context;
    EchoMessage request;
    EchoMessage response;
  };
  std::vector<std::unique_ptr<Call>> calls;
  std::atomic<int> ok{0}, cancelled{0};
  std::promise<void> all_done;
  std::atomic<int> left{kCalls};
  for (int i = 0; i < kCalls; ++i) {
    calls.push_back(std::make_unique<Call>());
    Call* call = calls.back().get();
    stub_->async()->Say(&call->context, &call->request, &call->response,
                        [&](grpc::Status status) {
                          ok += status.ok();
                          cancelled += status.error_code() ==
                                       grpc::StatusCode::CANCELLED;
                          if (--left == 0) all_done.set_value();
                        });
  }
  ASSERT_TRUE(log().WaitForCount(kCalls + 1, kLong));
  EXPECT_LE(ThreadsOfThisProcess(), threads_before + 8);
  for (auto& call : calls) call->context.TryCancel();
  all_done.get_future().wait();
  EXPECT_EQ(ok + cancelled, kCalls);
  EXPECT_GE(cancelled, kCalls / 2 - 1);
  ASSERT_TRUE(log().WaitForCancelled(kCalls / 2, kLong));
}

TEST_F(GrpcServerTest, StopsAndStartsOnItsPort) {
  server_->Script({GrpcReply::Hang(), GrpcReply::Ok(Bytes("back"))});
  std::future<grpc::Status> hanging =
      std::async(std::launch::async, [this] { return Say("x"); });
  ASSERT_TRUE(log().WaitForCount(1, kLong));
  const int port = server_->port();

  server_->Stop();
  EXPECT_EQ(ConnectError(port), ECONNREFUSED);
  EXPECT_FALSE(hanging.get().ok());
  EXPECT_EQ(Say("x").error_code(), grpc::StatusCode::UNAVAILABLE);
  server_->Stop();

  ASSERT_TRUE(server_->Start().ok());
  ASSERT_TRUE(server_->Start().ok());
  EXPECT_EQ(server_->port(), port);
  ASSERT_TRUE(channel_->WaitForConnected(std::chrono::system_clock::now() +
                                         std::chrono::seconds(10)));
  std::string answer;
  EXPECT_TRUE(Say("x", &answer).ok());
  EXPECT_EQ(answer, "back");
  EXPECT_EQ(log().Count(), 2);
  EXPECT_EQ(log().CountCancelled(), 0);

  GrpcServer::Options options;
  options.port = port;
  EXPECT_EQ(GrpcServer::Create(options).status().code(),
            absl::StatusCode::kUnavailable);
}

// By default gRPC servers share a port with whoever else wants it.
TEST_F(GrpcServerTest, SharesItsPortWithNobody) {
  grpc::ServerBuilder builder;
  grpc::AsyncGenericService service;
  builder.AddListeningPort(server_->address(),
                           grpc::InsecureServerCredentials());
  builder.RegisterAsyncGenericService(&service);
  const auto queue = builder.AddCompletionQueue();
  EXPECT_EQ(builder.BuildAndStart(), nullptr);
  queue->Shutdown();
  void* tag;
  bool ok;
  while (queue->Next(&tag, &ok)) {
  }
}

TEST_F(GrpcServerTest, RestartsManyTimes) {
  for (int i = 0; i < 20; ++i) {
    server_->Stop();
    ASSERT_EQ(ConnectError(server_->port()), ECONNREFUSED) << i;
    ASSERT_TRUE(server_->Start().ok()) << i;
    ASSERT_EQ(ConnectError(server_->port()), 0) << i;
  }
}

TEST_F(GrpcServerTest, EndsWithCallsInEveryState) {
  server_->Script({GrpcReply::Hang(), GrpcReply::Hang().HeadersFirst(),
                   GrpcReply::Ok("").After(absl::Hours(1))});
  std::vector<std::future<grpc::Status>> calls;
  for (int i = 0; i < 3; ++i) {
    calls.push_back(
        std::async(std::launch::async, [this] { return Say("x"); }));
  }
  ASSERT_TRUE(log().WaitForCount(3, kLong));
  server_.reset();
  for (auto& call : calls) EXPECT_FALSE(call.get().ok());
}

// Cancellations that race the answer: nothing is answered twice, nothing is
// lost.
TEST_F(GrpcServerTest, CancellationRacesTheAnswer) {
  server_->SetHandler([](const GrpcRequest& request) {
    return GrpcReply::Ok(request.bytes)
        .After(absl::Microseconds(request.index % 4 * 100));
  });
  std::atomic<int> answered{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 2; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 200; ++i) {
        grpc::ClientContext context;
        EchoMessage response;
        std::promise<void> done;
        const EchoMessage request;
        stub_->async()->Say(&context, &request, &response, [&](grpc::Status) {
          ++answered;
          done.set_value();
        });
        for (int spin = 0; spin < i % 50; ++spin) std::this_thread::yield();
        context.TryCancel();
        done.get_future().wait();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(answered, 400);
  server_->SetHandler(nullptr);
  EXPECT_TRUE(Say("still alive").ok());
}

}  // namespace
}  // namespace forbear::testing
