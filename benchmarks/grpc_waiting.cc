#include "benchmarks/grpc_waiting.h"

#include <grpcpp/grpcpp.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "benchmarks/grpc_cases.h"
#include "core/call_record.h"
#include "core/outcome.h"
#include "interceptors/interceptor.h"
#include "tests/testing/echo.grpc.pb.h"

namespace forbear::bench {
namespace {

using testing::Echo;
using testing::EchoMessage;

void Check(bool usual, const char* what) {
  if (usual) return;
  std::fprintf(stderr, "a call took another way than the usual one: %s\n",
               what);
  std::abort();
}

double ResidentBytes() {
  std::ifstream statm("/proc/self/statm");
  double all = 0;
  double resident = 0;
  statm >> all >> resident;
  return resident * static_cast<double>(sysconf(_SC_PAGESIZE));
}

int Threads() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    int n = 0;
    if (word == "Threads:" && status >> n) return n;
  }
  return 0;
}

void Pause() { std::this_thread::sleep_for(std::chrono::milliseconds(20)); }

EchoMessage Message(Ask ask) {
  EchoMessage message;
  message.set_payload(std::string(kPayloadBytes, 'b'));
  message.set_n(static_cast<int>(ask));
  return message;
}

// How many have come to the server and stay.
int Kept(Echo::Stub* stub) {
  grpc::ClientContext context;
  EchoMessage response;
  Check(stub->Say(&context, Message(Ask::kCount), &response).ok(), "its count");
  return response.n();
}

struct WaitingCall {
  grpc::ClientContext context;
  EchoMessage response;
};

bool IsInBackoff(const WaitingCall& call) {
  const std::optional<CallRecord> record = rpc::RecordOf(call.context);
  return record && record->attempts.size() == 1 &&
         record->attempts[0].outcome.kind == ErrorKind::kTransient;
}

WaitingCalls Measure(int calls, const std::string& address, const char* kind,
                     Ask ask) {
  const auto stub = Echo::NewStub(MakeBenchChannel(address, kind));
  // The connection, the threads, and the end of slow start.
  for (int i = 0; i < 64; ++i) Kept(stub.get());
  const int before = Kept(stub.get());
  const EchoMessage request = Message(ask);
  std::atomic<int> ended{0};
  std::vector<std::unique_ptr<WaitingCall>> all;
  all.reserve(calls);
  const double idle = ResidentBytes();
  for (int i = 0; i < calls; ++i) {
    all.push_back(std::make_unique<WaitingCall>());
    stub->async()->Say(&all.back()->context, &request, &all.back()->response,
                       [&](const grpc::Status& status) {
                         Check(
                             status.error_code() == grpc::StatusCode::CANCELLED,
                             "one ended before it was measured");
                         ++ended;
                       });
  }
  while (Kept(stub.get()) - before < calls) Pause();
  if (ask == Ask::kRefuse) {
    for (const auto& call : all) {
      while (!IsInBackoff(*call)) Pause();
    }
  }
  WaitingCalls numbers;
  numbers.threads = Threads();
  numbers.bytes = (ResidentBytes() - idle) / calls;
  for (const auto& call : all) call->context.TryCancel();
  while (ended < calls) Pause();
  return numbers;
}

}  // namespace

WaitingCalls MeasureInFlight(int calls, const std::string& address) {
  return Measure(calls, address, "bare", Ask::kHang);
}

WaitingCalls MeasureOursInFlight(int calls, const std::string& address) {
  return Measure(calls, address, "waiting", Ask::kHang);
}

WaitingCalls MeasureInBackoff(int calls, const std::string& address) {
  return Measure(calls, address, "waiting", Ask::kRefuse);
}

}  // namespace forbear::bench
