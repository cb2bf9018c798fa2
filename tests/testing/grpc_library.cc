#include "tests/testing/grpc_library.h"

#include <grpc/grpc.h>

#include <atomic>
#include <chrono>
#include <thread>

namespace forbear::testing {
namespace {

std::atomic<bool> kept{false};

}  // namespace

void KeepGrpcUp() {
  if (!kept.exchange(true)) grpc_init();
}

bool ShutGrpcDown() {
  if (kept.exchange(false)) grpc_shutdown_blocking();
  // The last users may be threads of gRPC's that end just now, of which gRPC tells nobody.
  const auto limit =
      std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (grpc_is_initialized() != 0) {
    if (std::chrono::steady_clock::now() >= limit) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return true;
}

}  // namespace forbear::testing
