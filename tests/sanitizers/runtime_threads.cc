// racy_runtime must be stopped by ./dev tsan: two threads feed one Call without
// the lock that runtime/call.h asks for. sound_runtime must pass: there each
// thread has calls of its own, and shares with the other what is guarded inside.
#include <memory>
#include <thread>

#include "absl/synchronization/mutex.h"
#include "core/action.h"
#include "core/outcome.h"
#include "core/wait_queue.h"
#include "runtime/call.h"
#include "runtime/client.h"

namespace forbear {
namespace {

class NeverWoken final : public Waiter {
 public:
  void Wake() override {}
};

CallRequest Request() {
  CallRequest request;
  request.quota_key = "api.test";
  request.endpoint_key = "api.test:443";
  return request;
}

void MakeCalls(const std::shared_ptr<Client>& client) {
  for (int i = 0; i < 1000; ++i) {
    Call call(client.get(), Request(), std::make_shared<NeverWoken>());
    Action action;
    call.Begin();
    while (call.NextAction(&action)) {
      if (action.type == Action::Type::kStartAttempt) {
        call.OnAttemptDone(action.attempt, Outcome{});
      }
    }
    call.TakeAftermath().Deliver();
  }
}

void Sound() {
  const std::shared_ptr<Client> client = Client::Create().value();
  std::thread other([&] { MakeCalls(client); });
  MakeCalls(client);
  other.join();
}

void Racy() {
  const std::shared_ptr<Client> client = Client::Create().value();
  Call call(client.get(), Request(), std::make_shared<NeverWoken>());
  call.Begin();
  // One after the other nearly always, so that it is harmless; but nothing says
  // so, neither to the processor nor to thread sanitizer.
  std::thread other([&] { call.SetNotReplayable(); });
  call.SetNotReplayable();
  other.join();
}

}  // namespace
}  // namespace forbear

int main(int, char** argv) {
  if (argv[1][0] == 'r') {
    forbear::Racy();
  } else {
    forbear::Sound();
  }
  return 0;
}
