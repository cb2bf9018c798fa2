// CheckedRpc: what every call of the gRPC soak has, unary or stream: its number, its
// limits and options, which dice decide before it is started; and what must be true of
// its end.
//
//   class Mine : public CheckedRpc { … };
//   ChooseOptions(&dice);
//   ChooseLimits(&context, &dice);
//   …the call…
//   Check(status, rpc::RecordOf(context));
//
// Thread rule: Cancel from anywhere; the rest from one thread at a time.
#ifndef FORBEAR_TESTS_SOAK_CHECKED_RPC_H_
#define FORBEAR_TESTS_SOAK_CHECKED_RPC_H_

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "core/call_record.h"
#include "interceptors/call_options.h"
#include "tests/soak/dice.h"
#include "tests/soak/ledger.h"
#include "tests/soak/rpc_door.h"
#include "tests/soak/rpc_session.h"

namespace forbear::soak {

class CheckedRpc {
 public:
  // What was played: a soak that never came to it would prove nothing.
  struct Played {
    std::atomic<uint64_t> streams{0};
    std::atomic<uint64_t> abandoned{0};
    std::atomic<uint64_t> sent_again{0};  // streams
    std::atomic<uint64_t> hedges{0};
    std::atomic<uint64_t> hedges_won{0};
  };
  // What calls have in common.
  struct Books {
    Ledger* ledger = nullptr;
    Played* played = nullptr;
    // Null: of others, that say nothing of a call.
    const RpcDoor* door = nullptr;
    // A fault that is to be put in (grpc_soak.cc).
    std::string plant;
  };

  virtual ~CheckedRpc() = default;
  CheckedRpc(const CheckedRpc&) = delete;
  CheckedRpc& operator=(const CheckedRpc&) = delete;

  virtual void Cancel() = 0;

  // After its end.
  int attempts() const { return attempts_; }
  // Forbear leaves it alone: it may have been sent once, and has no record.
  bool passes_through() const { return plain_; }

 protected:
  // `session` is destroyed after the derived class's context, which holds the channel,
  // too.
  CheckedRpc(uint64_t id, std::string method,
             std::shared_ptr<RpcSession> session, Books books)
      : id_(id),
        method_(std::move(method)),
        session_(std::move(session)),
        books_(std::move(books)),
        strict_(session_->IsStrict(method_)) {}

  bool IsUnary() const { return method_ == kSay || method_ == kOther; }
  bool Plants(absl::string_view what) const { return books_.plant == what; }
  void ChooseOptions(Dice* dice);
  // And the mark: `size` is that of a good answer. `needs_limit`: nothing but a
  // deadline would end it.
  void ChooseLimits(size_t size, bool needs_limit, grpc::ClientContext* context,
                    Dice* dice);
  // Null: it has none.
  const rpc::CallOptions* own() const { return has_own_ ? &own_ : nullptr; }

  // It has ended, with this status and record. No status: it was abandoned, and the
  // record is not finished.
  void Check(const grpc::Status* status,
             const std::optional<CallRecord>& found);
  // With the record that Check was given.
  void Fault(absl::string_view what) const;
  // No deadline of the call's can have ended it by now.
  bool InTime() const;

  const uint64_t id_;
  const std::string method_;
  const std::shared_ptr<RpcSession> session_;
  const Books books_;
  const bool strict_;
  std::string kind_;    // for people
  bool plain_ = false;  // passes through
  // Is made once, whatever becomes of it: if nothing may be sent now it is not even
  // observed, and passes through.
  bool observed_ = false;
  bool drops_context_ = false;

 private:
  void Count(bool abandoned) const;
  void CheckRecord(const grpc::Status& status);
  void CheckReplay();

  const std::chrono::steady_clock::time_point begin_ =
      std::chrono::steady_clock::now();
  bool faulty_ = false;  // is to be refused, with nothing sent
  rpc::CallOptions own_;
  bool has_own_ = false;
  absl::Duration deadline_ = absl::InfiniteDuration();
  CallRecord record_;
  std::atomic<int> attempts_{0};
};

}  // namespace forbear::soak

#endif  // FORBEAR_TESTS_SOAK_CHECKED_RPC_H_
