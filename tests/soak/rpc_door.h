// RpcDoor: what every gRPC server of a soak does when a call has come: it reads its
// mark, books its arrival, and remembers for a while what became of it.
//
// A call says in its metadata what a good answer to it is, so that both ends can check:
//
//   x-soak: ID/SIZE/FLAGS
//     ID     of the call, as in the ledger
//     SIZE   of the good answer: bytes, or messages of a stream
//     FLAGS  s: it may be acted upon once   -: nothing
//
//   context.AddMetadata("x-soak", RpcMark{id, size, strict}.ToString());
//   …
//   const std::optional<RpcMark> mark = door->Read(method, metadata);
//   …decide what it will be answered…
//   door->Arrived(*mark, acted, "14");
//
// Thread rule: thread-safe.
#ifndef FORBEAR_TESTS_SOAK_RPC_DOOR_H_
#define FORBEAR_TESTS_SOAK_RPC_DOOR_H_

#include <grpcpp/support/status_code_enum.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"
#include "tests/soak/dice.h"
#include "tests/soak/ledger.h"

namespace forbear::soak {

struct RpcMark {
  static constexpr char kName[] = "x-soak";

  uint64_t id = 0;
  size_t size = 0;
  bool strict = false;

  std::string ToString() const;
};

// What bad answers say.
grpc::StatusCode RandomBadCode(Dice* dice);

class RpcDoor {
 public:
  // `ledger` must outlive it.
  explicit RpcDoor(Ledger* ledger) : ledger_(ledger) {}

  // Nothing: it has none, which is a fault.
  std::optional<RpcMark> Read(
      absl::string_view method,
      const std::map<std::string, std::string>& metadata);

  // `acted`: the answer does not say that nothing was done. `answer`: in words.
  void Arrived(const RpcMark& mark, bool acted, std::string answer);

  // What came of this call, if it was lately, and what it was answered.
  std::string HistoryOf(uint64_t id) const;

  Ledger* ledger() { return ledger_; }

 private:
  static constexpr size_t kNoted = 5000;

  Ledger* const ledger_;
  mutable std::mutex mutex_;  // guards last_
  std::deque<std::pair<uint64_t, std::string>> last_;
};

}  // namespace forbear::soak

#endif  // FORBEAR_TESTS_SOAK_RPC_DOOR_H_
