#include "benchmarks/curl_cases.h"

#include <curl/curl.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <future>
#include <optional>
#include <utility>
#include <vector>

#include "curl_wrap/engine.h"
#include "curl_wrap/handle.h"
#include "curl_wrap/request.h"
#include "curl_wrap/response.h"
#include "runtime/client.h"

namespace forbear::bench {
namespace {

void Check(bool usual, const char* what) {
  if (usual) return;
  std::fprintf(stderr, "a request took another way than the usual one: %s\n",
               what);
  std::abort();
}

// The end of slow start (core/send_window.h), and a connection for each transfer.
constexpr int kWarm = 30;

constexpr char kTrace[] =
    "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

enum class Method { kGet, kPost };

// What the application has of a request: what it sends, and what it gets.
class Exchange {
 public:
  explicit Exchange(Method method)
      : method_(method), fields_(kFieldsBytes, 'f') {
    for (const char* line :
         {"Authorization: Bearer 0123456789abcdef0123456789abcdef",
          "Accept: application/json", "User-Agent: example/1.0 (bench)",
          "X-Request-Id: 6f1c1c9e-7a43-4d53-9a8a-0f4f1f0b2f11", kTrace,
          "Accept-Language: en"}) {
      lines_ = curl_slist_append(lines_, line);
    }
    if (method == Method::kPost) {
      lines_ = curl_slist_append(
          lines_, "Idempotency-Key: 1b4e28ba-2fa1-11d2-883f-0016d3cca427");
    }
    Check(lines_ != nullptr, "no memory");
  }
  ~Exchange() { curl_slist_free_all(lines_); }
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;

  // `set` is curl_easy_setopt without its handle.
  template <typename Set>
  void SetUp(const std::string& url, const Set& set) {
    bool ok = set(CURLOPT_URL, url.c_str()) == CURLE_OK &&
              // As any program with threads must.
              set(CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
              set(CURLOPT_HTTPHEADER, lines_) == CURLE_OK &&
              set(CURLOPT_WRITEFUNCTION, &TakeBody) == CURLE_OK &&
              set(CURLOPT_WRITEDATA, this) == CURLE_OK &&
              set(CURLOPT_HEADERFUNCTION, &TakeLine) == CURLE_OK &&
              set(CURLOPT_HEADERDATA, this) == CURLE_OK;
    if (method_ == Method::kPost) {
      ok = ok && set(CURLOPT_POSTFIELDS, fields_.c_str()) == CURLE_OK &&
           set(CURLOPT_POSTFIELDSIZE, static_cast<long>(fields_.size())) ==
               CURLE_OK;
    }
    Check(ok, "an option");
  }

  void Begin() {
    body_.clear();
    lines_seen_ = 0;
  }

  // Any other answer would have another size.
  void CheckAnswer(CURLcode code) const {
    Check(code == CURLE_OK, curl_easy_strerror(code));
    Check(body_.size() == kBodyBytes && lines_seen_ > 1, "its answer");
  }

 private:
  static size_t TakeBody(char* data, size_t size, size_t n, void* self) {
    static_cast<Exchange*>(self)->body_.append(data, size * n);
    return size * n;
  }
  static size_t TakeLine(char*, size_t size, size_t n, void* self) {
    ++static_cast<Exchange*>(self)->lines_seen_;
    return size * n;
  }

  const Method method_;
  const std::string fields_;
  curl_slist* lines_ = nullptr;
  std::string body_;
  int lines_seen_ = 0;
};

class Plain final : public CurlCase {
 public:
  Plain(Method method, const std::string& url)
      : exchange_(method), easy_(curl_easy_init()) {
    exchange_.SetUp(url, [this](CURLoption option, auto value) {
      return curl_easy_setopt(easy_, option, value);
    });
    Run(kWarm);
  }
  ~Plain() override { curl_easy_cleanup(easy_); }
  Plain(const Plain&) = delete;
  Plain& operator=(const Plain&) = delete;

  void Run(int64_t n) override {
    for (int64_t i = 0; i < n; ++i) {
      exchange_.Begin();
      exchange_.CheckAnswer(curl_easy_perform(easy_));
    }
  }

 private:
  Exchange exchange_;
  CURL* const easy_;
};

class ByHandle final : public CurlCase {
 public:
  ByHandle(Method method, const std::string& url)
      : exchange_(method),
        handle_(curl::Handle::Create(Client::Create().value())) {
    exchange_.SetUp(url, [this](CURLoption option, auto value) {
      return handle_.SetOpt(option, value);
    });
    Run(kWarm);
  }

  void Run(int64_t n) override {
    for (int64_t i = 0; i < n; ++i) {
      exchange_.Begin();
      const curl::CallResult result = handle_.Perform();
      exchange_.CheckAnswer(result.code);
      Check(result.record.total_attempts == 1, "more attempts than one");
    }
  }

