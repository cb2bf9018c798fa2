// The options of an easy handle that Forbear replaces while a call runs. For each of them
// there is a test that fails when its replacement is taken away, and one that fails when
// it is not put back: `./dev mutants --file=curl_wrap/http_transport.h` tries it.
#include "curl_wrap/http_transport.h"

#include <curl/curl.h>
#include <dlfcn.h>
#include <netdb.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "core/backoff.h"
#include "core/stop_reason.h"
#include "curl_wrap/easy_options.h"
#include "curl_wrap/option_table.h"
#include "gtest/gtest.h"
#include "tests/curl_wrap/app.h"
#include "tests/curl_wrap/raw_server.h"

namespace {

// What libcurl was last told, of all handles. All calls of this program pass by here.
// Numbers and pointers alike.
std::map<std::pair<CURL*, CURLoption>, uintptr_t>& Told() {
  static std::map<std::pair<CURL*, CURLoption>, uintptr_t> told;
  return told;
}

uintptr_t Number(const void* pointer) {
  return reinterpret_cast<uintptr_t>(pointer);
}

// Which options it was told, accepted or not, while somebody wanted to know.
std::set<CURLoption>*& Listener() {
  static std::set<CURLoption>* listener = nullptr;
  return listener;
}

}  // namespace

#undef curl_easy_setopt
extern "C" CURLcode curl_easy_setopt(CURL* curl, CURLoption option, ...) {
  using Function = CURLcode (*)(CURL*, CURLoption, ...);
  static const auto next =
      reinterpret_cast<Function>(dlsym(RTLD_NEXT, "curl_easy_setopt"));
  va_list list;
  va_start(list, option);  // NOLINT(clang-diagnostic-varargs)
  uintptr_t value = 0;
  CURLcode code;
  if (option < CURLOPTTYPE_OBJECTPOINT) {
    const long number = va_arg(list, long);
    value = static_cast<uintptr_t>(number);
    code = next(curl, option, number);
  } else if (option >= CURLOPTTYPE_OFF_T && option < CURLOPTTYPE_BLOB) {
    code = next(curl, option, va_arg(list, curl_off_t));
  } else {
    void* const pointer = va_arg(list, void*);
    value = Number(pointer);
    code = next(curl, option, pointer);
  }
  va_end(list);
  if (Listener() != nullptr) Listener()->insert(option);
  if (code == CURLE_OK) Told()[{curl, option}] = value;
  return code;
}

// Who looks up the name below waits for this, and not for ever.
struct SlowName {
  std::mutex mutex;
  std::condition_variable changed;
  bool is_known = false;

  void Wait() {
    std::unique_lock<std::mutex> lock(mutex);
    changed.wait_for(lock, std::chrono::seconds(20),
                     [this] { return is_known; });
  }
  void Tell() {
    const std::lock_guard<std::mutex> lock(mutex);
    is_known = true;
    changed.notify_all();
  }
  // libcurl leaves its thread behind: never destroyed.
  static SlowName& Get() {
    static auto* const name = new SlowName();
    return *name;
  }
};

// A name that is looked up slowly, and in vain.
extern "C" int getaddrinfo(const char* name, const char* service,
                           const addrinfo* req, addrinfo** pai) {
  using Function =
      int (*)(const char*, const char*, const addrinfo*, addrinfo**);
  static const auto next =
      reinterpret_cast<Function>(dlsym(RTLD_NEXT, "getaddrinfo"));
  if (name != nullptr && std::strcmp(name, "slow.invalid") == 0) {
    SlowName::Get().Wait();
    return EAI_NONAME;
  }
  return next(name, service, req, pai);
}

namespace forbear::curl {
namespace {

constexpr absl::Duration kLong = absl::Seconds(20);

template <typename F>
uintptr_t Function(F function) {
  return reinterpret_cast<uintptr_t>(function);
}

uintptr_t ToldOf(CURL* easy, CURLoption option) {
  const auto found = Told().find({easy, option});
  return found == Told().end() ? 0 : found->second;
}

// A body that is read through callbacks, which only know their own data.
struct OwnSource {
  std::string body;
  size_t at = 0;
  int seeks = 0;

  static OwnSource*& Only() {
    static OwnSource* only = nullptr;
    return only;
  }
  explicit OwnSource(std::string text) : body(std::move(text)) {
    Only() = this;
  }

  static size_t Read(char* to, size_t size, size_t n, void* self) {
    if (self == nullptr || self != Only()) return CURL_READFUNC_ABORT;
    auto* source = static_cast<OwnSource*>(self);
    const size_t length = std::min(size * n, source->body.size() - source->at);
    std::copy_n(source->body.data() + source->at, length, to);
    source->at += length;
    return length;
  }
  static int Seek(void* self, curl_off_t offset, int) {
    if (self == nullptr || self != Only()) return CURL_SEEKFUNC_FAIL;
    auto* source = static_cast<OwnSource*>(self);
    ++source->seeks;
    source->at = static_cast<size_t>(offset);
    return CURL_SEEKFUNC_OK;
  }
};

int CountCalls(void* count, char*, char*, int, int) {
  ++*static_cast<int*>(count);
  return CURL_PREREQFUNC_OK;
}

class ShadowTest : public ::testing::Test {
 protected:
  void SetUp() override { Told().clear(); }

  int64_t Sends() const { return server_->log().Count(); }
  // As its program would without Forbear.
  CURLcode Plain(App* app) {
    app->sink = Sink();
    return curl_easy_perform(app->curl.raw());
  }
  void ExpectBodies(size_t count, const std::string& body) {
    const std::vector<Arrival> arrivals = server_->log().Snapshot();
    EXPECT_EQ(arrivals.size(), count);
    for (const Arrival& a : arrivals) EXPECT_EQ(a.body, body) << a.index;
  }

