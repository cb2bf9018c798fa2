// StreamsGiven: how often a transport of this process has been given a stream to open. It
// tells nobody but gRPC's log. On a connection that has no place for it the stream waits
// from then on.
//
//   const int before = StreamsGiven::Count();
//   call.Start();
//   ASSERT_TRUE(StreamsGiven::Await(before + 1));
//
// Takes gRPC's log over: what is no error is dropped.
//
// Thread rule: call from one thread.
#ifndef FORBEAR_TESTS_INTERCEPTORS_STREAMS_GIVEN_H_
#define FORBEAR_TESTS_INTERCEPTORS_STREAMS_GIVEN_H_

#include <grpc/grpc.h>
#include <grpc/support/log.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <thread>

namespace forbear::rpc {

class StreamsGiven {
 public:
  static int Count() {
    static const int enabled = Listen();
    EXPECT_EQ(enabled, 1) << "gRPC has no such tracer";
    return count;
  }
  static bool Await(int n) {
    const auto give_up =
        std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (Count() < n) {
      if (std::chrono::steady_clock::now() > give_up) return false;
      std::this_thread::yield();
    }
    return true;
  }

 private:
  static int Listen() {
    gpr_set_log_function(&OnLog);
    gpr_set_log_verbosity(GPR_LOG_SEVERITY_INFO);
    return grpc_tracer_set_enabled("http", 1);
  }
  static void OnLog(gpr_log_func_args* args) {
    if (std::strstr(args->message, "perform_stream_op_locked") != nullptr &&
        std::strstr(args->message, "SEND_INITIAL_METADATA") != nullptr) {
      ++count;
    } else if (args->severity == GPR_LOG_SEVERITY_ERROR) {
      std::fprintf(stderr, "%s:%d: %s\n", args->file, args->line,
                   args->message);
    }
  }

  static inline std::atomic<int> count{0};
};

}  // namespace forbear::rpc

#endif  // FORBEAR_TESTS_INTERCEPTORS_STREAMS_GIVEN_H_