 private:
  Exchange exchange_;
  curl::Handle handle_;
};

// Easy handles that are used again and again, or each of which is made for a request, a
// socket action for each event of epoll, and libcurl's one timer as epoll's limit of time.
class RawMulti final : public CurlCase {
 public:
  enum class With { kHandles, kNewHandles };

  RawMulti(With with, const std::string& url)
      : with_(with),
        url_(url),
        multi_(curl_multi_init()),
        epoll_(epoll_create1(0)) {
    Check(multi_ != nullptr && epoll_ >= 0, "no multi handle or epoll");
    curl_multi_setopt(multi_, CURLMOPT_SOCKETFUNCTION, &OnSocket);
    curl_multi_setopt(multi_, CURLMOPT_SOCKETDATA, this);
    curl_multi_setopt(multi_, CURLMOPT_TIMERFUNCTION, &OnTimer);
    curl_multi_setopt(multi_, CURLMOPT_TIMERDATA, this);
    // Or it would close them when there is less to do.
    curl_multi_setopt(multi_, CURLMOPT_MAXCONNECTS, long{2} * kInFlight);
    for (int i = 0; i < kInFlight; ++i) {
      transfers_.push_back(std::make_unique<Transfer>());
      if (with_ == With::kHandles) SetUp(transfers_.back().get());
    }
    Run(int64_t{2} * kInFlight);
  }
  ~RawMulti() override {
    transfers_.clear();
    curl_multi_cleanup(multi_);
    close(epoll_);
  }
  RawMulti(const RawMulti&) = delete;
  RawMulti& operator=(const RawMulti&) = delete;

  void Run(int64_t n) override {
    to_start_ = to_finish_ = n;
    for (const std::unique_ptr<Transfer>& t : transfers_) Start(t.get());
    while (to_finish_ > 0) Turn();
  }

 private:
  using Clock = std::chrono::steady_clock;
  struct Transfer {
    ~Transfer() { curl_easy_cleanup(easy); }
    Exchange exchange{Method::kGet};
    CURL* easy = nullptr;
  };

  void SetUp(Transfer* t) {
    t->easy = curl_easy_init();
    t->exchange.SetUp(url_, [t](CURLoption option, auto value) {
      return curl_easy_setopt(t->easy, option, value);
    });
    curl_easy_setopt(t->easy, CURLOPT_PRIVATE, t);
  }

  void Start(Transfer* t) {
    if (to_start_ == 0) return;
    --to_start_;
    t->exchange.Begin();
    if (with_ == With::kHandles) {
      // The next request of a program goes elsewhere, as a rule.
      curl_easy_setopt(t->easy, CURLOPT_URL, url_.c_str());
    } else {
      SetUp(t);
    }
    Check(curl_multi_add_handle(multi_, t->easy) == CURLM_OK, "not added");
  }

  void Turn() {
    epoll_event events[kInFlight];
    const int count = epoll_wait(epoll_, events, kInFlight, Wait());
    int running = 0;
    for (int i = 0; i < count; ++i) {
      const uint32_t e = events[i].events;
      const int what =
          ((e & EPOLLIN) != 0 ? CURL_CSELECT_IN : 0) |
          ((e & EPOLLOUT) != 0 ? CURL_CSELECT_OUT : 0) |
          ((e & (EPOLLERR | EPOLLHUP)) != 0 ? CURL_CSELECT_ERR : 0);
      curl_multi_socket_action(multi_, events[i].data.fd, what, &running);
    }
    if (timer_ && *timer_ <= Clock::now()) {
      timer_.reset();
      curl_multi_socket_action(multi_, CURL_SOCKET_TIMEOUT, 0, &running);
    }
    TakeDone();
  }

  // Milliseconds, as epoll wants them.
  int Wait() const {
    if (!timer_) return -1;
    const std::chrono::duration<double, std::milli> left =
        *timer_ - Clock::now();
    return static_cast<int>(std::ceil(std::max(0.0, left.count())));
  }

  void TakeDone() {
    int left = 0;
    while (const CURLMsg* message = curl_multi_info_read(multi_, &left)) {
      if (message->msg != CURLMSG_DONE) continue;
      const CURLcode code = message->data.result;
      Transfer* t = nullptr;
      curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &t);
      curl_multi_remove_handle(multi_, t->easy);
      if (with_ == With::kNewHandles) {
        curl_easy_cleanup(std::exchange(t->easy, nullptr));
      }
      t->exchange.CheckAnswer(code);
      --to_finish_;
      Start(t);
    }
  }