  std::unique_ptr<HttpServer> server_ = StartServer();
  std::shared_ptr<Client> client_ = NewClient();
};

TEST_F(ShadowTest, WriteFunctionAndWriteData) {
  server_->Script({Reply::Of(503, "bad"), Reply::Of(200, "good")});
  App app(client_, server_->Url());
  EXPECT_EQ(app.Perform(kLong).code, CURLE_OK);
  EXPECT_EQ(app.sink.body, "good");
  EXPECT_EQ(Plain(&app), CURLE_OK);
  EXPECT_EQ(app.sink.body, "good");
}

TEST_F(ShadowTest, WriteDataAlone) {
  server_->Script({Reply::Of(503, "bad"), Reply::Of(200, "good")});
  FILE* const file = tmpfile();
  {
    Handle curl = Handle::Create(client_);
    curl.SetOpt(CURLOPT_URL, server_->Url().c_str());
    curl.SetOpt(CURLOPT_WRITEDATA, file);
    EXPECT_EQ(curl.Perform().code, CURLE_OK);
    EXPECT_EQ(curl_easy_perform(curl.raw()), CURLE_OK);
  }
  rewind(file);
  char text[64] = {};
  EXPECT_EQ(fread(text, 1, sizeof(text), file), 8u);
  EXPECT_STREQ(text, "goodgood");
  fclose(file);
}

TEST_F(ShadowTest, HeaderFunctionAndHeaderData) {
  server_->Script({Reply::Of(503).With("X-Try", "1"),
                   Reply::Of(200, "body").With("X-Try", "2")});
  App app(client_, server_->Url());
  EXPECT_EQ(app.Perform(kLong).code, CURLE_OK);
  EXPECT_TRUE(absl::StartsWith(app.sink.head, "HTTP/1.1 200 OK\r\n"));
  EXPECT_FALSE(absl::StrContains(app.sink.head, "X-Try: 1"));
  const std::string head = app.sink.head;
  EXPECT_EQ(Plain(&app), CURLE_OK);
  EXPECT_EQ(app.sink.head.size(), head.size());

  // Whoever wants no heads gets none, then and later.
  App none(client_, server_->Url());
  none.curl.SetOpt(CURLOPT_HEADERFUNCTION, nullptr);
  none.curl.SetOpt(CURLOPT_HEADERDATA, nullptr);
  EXPECT_EQ(none.Perform(kLong).code, CURLE_OK);
  EXPECT_EQ(none.sink.events, std::vector<std::string>{"B:body"});
  EXPECT_EQ(Plain(&none), CURLE_OK);
  EXPECT_EQ(none.sink.events, std::vector<std::string>{"B:body"});
}

TEST_F(ShadowTest, Header) {
  server_->Script({Reply::Of(503, "no"), Reply::Of(200, "body")});
  for (const bool borrowed : {false, true}) {
    App app(client_, server_->Url());
    app.curl.SetOpt(CURLOPT_HEADER, 1L);
    // What others set on a handle of theirs is unset.
    Handle handle = Handle::Borrow(app.curl.raw(), client_);
    handle.SetOpt(CURLOPT_WRITEFUNCTION, &Sink::OnBody);
    handle.SetOpt(CURLOPT_WRITEDATA, &app.sink);
    EXPECT_EQ(borrowed ? handle.Perform().code : app.Perform(kLong).code,
              CURLE_OK);
    EXPECT_EQ(app.sink.body, app.sink.head + "body");
    if (borrowed) continue;
    EXPECT_EQ(Plain(&app), CURLE_OK);
    EXPECT_EQ(app.sink.body, app.sink.head + "body");
    EXPECT_NE(app.sink.head, "");
  }
}

TEST_F(ShadowTest, FailOnError) {
  server_->Script({Reply::Of(503, "no"), Reply::Of(404, "never")});
  App app(client_, server_->Url());
  app.curl.SetOpt(CURLOPT_FAILONERROR, 1L);
  EXPECT_EQ(app.Perform(kLong).code, CURLE_HTTP_RETURNED_ERROR);
  EXPECT_EQ(app.sink.body, "");
  EXPECT_EQ(Sends(), 2);
  // libcurl itself would have closed it.
  EXPECT_EQ(server_->connections(), 1);
  EXPECT_EQ(Plain(&app), CURLE_HTTP_RETURNED_ERROR);
  EXPECT_EQ(app.sink.body, "");
}

TEST_F(ShadowTest, FailOnErrorOfABorrowedHandle) {
  server_->Script({Reply::Of(503, "no"), Reply::Of(404, "why")});
  CURL* const easy = curl_easy_init();
  curl_easy_setopt(easy, CURLOPT_URL, server_->Url().c_str());
  curl_easy_setopt(easy, CURLOPT_FAILONERROR, 1L);
  Sink sink;
  {
    Handle curl = Handle::Borrow(easy, client_);
    curl.SetOpt(CURLOPT_HTTPGET, 1L);
    curl.SetOpt(CURLOPT_WRITEFUNCTION, &Sink::OnBody);
    curl.SetOpt(CURLOPT_WRITEDATA, &sink);
    EXPECT_EQ(curl.Perform().code, CURLE_OK);
  }
  EXPECT_EQ(sink.body, "why");
  EXPECT_EQ(server_->connections(), 1);
  curl_easy_cleanup(easy);
}

// Without NOSIGNAL libcurl changes, again and again, what the process does about SIGPIPE,
// with other threads running.
TEST_F(ShadowTest, NoSignal) {
  struct Look {
    bool ignored = false;
    static size_t OnBody(char*, size_t size, size_t n, void* self) {
      struct sigaction now = {};
      sigaction(SIGPIPE, nullptr, &now);
      static_cast<Look*>(self)->ignored = now.sa_handler == SIG_IGN;
      return size * n;
    }
  } look;
  struct sigaction ours = {};
  ours.sa_handler = +[](int) {};
  struct sigaction before = {};
  sigaction(SIGPIPE, &ours, &before);
  server_->Script({Reply::Of(200, "x")});
  App app(client_, server_->Url());
  app.curl.SetOpt(CURLOPT_WRITEFUNCTION, &Look::OnBody);
  app.curl.SetOpt(CURLOPT_WRITEDATA, &look);
  EXPECT_EQ(app.Perform(kLong).code, CURLE_OK);
  EXPECT_FALSE(look.ignored);
  EXPECT_EQ(Plain(&app), CURLE_OK);
  EXPECT_TRUE(look.ignored) << "not put back";
  app.curl.SetOpt(CURLOPT_NOSIGNAL, 1L);
  EXPECT_EQ(app.Perform(kLong).code, CURLE_OK);
  EXPECT_EQ(Plain(&app), CURLE_OK);
  EXPECT_FALSE(look.ignored) << "not the application's";
  sigaction(SIGPIPE, &before, nullptr);
}

// libcurl would wait for the thread that looks a name up.
TEST_F(ShadowTest, QuickExit) {
  App app(client_, "http://slow.invalid/");
  const Stopwatch watch;
  EXPECT_EQ(app.Perform(absl::Milliseconds(200)).code,
            CURLE_OPERATION_TIMEDOUT);
  EXPECT_LT(watch.Elapsed(), absl::Seconds(10));
  EXPECT_EQ(ToldOf(app.curl.raw(), CURLOPT_QUICK_EXIT), 0u);
  app.curl.SetOpt(CURLOPT_QUICK_EXIT, 1L);
  app.Perform(absl::Milliseconds(10));
  EXPECT_EQ(ToldOf(app.curl.raw(), CURLOPT_QUICK_EXIT), 1u);
  SlowName::Get().Tell();
}

TEST_F(ShadowTest, PrereqFunctionAndPrereqData) {
  // The second request of each connection finds it dead.
  server_->SetHandler([](const testing::HttpRequest& request) {
    return request.index_on_connection > 0 ? Reply::CloseAfterRead()
                                           : Reply::Of(200, "ok");
  });
  int calls = 0;
  App app(client_, server_->Url());
  app.Post("pay=1");
  app.curl.SetOpt(CURLOPT_PREREQFUNCTION, &CountCalls);
  app.curl.SetOpt(CURLOPT_PREREQDATA, &calls);
  EXPECT_EQ(app.Perform(kLong).code, CURLE_OK);
  EXPECT_EQ(app.Perform(kLong).code, CURLE_GOT_NOTHING);
  EXPECT_EQ(Sends(), 2);
  EXPECT_EQ(calls, 2);
  EXPECT_EQ(Plain(&app), CURLE_OK);
  EXPECT_EQ(calls, 3) << "not put back";
  // That it repeats is what the rest is for.
  EXPECT_EQ(Plain(&app), CURLE_OK);
  EXPECT_EQ(Sends(), 5);
}

// tests/curl_wrap:waits_test waits for connections to grow old; here, what libcurl is told.
TEST_F(ShadowTest, MaxAge) {
  struct Look {
    CURL* easy = nullptr;
    uintptr_t max_age = 0;
    static int OnSocket(void* self, curl_socket_t, curlsocktype) {
      auto* const look = static_cast<Look*>(self);
      look->max_age = ToldOf(look->easy, CURLOPT_MAXAGE_CONN);
      return CURL_SOCKOPT_OK;
    }
  } look;
  App app(client_, server_->Url());
  look.easy = app.curl.raw();
  app.curl.SetOpt(CURLOPT_SOCKOPTFUNCTION, &Look::OnSocket);
  app.curl.SetOpt(CURLOPT_SOCKOPTDATA, &look);
  app.curl.SetOpt(CURLOPT_FRESH_CONNECT, 1L);
  const auto during = [&] {
    look.max_age = 0;
    EXPECT_EQ(app.Perform(kLong).code, CURLE_OK);
    return look.max_age;
  };
  app.Post("x");
  EXPECT_EQ(during(), 1u);
  EXPECT_EQ(ToldOf(look.easy, CURLOPT_MAXAGE_CONN), 118u);
  for (const unsigned own : {0u, 1u, 2u, 50u}) {
    app.curl.SetOpt(CURLOPT_MAXAGE_CONN, own);
    EXPECT_EQ(during(), std::min(own, 1u));
    EXPECT_EQ(ToldOf(look.easy, CURLOPT_MAXAGE_CONN), own);
  }
  app.curl.SetOpt(CURLOPT_HTTPGET, 1L);
  EXPECT_EQ(during(), 50u) << "who may be repeated need not fear";
}

TEST_F(ShadowTest, ReadAndSeek) {
  server_->Script("/a", {Reply::Of(307).With("Location", "/b")});
  server_->Script("/b", {Reply::Of(503, "no"), Reply::Of(200, "taken")});
  OwnSource source("some body");
  App app(client_, server_->Url("/a"));
  app.curl.SetOpt(CURLOPT_UPLOAD, 1L);
  app.curl.SetOpt(CURLOPT_FOLLOWLOCATION, 1L);
  app.curl.SetOpt(CURLOPT_READFUNCTION, &OwnSource::Read);
  app.curl.SetOpt(CURLOPT_READDATA, &source);
  app.curl.SetOpt(CURLOPT_SEEKFUNCTION, &OwnSource::Seek);
  app.curl.SetOpt(CURLOPT_SEEKDATA, &source);
  EXPECT_EQ(app.Perform(kLong).stop_reason, StopReason::kSuccess);
  // By libcurl before each second hop, by Forbear before the second attempt.
  EXPECT_EQ(source.seeks, 3);
  ExpectBodies(4, "some body");
  source.at = 0;
  EXPECT_EQ(Plain(&app), CURLE_OK);
  EXPECT_EQ(source.seeks, 4);
  ExpectBodies(6, "some body");
}

TEST_F(ShadowTest, AFileThatDoesNotBeginAtItsBeginning) {
  server_->Script("/a", {Reply::Of(307).With("Location", "/b")});
  server_->Script("/b", {Reply::Of(503, "no"), Reply::Of(200, "taken")});
  FILE* const file = tmpfile();
  std::fputs("not this;but this", file);
  fseeko(file, 9, SEEK_SET);
  App app(client_, server_->Url("/a"));
  app.curl.SetOpt(CURLOPT_UPLOAD, 1L);
  app.curl.SetOpt(CURLOPT_FOLLOWLOCATION, 1L);
  app.curl.SetOpt(CURLOPT_READDATA, file);
  EXPECT_EQ(app.Perform(kLong).stop_reason, StopReason::kSuccess);
  ExpectBodies(4, "but this");
  // As plain libcurl, which has no place for a seek function of ours any more.
  fseeko(file, 0, SEEK_SET);
  app.curl.SetOpt(CURLOPT_URL, server_->Url("/b").c_str());
  EXPECT_EQ(Plain(&app), CURLE_OK);
  EXPECT_EQ(server_->log().Snapshot().back().body, "not this;but this");
  fclose(file);
}

TEST_F(ShadowTest, HttpHeader) {
  ClientOptions options;
  options.idempotency_header = "Idempotency-Key";
  server_->Script({Reply::ResetBeforeHead(), Reply::Of(200)});
  App app(NewClient(options), server_->Url());
  app.Post("x");
  app.Header("X-Own: 1");
  EXPECT_EQ(app.Perform(kLong).stop_reason, StopReason::kSuccess);
  EXPECT_EQ(Plain(&app), CURLE_OK);
  const std::vector<Arrival> arrivals = server_->log().Snapshot();
  ASSERT_EQ(arrivals.size(), 3u);
  for (size_t i = 0; i < arrivals.size(); ++i) {
    EXPECT_EQ(arrivals[i].headers.at("x-own"), "1");
    EXPECT_EQ(arrivals[i].headers.count("idempotency-key"), i < 2 ? 1u : 0u);
  }
}

// --- What the replacements are for, at its edges. ---

// When the first byte came, and what else the application wants to see of its calls.
struct Clocked {
  Stopwatch watch;
  absl::Duration first = absl::InfiniteDuration();
  std::string body;

