// Tells thread sanitizer what a gRPC that is not instrumented orders: all that
// happened before a batch was given to libgrpc, happened before its completion
// comes out. Without this, whatever gRPC's inline code, or ours, puts into a
// batch on one thread and takes out on another would be reported.
//
// From a batch to its own completion is nearly all the order that it tells of.
// Two callbacks, or a callback and the application, stay as unordered as they
// are. One more: what a credentials plugin has done is known to every completion
// that comes later.
#include <dlfcn.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <link.h>
#include <sanitizer/tsan_interface.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <utility>

namespace {

template <typename Function>
Function* Real(const char* name) {
  void* found = dlsym(RTLD_NEXT, name);
  if (found == nullptr) {
    std::fprintf(stderr, "grpc_for_tsan.cc: no %s\n", name);
    std::abort();
  }
  return reinterpret_cast<Function*>(found);
}

// A completion queue hands a tag back, or runs it as a function. In the second
// case the tag begins with a pointer to that function, which we replace: each
// kind of tag gets a function of ours, which says so and then runs its own.
// Nothing in here may order threads, so all atomics are relaxed.
using Functor = grpc_completion_queue_functor;
using Run = void (*)(Functor*, int);

constexpr size_t kKinds = 16;
std::array<std::atomic<Run>, kKinds> originals;

char credentials;  // only its address is used

void Completed(void* tag) {
  __tsan_acquire(tag);
  __tsan_acquire(&credentials);
}

template <size_t kind>
void RunReplaced(Functor* functor, int ok) {
  Completed(functor);
  originals[kind].load(std::memory_order_relaxed)(functor, ok);
}

template <size_t... kinds>
constexpr std::array<Run, kKinds> MakeReplacements(
    std::index_sequence<kinds...>) {
  return {RunReplaced<kinds>...};
}
constexpr std::array<Run, kKinds> kReplacements =
    MakeReplacements(std::make_index_sequence<kKinds>());

// A tag that is handed back is an object with virtual functions: it begins with
// the address of data.
bool IsCode(Run run) {
  const auto look = [](dl_phdr_info* info, size_t, void* address) {
    for (int i = 0; i < info->dlpi_phnum; ++i) {
      const ElfW(Phdr)& part = info->dlpi_phdr[i];
      const auto offset =
          reinterpret_cast<uintptr_t>(address) - info->dlpi_addr - part.p_vaddr;
      if (part.p_type == PT_LOAD && (part.p_flags & PF_X) != 0 &&
          offset < part.p_memsz) {
        return 1;
      }
    }
    return 0;
  };
  return dl_iterate_phdr(look, reinterpret_cast<void*>(run)) != 0;
}

void Replace(Functor* functor) {
  const Run run = functor->functor_run;
  for (const Run ours : kReplacements) {
    if (run == ours) return;
  }
  for (size_t kind = 0; kind < kKinds; ++kind) {
    Run known = originals[kind].load(std::memory_order_relaxed);
    if (known == nullptr) {
      if (!IsCode(run)) return;
      originals[kind].compare_exchange_strong(known, run,
                                              std::memory_order_relaxed);
      known = originals[kind].load(std::memory_order_relaxed);
    }
    if (known == run) {
      functor->functor_run = kReplacements[kind];
      return;
    }
  }
  std::fprintf(stderr, "grpc_for_tsan.cc: more kinds of tags than expected\n");
  std::abort();
}

// A credentials plugin answers at once, or later by a callback.
struct PluginAnswer {
  grpc_credentials_plugin_metadata_cb real;
  void* user_data;
};

void OnPluginAnswer(void* user_data, const grpc_metadata* metadata,
                    size_t count, grpc_status_code status,
                    const char* details) {
  const std::unique_ptr<PluginAnswer> answer(
      static_cast<PluginAnswer*>(user_data));
  __tsan_release(&credentials);
  answer->real(answer->user_data, metadata, count, status, details);
}

int GetMetadata(
    void* state, grpc_auth_metadata_context context,
    grpc_credentials_plugin_metadata_cb callback, void* user_data,
    grpc_metadata metadata[GRPC_METADATA_CREDENTIALS_PLUGIN_SYNC_MAX],
    size_t* count, grpc_status_code* status, const char** details) {
  const auto& real = *static_cast<grpc_metadata_credentials_plugin*>(state);
  auto* const later = new PluginAnswer{callback, user_data};
  const int at_once =
      real.get_metadata(real.state, context, OnPluginAnswer, later, metadata,
                        count, status, details);
  if (at_once != 0) {
    delete later;
    __tsan_release(&credentials);
  }
  return at_once;
}

char* DebugString(void* state) {
  const auto& real = *static_cast<grpc_metadata_credentials_plugin*>(state);
  return real.debug_string(real.state);
}

void Destroy(void* state) {
  const std::unique_ptr<grpc_metadata_credentials_plugin> real(
      static_cast<grpc_metadata_credentials_plugin*>(state));
  real->destroy(real->state);
}

}  // namespace

extern "C" grpc_call_credentials* grpc_metadata_credentials_create_from_plugin(
    grpc_metadata_credentials_plugin plugin, grpc_security_level level,
    void* reserved) {
  static auto* const real =
      Real<decltype(grpc_metadata_credentials_create_from_plugin)>(
          "grpc_metadata_credentials_create_from_plugin");
  grpc_metadata_credentials_plugin ours = plugin;
  ours.get_metadata = GetMetadata;
  if (plugin.debug_string != nullptr) ours.debug_string = DebugString;
  ours.destroy = Destroy;
  ours.state = new grpc_metadata_credentials_plugin(plugin);
  return real(ours, level, reserved);
}

extern "C" grpc_call_error grpc_call_start_batch(grpc_call* call,
                                                 const grpc_op* ops,
                                                 size_t nops, void* tag,
                                                 void* reserved) {
  static auto* const real =
      Real<decltype(grpc_call_start_batch)>("grpc_call_start_batch");
  if (tag != nullptr) {
    Replace(static_cast<Functor*>(tag));
    __tsan_release(tag);
  }
  return real(call, ops, nops, tag, reserved);
}

extern "C" grpc_event grpc_completion_queue_next(grpc_completion_queue* queue,
                                                 gpr_timespec deadline,
                                                 void* reserved) {
  static auto* const real =
      Real<decltype(grpc_completion_queue_next)>("grpc_completion_queue_next");
  const grpc_event event = real(queue, deadline, reserved);
  if (event.type == GRPC_OP_COMPLETE) Completed(event.tag);
  return event;
}

extern "C" grpc_event grpc_completion_queue_pluck(grpc_completion_queue* queue,
                                                  void* tag,
                                                  gpr_timespec deadline,
                                                  void* reserved) {
  static auto* const real = Real<decltype(grpc_completion_queue_pluck)>(
      "grpc_completion_queue_pluck");
  const grpc_event event = real(queue, tag, deadline, reserved);
  if (event.type == GRPC_OP_COMPLETE) Completed(tag);
  return event;
}
