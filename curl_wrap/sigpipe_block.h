// SigpipeBlock: while it lives, this thread gets no SIGPIPE from writing to a
// connection that is gone.
//
//   {
//     const SigpipeBlock no_sigpipe;
//     …run transfers…
//   }
//
// TLS libraries write without MSG_NOSIGNAL. libcurl's own remedy changes the signal's
// handler for the whole process and is off with CURLOPT_NOSIGNAL; this one is the
// thread's own.
//
// Thread rule: a value on the stack of its thread.
#ifndef FORBEAR_CURL_WRAP_SIGPIPE_BLOCK_H_
#define FORBEAR_CURL_WRAP_SIGPIPE_BLOCK_H_

#include <pthread.h>
#include <signal.h>
#include <time.h>

namespace forbear::curl {

class SigpipeBlock {
 public:
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-member-init): pipe_ by sigset
  SigpipeBlock() {
    sigemptyset(&pipe_);
    sigaddset(&pipe_, SIGPIPE);
    sigset_t before;
    pthread_sigmask(SIG_BLOCK, &pipe_, &before);
    was_blocked_ = sigismember(&before, SIGPIPE) == 1;
    // One that was not blocked was not pending.
    was_pending_ = was_blocked_ && IsPending();
  }
  ~SigpipeBlock() {
    if (was_pending_) return;
    if (IsPending()) {
      const timespec none = {};
      sigtimedwait(&pipe_, nullptr, &none);
    }
    if (!was_blocked_) pthread_sigmask(SIG_UNBLOCK, &pipe_, nullptr);
  }
  SigpipeBlock(const SigpipeBlock&) = delete;
  SigpipeBlock& operator=(const SigpipeBlock&) = delete;

 private:
  static bool IsPending() {
    sigset_t pending;
    sigpending(&pending);
    return sigismember(&pending, SIGPIPE) == 1;
  }

  sigset_t pipe_;
  bool was_pending_ = false;
  bool was_blocked_ = false;
};

}  // namespace forbear::curl

#endif  // FORBEAR_CURL_WRAP_SIGPIPE_BLOCK_H_