  static size_t OnBody(char* data, size_t size, size_t n, void* self) {
    auto* const c = static_cast<Clocked*>(self);
    c->first = std::min(c->first, c->watch.Elapsed());
    c->body.append(data, size * n);
    return size * n;
  }
};

// A refusal after which no attempt can follow is not held back.
TEST_F(ShadowTest, TheLastRefusalStreams) {
  server_->Script(
      {Reply::Of(503, "0123456789").InPieces(1, absl::Milliseconds(50))});
  ClientOptions options;
  options.retry.max_attempts = 1;
  for (const bool pipe_body : {false, true}) {
    SCOPED_TRACE(pipe_body);
    App app(NewClient(pipe_body ? ClientOptions() : options), server_->Url());
    FILE* file = nullptr;
    if (pipe_body) {
      int ends[2];
      ASSERT_EQ(pipe(ends), 0);
      ASSERT_EQ(write(ends[1], "piped", 5), 5);
      close(ends[1]);
      file = fdopen(ends[0], "r");
      app.curl.SetOpt(CURLOPT_UPLOAD, 1L);
      app.curl.SetOpt(CURLOPT_READDATA, file);
    }
    Clocked clocked;
    app.curl.SetOpt(CURLOPT_WRITEFUNCTION, &Clocked::OnBody);
    app.curl.SetOpt(CURLOPT_WRITEDATA, &clocked);
    EXPECT_EQ(app.Perform(kLong).code, CURLE_OK);
    EXPECT_EQ(clocked.body, "0123456789");
    EXPECT_LT(clocked.first, clocked.watch.Elapsed() - absl::Milliseconds(250));
    if (file != nullptr) fclose(file);
  }
}

// A budget of which two refusals leave nothing.
std::shared_ptr<Client> ClientWithoutBudget() {
  ClientOptions options;
  options.endpoint.budget.capacity = 1;
  options.endpoint.budget.transient_cost = 1;
  options.endpoint.budget.throttled_cost = 1;
  return NewClient(options);
}

TEST_F(ShadowTest, ARefusalOfWhatWasHeldIsFinal) {
  server_->Script({Reply::Of(503, "held")});
  App app(ClientWithoutBudget(), server_->Url());
  app.curl.SetOpt(
      CURLOPT_WRITEFUNCTION,
      +[](char*, size_t, size_t, void*) -> size_t { return 0; });
  const CallResult result = app.Perform(kLong);
  EXPECT_EQ(result.code, CURLE_WRITE_ERROR);
  EXPECT_EQ(Sends(), 2);
  EXPECT_STREQ(app.error, "Failed writing received data to disk/application");
}

// What was held long enough goes to an application that does not want it yet: it is asked
// again when it says so, and not when more of it comes.
TEST_F(ShadowTest, APauseAfterTheTimeToHold) {
  struct Pauser {
    CURL* easy = nullptr;
    Stopwatch watch;
    absl::Duration paused_at;
    int calls = 0;
    int calls_in_the_pause = 0;
    bool resumed = false;
    std::string body;
    static size_t OnBody(char* data, size_t size, size_t n, void* self) {
      auto* const p = static_cast<Pauser*>(self);
      if (++p->calls == 1) {
        p->paused_at = p->watch.Elapsed();
        return CURL_WRITEFUNC_PAUSE;
      }
      if (!p->resumed) {
        ++p->calls_in_the_pause;
        return CURL_WRITEFUNC_PAUSE;
      }
      p->body.append(data, size * n);
      return size * n;
    }
    static int OnProgress(void* self, curl_off_t, curl_off_t, curl_off_t,
                          curl_off_t) {
      auto* const p = static_cast<Pauser*>(self);
      if (p->calls > 0 && !p->resumed &&
          p->watch.Elapsed() > p->paused_at + absl::Milliseconds(300)) {
        p->resumed = true;
        curl_easy_pause(p->easy, CURLPAUSE_CONT);
      }
      return 0;
    }
  } pauser;
  server_->Script(
      {Reply::Of(503),
       Reply::Of(503, "0123456789").InPieces(1, absl::Milliseconds(20))});
  App app(ClientWithoutBudget(), server_->Url());
  pauser.easy = app.curl.raw();
  app.curl.SetOpt(CURLOPT_WRITEFUNCTION, &Pauser::OnBody);
  app.curl.SetOpt(CURLOPT_WRITEDATA, &pauser);
  app.curl.SetOpt(CURLOPT_NOPROGRESS, 0L);
  app.curl.SetOpt(CURLOPT_XFERINFOFUNCTION, &Pauser::OnProgress);
  app.curl.SetOpt(CURLOPT_XFERINFODATA, &pauser);
  CallOptions options;
  options.deadline = kLong;
  options.max_hold_time = absl::Milliseconds(50);
  EXPECT_EQ(app.curl.Perform(options).code, CURLE_OK);
  EXPECT_TRUE(pauser.resumed);
  EXPECT_EQ(pauser.calls_in_the_pause, 0);
  EXPECT_EQ(pauser.body, "0123456789");
}

// More trailers than may be held: the answer is given up, with its connection.
TEST_F(ShadowTest, TrailersWithoutEnd) {
  const std::string end = "\r\n\r\n";
  std::string trailers;
  for (int i = 0; i < 100; ++i) {
    absl::StrAppend(&trailers, "X-T", i, ": ", std::string(100, 't'), "\r\n");
  }
  RawServer server(
      {{{end, "HTTP/1.1 503 No\r\nTransfer-Encoding: chunked" + end + "0\r\n" +
                  trailers + "\r\n"},
        {end, "HTTP/1.1 200 OK\r\nContent-Length: 4" + end + "same"}},
       {{end, "HTTP/1.1 200 OK\r\nContent-Length: 5" + end + "other"}}});
  App app(client_, absl::StrCat("http://127.0.0.1:", server.port(), "/"));
  CallOptions options;
  options.deadline = kLong;
  options.max_held_bytes = 1000;
  EXPECT_EQ(app.curl.Perform(options).stop_reason, StopReason::kSuccess);
  EXPECT_EQ(app.sink.body, "other");
}

TEST_F(ShadowTest, FailOnErrorReadsNoLargeBody) {
  server_->Script({Reply::Of(404, std::string(4 << 20, 'x')), Reply::Of(200)});
  App app(client_, server_->Url());
  app.curl.SetOpt(CURLOPT_FAILONERROR, 1L);
  EXPECT_EQ(app.Perform(kLong).code, CURLE_HTTP_RETURNED_ERROR);
  EXPECT_EQ(app.Perform(kLong).code, CURLE_OK);
  EXPECT_EQ(server_->connections(), 2);
}

// Which statuses FAILONERROR is about is libcurl's to say.
TEST_F(ShadowTest, FailOnErrorIsLibcurls) {
  for (const int status : {200, 206, 302, 399, 400, 404, 416, 599}) {
    for (const long resume_from : {0L, 3L}) {
      SCOPED_TRACE(absl::StrCat(status, " ", resume_from));
      server_->Script({Reply::Of(status, "body")});
      ClientOptions once;
      once.retry.max_attempts = 1;
      App app(NewClient(once), server_->Url());
      app.curl.SetOpt(CURLOPT_FAILONERROR, 1L);
      app.curl.SetOpt(CURLOPT_RESUME_FROM, resume_from);
      const CURLcode code = app.Perform(kLong).code;
      const Sink sink = app.sink;
      EXPECT_EQ(Plain(&app), code);
      EXPECT_EQ(app.sink.body, sink.body);
    }
  }
}

// … also of a refusal that was held, and of which libcurl says something else.
TEST_F(ShadowTest, FailOnErrorOfAResumedAnswer) {
  server_->Script({Reply::Of(503, "no")});
  App app(ClientWithoutBudget(), server_->Url());
  app.curl.SetOpt(CURLOPT_FAILONERROR, 1L);
  app.curl.SetOpt(CURLOPT_RESUME_FROM, 3L);
  EXPECT_EQ(app.Perform(kLong).code, CURLE_HTTP_RETURNED_ERROR);
  EXPECT_EQ(Sends(), 2);
  EXPECT_EQ(Plain(&app), CURLE_HTTP_RETURNED_ERROR);
}

// Whoever cannot go back in his body cannot be redirected with it: that is permanent.
TEST_F(ShadowTest, ARedirectOfABodyThatCannotBeReadAgain) {
  server_->Script({Reply::Of(307).With("Location", "/b")});
  OwnSource source("some body");
  App app(client_, server_->Url("/a"));
  app.curl.SetOpt(CURLOPT_UPLOAD, 1L);
  app.curl.SetOpt(CURLOPT_FOLLOWLOCATION, 1L);
  app.curl.SetOpt(CURLOPT_READFUNCTION, &OwnSource::Read);
  app.curl.SetOpt(CURLOPT_READDATA, &source);
  const CallResult result = app.Perform(kLong);
  EXPECT_EQ(result.code, CURLE_SEND_FAIL_REWIND);
  EXPECT_EQ(result.stop_reason, StopReason::kPermanentError);
  source.at = 0;
  EXPECT_EQ(Plain(&app), CURLE_SEND_FAIL_REWIND);
}

// A body that is still being sent when it is refused is not set back under way.
TEST_F(ShadowTest, ABodyIsSetBackWhenItIsNoLongerSent) {
  struct Slow : OwnSource {
    using OwnSource::OwnSource;
    const RawServer* server = nullptr;
    static size_t Read(char* to, size_t, size_t, void* self) {
      const auto* const slow = static_cast<Slow*>(self);
      // The rest of it, when the refusal's head is on its way.
      if (slow->at > 0) slow->server->WaitForAnswers(1);
      return OwnSource::Read(to, 1, 4, self);
    }
  };
  const std::string end = "\r\n\r\n";
  RawServer server(
      {{{end,
         "HTTP/1.1 503 No\r\nContent-Length: 2\r\nConnection: close" + end},
        {"uvwx", "no"}},
       {{"uvwx", "HTTP/1.1 200 OK\r\nContent-Length: 2" + end + "ok"}}});
  Slow source("abcdefghijklmnopqrstuvwx");
  source.server = &server;
  App app(client_, absl::StrCat("http://127.0.0.1:", server.port(), "/"));
  app.Header("Expect:");
  app.curl.SetOpt(CURLOPT_UPLOAD, 1L);
  app.curl.SetOpt(CURLOPT_KEEP_SENDING_ON_ERROR, 1L);
  app.curl.SetOpt(CURLOPT_INFILESIZE, 24L);
  app.curl.SetOpt(CURLOPT_READFUNCTION, &Slow::Read);
  app.curl.SetOpt(CURLOPT_READDATA, static_cast<OwnSource*>(&source));
  app.curl.SetOpt(CURLOPT_SEEKFUNCTION, &OwnSource::Seek);
  app.curl.SetOpt(CURLOPT_SEEKDATA, static_cast<OwnSource*>(&source));
  EXPECT_EQ(app.Perform(absl::Seconds(5)).stop_reason, StopReason::kSuccess);
  for (const std::string& received : server.Received()) {
    EXPECT_TRUE(absl::EndsWith(received, end + source.body)) << received;
  }
}

// Who can go back needs no copy of his body, whatever he allows.
TEST_F(ShadowTest, ABodyThatCanBeReadAgainIsNotKept) {
  server_->Script({Reply::Of(503, "no"), Reply::Of(200, "taken")});
  OwnSource source("some body");
  App app(client_, server_->Url());
  app.curl.SetOpt(CURLOPT_UPLOAD, 1L);
  app.curl.SetOpt(CURLOPT_READFUNCTION, &OwnSource::Read);
  app.curl.SetOpt(CURLOPT_READDATA, &source);
  app.curl.SetOpt(CURLOPT_SEEKFUNCTION, &OwnSource::Seek);
  app.curl.SetOpt(CURLOPT_SEEKDATA, &source);
  CallOptions options;
  options.max_buffered_body = 1000;
  EXPECT_EQ(app.curl.Perform(options).stop_reason, StopReason::kSuccess);
  EXPECT_EQ(source.seeks, 1);
  ExpectBodies(2, "some body");
}

// A pause is no part of a body that is kept.
TEST_F(ShadowTest, ABodyThatPausesIsKept) {
  struct Pauser {
    CURL* easy = nullptr;
    bool paused = false;
    bool given = false;
    static size_t Read(char* to, size_t, size_t, void* self) {
      auto* const p = static_cast<Pauser*>(self);
      if (!std::exchange(p->paused, true)) return CURL_READFUNC_PAUSE;
      if (std::exchange(p->given, true)) return 0;
      std::memcpy(to, "body", 4);
      return 4;
    }
    static int OnProgress(void* self, curl_off_t, curl_off_t, curl_off_t,
                          curl_off_t) {
      auto* const p = static_cast<Pauser*>(self);
      if (p->paused) curl_easy_pause(p->easy, CURLPAUSE_CONT);
      return 0;
    }
  } pauser;
  server_->Script({Reply::Of(503, "no"), Reply::Of(200, "taken")});
  App app(client_, server_->Url());
  pauser.easy = app.curl.raw();
  app.curl.SetOpt(CURLOPT_UPLOAD, 1L);
  app.curl.SetOpt(CURLOPT_READFUNCTION, &Pauser::Read);
  app.curl.SetOpt(CURLOPT_READDATA, &pauser);
  app.curl.SetOpt(CURLOPT_NOPROGRESS, 0L);
  app.curl.SetOpt(CURLOPT_XFERINFOFUNCTION, &Pauser::OnProgress);
  app.curl.SetOpt(CURLOPT_XFERINFODATA, &pauser);
  CallOptions options;
  options.deadline = kLong;
  options.max_buffered_body = 1000;
  EXPECT_EQ(app.curl.Perform(options).stop_reason, StopReason::kSuccess);
  ExpectBodies(2, "body");
}

// Of a handle of others it is not known whether there is a body; that bytes of one went
// out is.
TEST_F(ShadowTest, BodiesThatNobodyKnows) {
  for (const bool post : {false, true}) {
    SCOPED_TRACE(post);
    server_->Script({Reply::Of(429, "no"), Reply::Of(200, "yes")});
    CURL* const easy = curl_easy_init();
    curl_easy_setopt(easy, CURLOPT_URL, server_->Url().c_str());
    if (post) curl_easy_setopt(easy, CURLOPT_POSTFIELDS, "x");
    Sink sink;
    {
      Handle curl = Handle::Borrow(easy, client_);
      curl.SetOpt(CURLOPT_WRITEFUNCTION, &Sink::OnBody);
      curl.SetOpt(CURLOPT_WRITEDATA, &sink);
      EXPECT_EQ(curl.Perform().stop_reason,
                post ? StopReason::kNotReplayable : StopReason::kSuccess);
    }
    EXPECT_EQ(sink.body, post ? "no" : "yes");
    curl_easy_cleanup(easy);
  }
}

// --- The URL that was parsed once. ---

// Whether it is lent at all: not with libcurl 8.12 and later (curl_wrap/parsed_url.h).
bool IsLent() {
  return curl_version_info(CURLVERSION_NOW)->version_num < 0x080c00;
}

// What libcurl was told of CURLOPT_CURLU when it opens a connection, when the request is
// about to be written, and at the answer's head.
struct UrlLook {
  App* app = nullptr;
  std::vector<bool> lent;  // when a connection is opened
  int later = 0;           // … and at any time after that
  std::function<void()> at_socket;
  bool no_socket = false;

