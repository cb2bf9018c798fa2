#ifndef FORBEAR_TESTS_TESTING_REPLY_SOURCE_H_
#define FORBEAR_TESTS_TESTING_REPLY_SOURCE_H_

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace forbear::testing {

// Who answers: scripts by name, a script for all names, or a handler. What both
// servers share.
//
// Thread rule: all members may be called from any thread.
template <typename Request, typename Reply>
class ReplySource {
 public:
  using Handler = std::function<Reply(const Request&)>;

  void SetHandler(Handler handler) {
    auto shared = handler == nullptr
                      ? nullptr
                      : std::make_shared<const Handler>(std::move(handler));
    const std::lock_guard<std::mutex> lock(mutex_);
    handler_.swap(shared);
  }

  // An empty script is none.
  void SetScript(std::vector<Reply> replies) {
    const std::lock_guard<std::mutex> lock(mutex_);
    script_ = Script{std::move(replies), 0};
  }
  void SetScript(std::string name, std::vector<Reply> replies) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (replies.empty()) {
      named_.erase(name);
    } else {
      named_[std::move(name)] = Script{std::move(replies), 0};
    }
  }

  // None if nothing is set.
  std::optional<Reply> Next(const std::string& name, const Request& request) {
    std::shared_ptr<const Handler> handler;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      const auto it = named_.find(name);
      if (it != named_.end()) return it->second.Next();
      if (!script_.replies.empty()) return script_.Next();
      handler = handler_;
    }
    // Not under the lock: it may set scripts.
    if (handler == nullptr) return std::nullopt;
    return (*handler)(request);
  }

 private:
  struct Script {
    // REQUIRES: replies is not empty.
    Reply Next() {
      const size_t i = next;
      if (next + 1 < replies.size()) ++next;
      return replies[i];
    }

    std::vector<Reply> replies;
    size_t next = 0;
  };

  std::mutex mutex_;  // Guards all below.
  std::shared_ptr<const Handler> handler_;
  Script script_;
  std::map<std::string, Script> named_;
};

}  // namespace forbear::testing

#endif  // FORBEAR_TESTS_TESTING_REPLY_SOURCE_H_