  static int OnSocket(CURL*, curl_socket_t socket, int what, void* self,
                      void* known) {
    auto* const m = static_cast<RawMulti*>(self);
    if (what == CURL_POLL_REMOVE) {
      epoll_ctl(m->epoll_, EPOLL_CTL_DEL, socket, nullptr);
      return 0;
    }
    epoll_event event = {};
    event.data.fd = socket;
    if (what != CURL_POLL_OUT) event.events |= EPOLLIN;
    if (what != CURL_POLL_IN) event.events |= EPOLLOUT;
    epoll_ctl(m->epoll_, known == nullptr ? EPOLL_CTL_ADD : EPOLL_CTL_MOD,
              socket, &event);
    if (known == nullptr) curl_multi_assign(m->multi_, socket, m);
    return 0;
  }

  static int OnTimer(CURLM*, long milliseconds, void* self) {
    auto* const m = static_cast<RawMulti*>(self);
    m->timer_.reset();
    if (milliseconds >= 0) {
      m->timer_ = Clock::now() + std::chrono::milliseconds(milliseconds);
    }
    return 0;
  }

  const With with_;
  const std::string url_;
  CURLM* const multi_;
  const int epoll_;
  std::vector<std::unique_ptr<Transfer>> transfers_;
  std::optional<Clock::time_point> timer_;
  int64_t to_start_ = 0;
  int64_t to_finish_ = 0;
};

// forbear::curl::Engine keeps kInFlight requests in flight, of handles that are used
// again and again; or each is a Request of its own, made for it.
class ByEngine final : public CurlCase {
 public:
  enum class With { kHandles, kRequests };

  ByEngine(With with, const std::string& url)
      : with_(with), url_(url), client_(Client::Create().value()) {
    curl::EngineOptions options;
    options.max_in_flight = options.max_per_host = kInFlight;
    engine_ = curl::Engine::Create(client_, options).value();
    for (int i = 0; i < kInFlight; ++i) {
      transfers_.push_back(std::make_unique<Transfer>(client_));
      Transfer* const t = transfers_.back().get();
      t->exchange.SetUp(url_, [t](CURLoption option, auto value) {
        return t->handle.SetOpt(option, value);
      });
    }
    Run(int64_t{2} * kInFlight);
  }

  void Run(int64_t n) override {
    to_start_ = to_finish_ = n;
    std::promise<void> finished;
    finished_ = &finished;
    // Later ones start in Done, on the engine's thread: so must these be counted.
    const int64_t first = std::min<int64_t>(n, kInFlight);
    to_start_ -= first;
    for (int64_t i = 0; i < first; ++i) Start(transfers_[i].get());
    finished.get_future().wait();
  }

 private:
  struct Transfer {
    explicit Transfer(std::shared_ptr<Client> client)
        : handle(curl::Handle::Create(std::move(client))) {}
    Exchange exchange{Method::kGet};
    curl::Handle handle;
  };

  void Start(Transfer* t) {
    t->exchange.Begin();
    const auto done = [this, t](const curl::Response& response) {
      t->exchange.CheckAnswer(response.code);
      Check(response.record.total_attempts == 1, "more attempts than one");
      if (to_start_ > 0) {
        --to_start_;
        Start(t);
      }
      if (--to_finish_ == 0) finished_->set_value();
    };
    if (with_ == With::kHandles) {
      t->handle.SetOpt(CURLOPT_URL, url_.c_str());
      engine_->Start(&t->handle, {}, done);
      return;
    }
    curl::Request request;
    t->exchange.SetUp(url_, [&](CURLoption option, auto value) {
      return request.SetOpt(option, value);
    });
    engine_->Start(std::move(request), {}, done);
  }

  const With with_;
  const std::string url_;
  const std::shared_ptr<Client> client_;
  std::vector<std::unique_ptr<Transfer>> transfers_;
  std::atomic<int64_t> to_start_{0};
  std::atomic<int64_t> to_finish_{0};
  std::promise<void>* finished_ = nullptr;
  std::unique_ptr<curl::Engine> engine_;  // ends first
};

}  // namespace

std::unique_ptr<CurlCase> MakeCurlCase(const std::string& name,
                                       const std::string& url) {
  curl_global_init(CURL_GLOBAL_DEFAULT);
  if (name == "plain get") return std::make_unique<Plain>(Method::kGet, url);
  if (name == "plain post") return std::make_unique<Plain>(Method::kPost, url);
  if (name == "handle get") {
    return std::make_unique<ByHandle>(Method::kGet, url);
  }
  if (name == "handle post") {
    return std::make_unique<ByHandle>(Method::kPost, url);
  }
  if (name == "multi get") {
    return std::make_unique<RawMulti>(RawMulti::With::kHandles, url);
  }
  if (name == "multi request") {
    return std::make_unique<RawMulti>(RawMulti::With::kNewHandles, url);
  }
  if (name == "engine get") {
    return std::make_unique<ByEngine>(ByEngine::With::kHandles, url);
  }
  if (name == "engine request") {
    return std::make_unique<ByEngine>(ByEngine::With::kRequests, url);
  }
  return nullptr;
}

}  // namespace forbear::bench