  bool HasIt() const {
    const uintptr_t told = ToldOf(app->curl.raw(), CURLOPT_CURLU);
    return told != 0 && told != own;
  }
  uintptr_t own = 0;  // the application's

  void WatchIn(App* application) {
    app = application;
    // Each request opens a connection.
    app->curl.SetOpt(CURLOPT_FRESH_CONNECT, 1L);
    app->curl.SetOpt(CURLOPT_FORBID_REUSE, 1L);
    app->curl.SetOpt(CURLOPT_OPENSOCKETFUNCTION, &OnSocket);
    app->curl.SetOpt(CURLOPT_OPENSOCKETDATA, this);
    app->curl.SetOpt(CURLOPT_PREREQFUNCTION, &OnRequest);
    app->curl.SetOpt(CURLOPT_PREREQDATA, this);
    app->curl.SetOpt(CURLOPT_WRITEFUNCTION, &OnBody);
    app->curl.SetOpt(CURLOPT_WRITEDATA, this);
  }
  static curl_socket_t OnSocket(void* self, curlsocktype, curl_sockaddr* to) {
    auto* const look = static_cast<UrlLook*>(self);
    look->lent.push_back(look->HasIt());
    if (look->at_socket) look->at_socket();
    return look->no_socket ? CURL_SOCKET_BAD
                           : socket(to->family, to->socktype, to->protocol);
  }
  static int OnRequest(void* self, char*, char*, int, int) {
    auto* const look = static_cast<UrlLook*>(self);
    if (look->HasIt()) ++look->later;
    return CURL_PREREQFUNC_OK;
  }
  static size_t OnBody(char*, size_t size, size_t n, void* self) {
    auto* const look = static_cast<UrlLook*>(self);
    if (look->HasIt()) ++look->later;
    return size * n;
  }
};

Reply AskForDigest() {
  return Reply::Of(401, "who")
      .With("WWW-Authenticate", "Digest realm=\"r\", nonce=\"n\"");
}

TEST_F(ShadowTest, TheParsedUrlIsLibcurlsUntilTheRequestIsWritten) {
  server_->Script("/x", {Reply::Of(200, "x"), Reply::Of(425, "no"),
                         Reply::Of(200, "x"), Reply::Of(200, "x")});
  App app(client_, server_->Url("/x"));
  UrlLook look;
  look.WatchIn(&app);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(app.Perform(kLong).code, CURLE_OK);
    EXPECT_EQ(ToldOf(app.curl.raw(), CURLOPT_CURLU), 0u);
  }
  // Each attempt's, but of the first call.
  EXPECT_EQ(look.lent,
            (std::vector<bool>{false, IsLent(), IsLent(), IsLent()}));
  EXPECT_EQ(look.later, 0);
  // Another kind of call is another first one.
  app.Post("x");
  look.lent.clear();
  for (int i = 0; i < 2; ++i) EXPECT_EQ(app.Perform(kLong).code, CURLE_OK);
  EXPECT_EQ(look.lent, (std::vector<bool>{false, IsLent()}));
}

TEST_F(ShadowTest, TheParsedUrlIsGivenBackWhereNothingIsWritten) {
  // Nobody answers to the TLS.
  const std::vector<RawServer::Connection> mute(2, {{"no such end", ""}});
  RawServer server(mute);
  App app(client_, absl::StrCat("https://127.0.0.1:", server.port(), "/"));
  UrlLook look;
  look.WatchIn(&app);
  look.at_socket = [&] { app.curl.Cancel(); };
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(app.Perform(kLong).code, CURLE_ABORTED_BY_CALLBACK);
    EXPECT_EQ(ToldOf(app.curl.raw(), CURLOPT_CURLU), 0u);
  }
  EXPECT_EQ(look.lent, (std::vector<bool>{false, IsLent()}));
}

