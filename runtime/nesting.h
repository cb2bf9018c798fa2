// Nesting: whether this thread is inside an attempt of one of our own calls.
//
// Layers that repeat multiply: three attempts of three attempts are nine sends. A
// call that is made while another call's attempt runs, on the same thread, is
// a layer below it: from a callback that produces the request's body, from a
// classifier, from anything that libcurl calls. It does not repeat by itself
// (CallSpec::nested, RetryOptions::yield_to_outer); the call around it does.
//
//   {
//     const InsideAttempt inside(call);        // drivers: while an attempt runs
//     …
//     InsideAttempt::Settle(call);             // it is not repeated any more
//   }
//   if (InsideAttempt::Any()) …somebody around this may repeat it…
//
// What it cannot see: work that a callback hands to another thread.
//
// Bounds: a pointer per thread, constant time for each level of nesting.
//
// Thread rule: each thread has its own; a value lives on the stack of its thread.
#ifndef FORBEAR_RUNTIME_NESTING_H_
#define FORBEAR_RUNTIME_NESTING_H_

namespace forbear {

class InsideAttempt {
 public:
  // `call` tells calls apart, and is not looked into.
  explicit InsideAttempt(const void* call) : call_(call), outer_(innermost_) {
    innermost_ = this;
  }
  ~InsideAttempt() { innermost_ = outer_; }
  InsideAttempt(const InsideAttempt&) = delete;
  InsideAttempt& operator=(const InsideAttempt&) = delete;

  // The answer of `call` goes to the application: what happens from now on in
  // this attempt is not repeated. Nothing if the thread is not inside it.
  static void Settle(const void* call) {
    if (innermost_ != nullptr && innermost_->call_ == call) {
      innermost_->settled_ = true;
    }
  }

  // Whether a call around this point may yet be repeated.
  static bool Any() { return innermost_ != nullptr && AnyOpen(); }

 private:
  static bool AnyOpen();

  static inline thread_local InsideAttempt* innermost_ = nullptr;

  const void* const call_;
  InsideAttempt* const outer_;
  bool settled_ = false;
};

}  // namespace forbear

#endif  // FORBEAR_RUNTIME_NESTING_H_
