// What thread sanitizer reports and is no race. One entry is one reason; a
// report is dropped if the pattern is in any frame of one of its two stacks, so
// no pattern may name a function that runs code of ours.
//
// The logs of the tests tell which were used; one that no log names, goes.
// NOLINTNEXTLINE(bugprone-reserved-identifier): its name is given
extern "C" const char* __tsan_default_suppressions();

extern "C" const char* __tsan_default_suppressions() {
  return
      // The test server's reactors. gRPC destroys its half of a call, and lets us
      // destroy ours, when a count of references comes to zero; the counting is
      // done inside libgrpc++, which is not instrumented.
      "race:ServerCallbackReaderWriterImpl::~ServerCallbackReaderWriterImpl\n"
      "race:grpc::ServerBidiReactor<*>::~ServerBidiReactor\n";
}