TEST_F(ShadowTest, TheParsedUrlOfABorrowedHandleIsNotLent) {
  CURL* const easy = curl_easy_init();
  {
    Handle curl = Handle::Borrow(easy, client_);
    curl.SetOpt(CURLOPT_URL, server_->Url().c_str());
    curl.SetOpt(CURLOPT_HTTPGET, 1L);
    curl.SetOpt(CURLOPT_NOBODY, 1L);
    for (int i = 0; i < 3; ++i) EXPECT_EQ(curl.Perform().code, CURLE_OK);
    EXPECT_EQ(Told().count({easy, CURLOPT_CURLU}), 0u);
  }
  curl_easy_cleanup(easy);
}

// What a callback sets while libcurl has the parsed URL is for the next request, be it a
// round of authentication or another attempt; as with plain libcurl.
TEST_F(ShadowTest, UrlsThatACallbackSets) {
  CURLU* const object = curl_url();
  curl_url_set(object, CURLUPART_URL, server_->Url("/object").c_str(), 0);
  const std::string text = server_->Url("/text");
  enum class By { kSetOpt, kRaw, kObject };
  for (const By by : {By::kSetOpt, By::kRaw, By::kObject}) {
    for (const bool round : {true, false}) {
      SCOPED_TRACE(absl::StrCat(static_cast<int>(by), " ", round));
      Told().clear();
      server_->Script(
          "/first",
          {Reply::Of(200, "x"), round ? AskForDigest() : Reply::Of(425, "no")});
      App app(client_, server_->Url("/first"));
      app.curl.SetOpt(CURLOPT_HTTPAUTH, static_cast<long>(CURLAUTH_DIGEST));
      app.curl.SetOpt(CURLOPT_USERPWD, "u:p");
      UrlLook look;
      look.WatchIn(&app);
      EXPECT_EQ(app.Perform(kLong).code, CURLE_OK);
      look.at_socket = [&] {
        switch (by) {
          case By::kSetOpt:
            app.curl.SetOpt(CURLOPT_URL, text.c_str());
            break;
          case By::kRaw:
            curl_easy_setopt(app.curl.raw(), CURLOPT_URL, text.c_str());
            break;
          case By::kObject:
            app.curl.SetOpt(CURLOPT_CURLU, object);
            look.own = Number(object);
            break;
        }
      };
      EXPECT_EQ(app.Perform(kLong).code, CURLE_OK);
      EXPECT_EQ(server_->log().Snapshot().back().path,
                by == By::kObject ? "/object" : "/text");
      // Once for each request that opens a connection.
      EXPECT_EQ(look.lent, (std::vector<bool>{false, IsLent(), false}));
      EXPECT_EQ(look.later, 0);
      EXPECT_EQ(ToldOf(app.curl.raw(), CURLOPT_CURLU), look.own);
      look.at_socket = nullptr;
    }
  }
  curl_url_cleanup(object);
}

