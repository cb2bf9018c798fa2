// dropped_channels: what gRPC itself, without Forbear, makes of channels that are
// dropped while they connect. What the soak over gRPC may expect rests on it: with gRPC
// 1.51 some of their sockets stay until the process ends, and none of those that were
// dropped at another time (tests/soak/rpc_session.h: MayEnd).
//
//   bazel run //tests/soak:dropped_channels      # half a minute
#include <dirent.h>
#include <grpc/grpc.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <cstdio>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace {

constexpr int kThreads = 4;
constexpr int kChannelsOfEach = 2000;

int Descriptors() {
  int count = 0;
  DIR* const dir = opendir("/proc/self/fd");
  while (dir != nullptr && readdir(dir) != nullptr) ++count;
  if (dir != nullptr) closedir(dir);
  return count;
}

// A channel that is dropped `after` it began to connect; or when it has connected.
void DropOne(const std::string& address, std::chrono::microseconds after,
             bool when_ready) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  const auto channel = grpc::CreateCustomChannel(
      address, grpc::InsecureChannelCredentials(), arguments);
  channel->GetState(/*try_to_connect=*/true);
  std::this_thread::sleep_for(after);
  if (when_ready) {
    channel->WaitForConnected(std::chrono::system_clock::now() +
                              std::chrono::seconds(10));
  }
}

// How many more descriptors there are when a server is gone than before it came, after
// all the channels to it.
int Lost(bool when_ready) {
  const int before = Descriptors();
  grpc::CallbackGenericService service;
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(),
                           &port);
  builder.RegisterCallbackGenericService(&service);
  auto server = builder.BuildAndStart();
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([t, port, when_ready] {
      std::minstd_rand random(t);
      for (int i = 0; i < kChannelsOfEach; ++i) {
        DropOne("127.0.0.1:" + std::to_string(port),
                std::chrono::microseconds(random() % 3000), when_ready);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  server.reset();
  // Channels notice the server's end on threads of gRPC's.
  const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(3);
  while (Descriptors() > before && std::chrono::steady_clock::now() < limit) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return Descriptors() - before;
}

}  // namespace

int main() {
  grpc_init();  // and no shutdown in between
  // What is made once and kept.
  Lost(/*when_ready=*/true);
  printf("gRPC %s, %d channels each:\n", grpc::Version().c_str(),
         kThreads * kChannelsOfEach);
  fflush(stdout);
  printf("dropped when they have connected: %d descriptors stay\n",
         Lost(/*when_ready=*/true));
  fflush(stdout);
  printf("dropped while they connect: %d descriptors stay\n",
         Lost(/*when_ready=*/false));
  return 0;
}