// … also if the attempt came to nothing.
TEST_F(ShadowTest, AUrlThatIsSetBeforeAFailure) {
  const std::string text = server_->Url("/text");
  App app(client_, server_->Url("/first"));
  UrlLook look;
  look.WatchIn(&app);
  EXPECT_EQ(app.Perform(kLong).code, CURLE_OK);
  look.no_socket = true;
  look.at_socket = [&] {
    app.curl.SetOpt(CURLOPT_URL, text.c_str());
    look.no_socket = look.lent.size() == 2;
  };
  const CallResult result = app.Perform(kLong);
  EXPECT_EQ(result.code, CURLE_OK);
  EXPECT_EQ(result.record.total_attempts, 2);
  EXPECT_EQ(server_->log().Snapshot().back().path, "/text");
  EXPECT_EQ(look.lent, (std::vector<bool>{false, IsLent(), false}));
}

// --- All of them. ---

// What a handle has to which nobody has told anything.
uintptr_t DefaultOf(CURLoption option) {
  switch (option) {
    case CURLOPT_WRITEDATA:
      return Number(stdout);
    case CURLOPT_READDATA:
      return Number(stdin);
    case CURLOPT_MAXAGE_CONN:
      return 118;
    default:
      return 0;
  }
}

std::vector<CURLoption> ReplacedOptions() {
  std::vector<CURLoption> options;
  for (const OptionFact& fact : AllOptions()) {
    if (fact.role != OptionRole::kReplaced) continue;
    options.push_back(
        curl_easy_option_by_name(std::string(fact.name).c_str())->id);
  }
  return options;
}

// How a program makes its call.
enum class Kind { kGet, kPost, kPut, kPatch };
constexpr Kind kKinds[] = {Kind::kGet, Kind::kPost, Kind::kPut, Kind::kPatch};

void MakeKind(Kind kind, App* app) {
  switch (kind) {
    case Kind::kGet:
      return;
    case Kind::kPost:
      app->Post("fields");
      return;
    case Kind::kPatch:
      app->curl.SetOpt(CURLOPT_CUSTOMREQUEST, "PATCH");
      [[fallthrough]];
    case Kind::kPut:
      app->curl.SetOpt(CURLOPT_UPLOAD, 1L);
      app->curl.SetOpt(CURLOPT_INFILESIZE, 4L);
      return;
  }
}

TEST_F(ShadowTest, WhatWasReplacedIsTheApplicationsAgain) {
  ClientOptions options;
  options.retry.backoff.initial = absl::Milliseconds(1);
  options.retry.backoff.jitter = Jitter::kNone;
  int calls = 0;
  const std::vector<std::vector<Reply>> scripts = {
      {Reply::Of(200, "x")},
      {Reply::Of(429, "no"), Reply::Of(200, "x")},
      {Reply::Of(404, "x")},
      {Reply::Hang()}};
  for (const Kind kind : kKinds) {
    for (const bool keyed : {false, true}) {
      for (const int own : {-1, 0, 1}) {  // what it sets: nothing, 0s or 1s
        for (size_t i = 0; i < scripts.size(); ++i) {
          if (i == 1 && own != 1) continue;  // it waits
          SCOPED_TRACE(absl::StrCat(static_cast<int>(kind), " ", keyed, " ",
                                    own, " ", i));
          server_->Script(scripts[i]);
          Told().clear();
          OwnSource source("body");
          options.idempotency_header = keyed ? "X-Key" : "";
          App app(NewClient(options), server_->Url());
          MakeKind(kind, &app);
          app.Header("X-Own: 1");
          app.curl.SetOpt(CURLOPT_READFUNCTION, &OwnSource::Read);
          app.curl.SetOpt(CURLOPT_READDATA, &source);
          app.curl.SetOpt(CURLOPT_SEEKFUNCTION, &OwnSource::Seek);
          app.curl.SetOpt(CURLOPT_SEEKDATA, &source);
          if (own >= 0) {
            app.curl.SetOpt(CURLOPT_HEADER, own);
            app.curl.SetOpt(CURLOPT_FAILONERROR, own);
            app.curl.SetOpt(CURLOPT_NOSIGNAL, own);
            app.curl.SetOpt(CURLOPT_QUICK_EXIT, own);
            app.curl.SetOpt(CURLOPT_MAXAGE_CONN, 50 + own);
            app.curl.SetOpt(CURLOPT_PREREQFUNCTION, &CountCalls);
            app.curl.SetOpt(CURLOPT_PREREQDATA, &calls);
          }
          const auto before = Told();
          app.Perform(i == 3 ? absl::Milliseconds(30) : kLong);
          for (const auto& [where, value] : Told()) {
            const auto found = before.find(where);
            EXPECT_EQ(value, found != before.end() ? found->second
                                                   : DefaultOf(where.second))
                << curl_easy_option_by_id(where.second)->name;
          }
        }
      }
    }
  }
}

// A callback's SetOpt: libcurl gets it when it is the application's handle again.
TEST_F(ShadowTest, WhatACallbackSetsIsThereAfterTheCall) {
  struct Setter {
    App* app = nullptr;
    CURLoption option = CURLOPT_URL;
    uintptr_t value = 0;

    static size_t OnBody(char*, size_t size, size_t n, void* self) {
      static_cast<Setter*>(self)->Set();
      return size * n;
    }
    void Set() {
      const uintptr_t before = ToldOf(app->curl.raw(), option);
      CURLcode code = CURLE_OK;
      if (option < CURLOPTTYPE_OBJECTPOINT) {
        value = option == CURLOPT_MAXAGE_CONN ? 7 : 1;
        code = app->curl.SetOpt(option, value);
      } else if (option < CURLOPTTYPE_FUNCTIONPOINT) {
        value = Number(app);
        code = app->curl.SetOpt(option, static_cast<void*>(app));
      } else if (option == CURLOPT_PREREQFUNCTION) {
        value = Function(&CountCalls);
        code = app->curl.SetOpt(option, &CountCalls);
      } else {
        value = Function(&OwnSource::Read);
        code = app->curl.SetOpt(option, &OwnSource::Read);
      }
      EXPECT_EQ(code, CURLE_OK);
      EXPECT_EQ(ToldOf(app->curl.raw(), option), before) << "at once";
      EXPECT_EQ(app->curl.SetOpt(CURLOPT_HEADER, "text"),
                CURLE_BAD_FUNCTION_ARGUMENT);
    }
  };
  server_->Script({Reply::Of(200, "x")});
  const std::vector<CURLoption> options = ReplacedOptions();
  EXPECT_EQ(options.size(), 15u);
  for (const Kind kind : kKinds) {
    for (const CURLoption option : options) {
      SCOPED_TRACE(absl::StrCat(static_cast<int>(kind), " ",
                                curl_easy_option_by_id(option)->name));
      OwnSource source("body");
      App app(client_, server_->Url());
      MakeKind(kind, &app);
      app.curl.SetOpt(CURLOPT_READFUNCTION, &OwnSource::Read);
      app.curl.SetOpt(CURLOPT_READDATA, &source);
      Setter setter;
      setter.app = &app;
      setter.option = option;
      app.curl.SetOpt(CURLOPT_WRITEFUNCTION, &Setter::OnBody);
      app.curl.SetOpt(CURLOPT_WRITEDATA, &setter);
      EXPECT_EQ(app.Perform(kLong).code, CURLE_OK);
      EXPECT_EQ(ToldOf(app.curl.raw(), option), setter.value);
    }
  }
}

TEST_F(ShadowTest, WhatACallbackSetIsSetOnce) {
  struct Setter {
    App* app = nullptr;
    static size_t OnBody(char*, size_t size, size_t n, void* self) {
      static_cast<Setter*>(self)->app->curl.SetOpt(CURLOPT_MAXAGE_CONN, 7L);
      return size * n;
    }
  } setter;
  server_->Script({Reply::Of(200, "x")});
  App app(client_, server_->Url());
  setter.app = &app;
  app.curl.SetOpt(CURLOPT_WRITEFUNCTION, &Setter::OnBody);
  app.curl.SetOpt(CURLOPT_WRITEDATA, &setter);
  app.Perform(kLong);
  EXPECT_EQ(ToldOf(app.curl.raw(), CURLOPT_MAXAGE_CONN), 7u);
  app.curl.SetOpt(CURLOPT_WRITEFUNCTION, &Sink::OnBody);
  app.curl.SetOpt(CURLOPT_WRITEDATA, &app.sink);
  app.curl.SetOpt(CURLOPT_MAXAGE_CONN, 9L);
  app.Perform(kLong);
  EXPECT_EQ(ToldOf(app.curl.raw(), CURLOPT_MAXAGE_CONN), 9u);
}

// HTTPHEADER is the application's at once, unless a line of ours stands in front of it.
TEST_F(ShadowTest, HeadersThatACallbackSets) {
  struct Setter {
    App* app = nullptr;
    curl_slist* list = nullptr;
    static int OnSocket(void* self, curl_socket_t, curlsocktype) {
      const auto* const s = static_cast<Setter*>(self);
      s->app->curl.SetOpt(CURLOPT_HTTPHEADER, s->list);
      return CURL_SOCKOPT_OK;
    }
  } setter;
  setter.list = curl_slist_append(nullptr, "X-New: 1");
  for (const bool keyed : {false, true}) {
    SCOPED_TRACE(keyed);
    ClientOptions options;
    options.idempotency_header = keyed ? "X-Key" : "";
    App app(NewClient(options), server_->Url());
    setter.app = &app;
    app.Post("x");
    app.curl.SetOpt(CURLOPT_SOCKOPTFUNCTION, &Setter::OnSocket);
    app.curl.SetOpt(CURLOPT_SOCKOPTDATA, &setter);
    for (int call = 0; call < 2; ++call) {
      EXPECT_EQ(app.Perform(kLong).code, CURLE_OK);
      const Arrival arrival = server_->log().Snapshot().back();
      EXPECT_EQ(arrival.headers.count("x-key"), keyed ? 1u : 0u);
      EXPECT_EQ(arrival.headers.count("x-new"), keyed && call == 0 ? 0u : 1u);
    }
  }
  curl_slist_free_all(setter.list);
}

// What is told to libcurl while a call runs, of options that the table does not call
// replaced.
struct AlsoTold {
  CURLoption option;
  const char* why;
};
constexpr AlsoTold kAlsoTold[] = {
    {CURLOPT_HTTPHEADER, "a line with a key stands in front of the list"},
    {CURLOPT_CURLU, "lent: the URL, parsed before"},
    {CURLOPT_URL, "unset, where a CURLU came after it, as libcurl does"},
};

TEST_F(ShadowTest, TheTableNamesAllThatIsToldToLibcurl) {
  ClientOptions options;
  options.idempotency_header = "X-Key";
  const std::shared_ptr<Client> client = NewClient(options);
  std::set<CURLoption> told;
  const auto perform = [&told](App* app, CURLcode code,
                               absl::Duration deadline = kLong) {
    Listener() = &told;
    EXPECT_EQ(app->Perform(deadline).code, code);
    Listener() = nullptr;
  };
  {
    // A key; then, on a handle that was used before, a URL that was parsed before; and
    // in its place an object.
    server_->Script({Reply::Of(503), Reply::Of(200)});
    App app(client, server_->Url());
    app.curl.SetOpt(CURLOPT_HEADER, 1L);
    app.curl.SetOpt(CURLOPT_FAILONERROR, 1L);
    app.Post("x");
    for (int i = 0; i < 3; ++i) perform(&app, CURLE_OK);
    CURLU* const object = curl_url();
    curl_url_set(object, CURLUPART_URL, server_->Url("/object").c_str(), 0);
    app.curl.SetOpt(CURLOPT_CURLU, object);
    perform(&app, CURLE_OK);
    app.curl.SetOpt(CURLOPT_CURLU, nullptr);
    curl_url_cleanup(object);
  }
  {
    // A body that is read, twice.
    server_->Script({Reply::Of(503), Reply::Of(200)});
    OwnSource source("some body");
    App app(client, server_->Url());
    app.curl.SetOpt(CURLOPT_UPLOAD, 1L);
    app.curl.SetOpt(CURLOPT_READFUNCTION, &OwnSource::Read);
    app.curl.SetOpt(CURLOPT_READDATA, &source);
    app.curl.SetOpt(CURLOPT_SEEKFUNCTION, &OwnSource::Seek);
    app.curl.SetOpt(CURLOPT_SEEKDATA, &source);
    perform(&app, CURLE_OK);
  }
  {
    // At most once.
    App app(client_, server_->Url());
    app.Post("x");
    perform(&app, CURLE_OK);
  }
  {
    // An attempt that is given up.
    server_->Script({Reply::Hang()});
    App app(client_, server_->Url());
    perform(&app, CURLE_OPERATION_TIMEDOUT, absl::Milliseconds(100));
  }
  // Each is in the table, or has its reason; and no more than that is said there.
  std::set<CURLoption> known;
  for (const AlsoTold& also : kAlsoTold) {
    EXPECT_EQ(told.count(also.option), 1u) << also.why;
    known.insert(also.option);
  }
  for (const curl_easyoption* o = curl_easy_option_next(nullptr); o != nullptr;
       o = curl_easy_option_next(o)) {
    if ((o->flags & CURLOT_FLAG_ALIAS) != 0) continue;
    const OptionFact* const fact = FindOption(o->name);
    if (fact == nullptr || fact->role != OptionRole::kReplaced) continue;
    EXPECT_EQ(told.count(o->id), 1u) << o->name << " is not replaced";
    known.insert(o->id);
  }
  for (const CURLoption option : told) {
    EXPECT_EQ(known.count(option), 1u)
        << curl_easy_option_by_id(option)->name
        << " is told to libcurl, and not in the table";
  }
}

TEST_F(ShadowTest, WhatLibcurlRefusesIsNotSet) {
  App app(client_, server_->Url());
  EXPECT_NE(app.curl.SetOpt(CURLOPT_PORT, 70000L), CURLE_OK);
  const CallResult result = app.Perform(kLong);
  EXPECT_EQ(result.code, CURLE_OK);
  EXPECT_EQ(result.record.names.target(),
            absl::StrCat("127.0.0.1:", server_->port()));
}

TEST_F(ShadowTest, NoResetInTheMiddleOfACall) {
  server_->Script({Reply::Of(200, "x").InPieces(1, absl::Milliseconds(1))});
  App app(client_, server_->Url());
  app.curl.SetOpt(
      CURLOPT_WRITEFUNCTION, +[](char*, size_t size, size_t n, void* self) {
        static_cast<App*>(self)->curl.Reset();
        return size * n;
      });
  app.curl.SetOpt(CURLOPT_WRITEDATA, &app);
  EXPECT_EQ(app.Perform(kLong).code, CURLE_OK);
  EXPECT_EQ(app.Perform(kLong).code, CURLE_OK);
  EXPECT_EQ(Sends(), 2);
}

}  // namespace
}  // namespace forbear::curl
