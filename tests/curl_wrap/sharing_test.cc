// What outlives an attempt, and a handle: resets, duplicates, CURLSH, cookies; and what of a
// call is libcurl's own business: rounds of authentication, redirects, Expect, chunks,
// trailers. Under retries they must do what they do without.
#include <curl/curl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <initializer_list>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "core/stop_reason.h"
#include "curl_wrap/handle.h"
#include "gtest/gtest.h"
#include "tests/curl_wrap/app.h"
#include "tests/curl_wrap/raw_server.h"
#include "tests/testing/arrival_log.h"
#include "tests/testing/nginx.h"

namespace forbear::curl {
namespace {

using testing::HttpRequest;
using testing::Nginx;

constexpr absl::Duration kLong = absl::Seconds(20);

class SharingTest : public ::testing::Test {
 protected:
  int64_t Sends() const { return server_->log().Count(); }
  // The values of a header in all requests so far; "-": it was not there.
  static std::vector<std::string> Values(const HttpServer& server,
                                         const std::string& name) {
    std::vector<std::string> values;
    for (const Arrival& a : server.log().Snapshot()) {
      const auto found = a.headers.find(name);
      values.push_back(found == a.headers.end() ? "-" : found->second);
    }
    return values;
  }
  std::vector<std::string> Values(const std::string& name) const {
    return Values(*server_, name);
  }

  std::unique_ptr<HttpServer> server_ = StartServer();
  std::shared_ptr<Client> client_ = NewClient();
};

using Texts = std::vector<std::string>;

// --- Reset and Duplicate. ---

TEST_F(SharingTest, ResetForgetsOptionsAndKeepsTheRest) {
  server_->Script({Reply::Of(200).With("Set-Cookie", "kept=1; path=/"),
                   Reply::ResetBeforeHead(), Reply::Of(200)});
  App app(client_, server_->Url());
  app.Post("x");
  app.Header("X-Own: 1");
  // (A COOKIEFILE would leak: curl_easy_reset of libcurl 7.88 forgets to free it.)
  app.curl.SetOpt(CURLOPT_COOKIELIST,
                  "Set-Cookie: other=1; domain=other.example; path=/");
  app.curl.SetOpt(CURLOPT_USERPWD, "me:secret");
  app.Perform(kLong);
  app.curl.Reset();
  app.curl.SetOpt(CURLOPT_URL, server_->Url().c_str());
  app.curl.SetOpt(CURLOPT_WRITEFUNCTION, &Sink::OnBody);
  app.curl.SetOpt(CURLOPT_WRITEDATA, &app.sink);
  // A GET by now, which may be repeated.
  EXPECT_EQ(app.Perform(kLong).stop_reason, StopReason::kSuccess);
  EXPECT_EQ(Values("x-own"), (Texts{"1", "-", "-"}));
  EXPECT_EQ(Values("cookie"), (Texts{"-", "kept=1", "kept=1"}));
  EXPECT_NE(Values("authorization")[0], "-");
  EXPECT_EQ(Values("authorization")[1], "-");
}

TEST_F(SharingTest, ADuplicateKnowsWhatItsOriginalKnew) {
  server_->Script({Reply::Of(200, "first"), Reply::ResetBeforeHead(),
                   Reply::Of(503, "bad"), Reply::Of(200, "good")});
  std::optional<App> app(std::in_place, client_, server_->Url());
  curl_slist* const headers =
      curl_slist_append(nullptr, "Idempotency-Key: mine");
  app->curl.SetOpt(CURLOPT_HTTPHEADER, headers);
  app->Post("order=1");
  app->Perform(kLong);
  Sink sink;
  Handle copy = app->curl.Duplicate();
  copy.SetOpt(CURLOPT_WRITEDATA, &sink);
  copy.SetOpt(CURLOPT_HEADERDATA, &sink);
  copy.SetOpt(CURLOPT_ERRORBUFFER, nullptr);
  app.reset();
  const CallResult result = copy.Perform();
  EXPECT_EQ(result.stop_reason, StopReason::kSuccess);
  EXPECT_EQ(result.record.names.method(), "POST");
  EXPECT_TRUE(result.record.idempotent);
  EXPECT_EQ(result.record.total_attempts, 3);
  EXPECT_EQ(sink.body, "good");
  EXPECT_TRUE(absl::StartsWith(sink.head, "HTTP/1.1 200"));
  const std::vector<Arrival> arrivals = server_->log().Snapshot();
  ASSERT_EQ(arrivals.size(), 4u);
  for (const Arrival& a : arrivals) {
    EXPECT_EQ(a.body, "order=1");
    EXPECT_EQ(a.headers.at("idempotency-key"), "mine");
  }
  // Connections are its own.
  EXPECT_EQ(arrivals[1].index_on_connection, 0);
  copy.SetOpt(CURLOPT_HTTPHEADER, nullptr);
  curl_slist_free_all(headers);
}

TEST_F(SharingTest, ADuplicateGoesItsOwnWay) {
  App app(client_, server_->Url("/original"));
  Handle copy = app.curl.Duplicate();
  copy.SetOpt(CURLOPT_URL, server_->Url("/copy").c_str());
  copy.SetOpt(CURLOPT_POSTFIELDS, "x");
  copy.Perform();
  app.Perform(kLong);
  Handle copy_of_copy = copy.Duplicate();
  copy.Reset();
  copy_of_copy.Perform();
  const std::vector<Arrival> arrivals = server_->log().Snapshot();
  ASSERT_EQ(arrivals.size(), 3u);
  EXPECT_EQ(arrivals[0].method + arrivals[0].path, "POST/copy");
  EXPECT_EQ(arrivals[1].method + arrivals[1].path, "GET/original");
  EXPECT_EQ(arrivals[2].method + arrivals[2].path, "POST/copy");
}

TEST_F(SharingTest, ADuplicateHasAMimeBodyOfItsOwn) {
  server_->Script({Reply::Of(429, "no"), Reply::Of(200, "taken")});
  App app(client_, server_->Url());
  curl_mime* const mime = curl_mime_init(app.curl.raw());
  curl_mimepart* const part = curl_mime_addpart(mime);
  curl_mime_name(part, "memory");
  curl_mime_data(part, "in a part", CURL_ZERO_TERMINATED);
  app.curl.SetOpt(CURLOPT_MIMEPOST, mime);
  Handle copy = app.curl.Duplicate();
  app.curl.SetOpt(CURLOPT_MIMEPOST, nullptr);
  curl_mime_free(mime);
  EXPECT_EQ(copy.Perform().stop_reason, StopReason::kSuccess);
  const std::vector<Arrival> arrivals = server_->log().Snapshot();
  ASSERT_EQ(arrivals.size(), 2u);
  for (const Arrival& a : arrivals) {
    EXPECT_EQ(a.method, "POST");
    EXPECT_TRUE(absl::StrContains(a.body, "in a part")) << a.body;
  }
}

TEST_F(SharingTest, NoDuplicateInTheMiddleOfACall) {
  struct Copier {
    App* app = nullptr;
    bool copied = true;
    static size_t OnBody(char*, size_t size, size_t n, void* self) {
      auto* const c = static_cast<Copier*>(self);
      Handle copy = c->app->curl.Duplicate();
      c->copied = copy.raw() != nullptr;
      EXPECT_EQ(copy.Perform().code, CURLE_FAILED_INIT);
      EXPECT_EQ(copy.SetOpt(CURLOPT_URL, "x"), CURLE_FAILED_INIT);
      // Nor one of what is none.
      EXPECT_EQ(copy.Duplicate().raw(), nullptr);
      return size * n;
    }
  };
  server_->Script({Reply::Of(200, "x")});
  App app(client_, server_->Url());
  Copier copier;
  copier.app = &app;
  app.curl.SetOpt(CURLOPT_WRITEFUNCTION, &Copier::OnBody);
  app.curl.SetOpt(CURLOPT_WRITEDATA, &copier);
  EXPECT_EQ(app.Perform(kLong).code, CURLE_OK);
  EXPECT_FALSE(copier.copied);
  EXPECT_NE(app.curl.Duplicate().raw(), nullptr);
}

// What is not known of a handle is not known of its duplicate.
TEST_F(SharingTest, ADuplicateOfABorrowedHandle) {
  CURL* const easy = curl_easy_init();
  curl_easy_setopt(easy, CURLOPT_URL, server_->Url().c_str());
  curl_easy_setopt(easy, CURLOPT_POSTFIELDS, "x");
  Sink sink;
  std::optional<Handle> borrowed(Handle::Borrow(easy, client_));
  borrowed->SetOpt(CURLOPT_WRITEFUNCTION, &Sink::OnBody);
  borrowed->SetOpt(CURLOPT_WRITEDATA, &sink);
  Handle copy = borrowed->Duplicate();
  borrowed.reset();
  curl_easy_cleanup(easy);
  server_->Script({Reply::ResetBeforeHead()});
  const CallResult result = copy.Perform();
  EXPECT_EQ(result.stop_reason, StopReason::kNotIdempotent);
  EXPECT_EQ(result.record.names.method(), "unknown");
  EXPECT_EQ(Sends(), 1);
}

// --- CURLSH. ---

// What applications write: a lock for each kind of data.
class Share {
 public:
  Share(std::initializer_list<curl_lock_data> kinds)
      : share_(curl_share_init()) {
    curl_share_setopt(share_, CURLSHOPT_LOCKFUNC, &Lock);
    curl_share_setopt(share_, CURLSHOPT_UNLOCKFUNC, &Unlock);
    curl_share_setopt(share_, CURLSHOPT_USERDATA, this);
    for (const curl_lock_data kind : kinds) {
      EXPECT_EQ(curl_share_setopt(share_, CURLSHOPT_SHARE, kind), CURLSHE_OK);
    }
  }
  // The handles are gone.
  ~Share() { EXPECT_EQ(curl_share_cleanup(share_), CURLSHE_OK); }

  CURLSH* get() const { return share_; }

 private:
  static void Lock(CURL*, curl_lock_data kind, curl_lock_access, void* self) {
    static_cast<Share*>(self)->mutexes_[kind].lock();
  }
  static void Unlock(CURL*, curl_lock_data kind, void* self) {
    static_cast<Share*>(self)->mutexes_[kind].unlock();
  }

  CURLSH* const share_;
  std::array<std::mutex, CURL_LOCK_DATA_LAST> mutexes_;
};

TEST_F(SharingTest, CookiesAreSharedFromTheAttemptThatBroughtThem) {
  server_->Script({Reply::Of(503, "no").With("Set-Cookie", "a=1; path=/"),
                   Reply::Of(200).With("Set-Cookie", "b=2; path=/"),
                   Reply::Of(503, "no"), Reply::Of(200)});
  const Share share{CURL_LOCK_DATA_COOKIE};
  App first(client_, server_->Url());
  App second(client_, server_->Url());
  for (App* app : {&first, &second}) {
    app->curl.SetOpt(CURLOPT_SHARE, share.get());
    app->curl.SetOpt(CURLOPT_COOKIEFILE, "");
    EXPECT_EQ(app->Perform(kLong).stop_reason, StopReason::kSuccess);
  }
  EXPECT_EQ(Values("cookie"), (Texts{"-", "a=1", "b=2; a=1", "b=2; a=1"}));
}

TEST_F(SharingTest, ConnectionsAreShared) {
  server_->Script({Reply::Of(503, "no"), Reply::Of(200), Reply::Of(503, "no"),
                   Reply::Of(200, "yes")});
  const Share share{CURL_LOCK_DATA_CONNECT};
  {
    App first(client_, server_->Url());
    first.curl.SetOpt(CURLOPT_SHARE, share.get());
    EXPECT_EQ(first.Perform(kLong).stop_reason, StopReason::kSuccess);
    App second(client_, server_->Url());
    second.curl.SetOpt(CURLOPT_SHARE, share.get());
    EXPECT_EQ(second.Perform(kLong).stop_reason, StopReason::kSuccess);
    EXPECT_EQ(second.sink.body, "yes");
  }
  // And when the handles that made it are gone.
  App third(client_, server_->Url());
  third.curl.SetOpt(CURLOPT_SHARE, share.get());
  EXPECT_EQ(third.Perform(kLong).stop_reason, StopReason::kSuccess);
  third.curl.SetOpt(CURLOPT_SHARE, nullptr);
  EXPECT_EQ(Sends(), 5);
  EXPECT_EQ(server_->connections(), 1);
}

// A connection that another handle used, and that is dead, is no excuse for a second send.
TEST_F(SharingTest, AtMostOnceOnAConnectionThatIsShared) {
  const Share share{CURL_LOCK_DATA_CONNECT};
  App first(client_, server_->Url());
  first.curl.SetOpt(CURLOPT_SHARE, share.get());
  EXPECT_EQ(first.Perform(kLong).stop_reason, StopReason::kSuccess);
  server_->Script({Reply::CloseAfterRead().OnlyOnReusedConnection()});
  App second(client_, server_->Url());
  second.curl.SetOpt(CURLOPT_SHARE, share.get());
  second.Post("pay=1");
  EXPECT_EQ(second.Perform(kLong).stop_reason, StopReason::kNotIdempotent);
  EXPECT_EQ(Sends(), 2);
  EXPECT_EQ(server_->log().Snapshot()[1].index_on_connection, 1);
}

TEST_F(SharingTest, AnAttemptThatIsGivenUpTakesItsSharedConnectionAlong) {
  const Share share{CURL_LOCK_DATA_CONNECT};
  App first(client_, server_->Url());
  first.curl.SetOpt(CURLOPT_SHARE, share.get());
  EXPECT_EQ(first.Perform(kLong).stop_reason, StopReason::kSuccess);
  server_->Script({Reply::Hang(), Reply::Of(200, "ok")});
  CallOptions options;
  options.attempt_timeout = absl::Milliseconds(500);
  EXPECT_EQ(first.curl.Perform(options).stop_reason, StopReason::kSuccess);
  App second(client_, server_->Url());
  second.curl.SetOpt(CURLOPT_SHARE, share.get());
  EXPECT_EQ(second.Perform(kLong).stop_reason, StopReason::kSuccess);
  EXPECT_EQ(second.sink.body, "ok");
  EXPECT_EQ(server_->connections(), 2);
}

TEST_F(SharingTest, NamesThatWereLookedUpAreShared) {
  // Told to one handle: the other one can only know it from the share.
  const std::string name = "shared-name.invalid";
  curl_slist* const list = curl_slist_append(
      nullptr, absl::StrCat(name, ":", server_->port(), ":127.0.0.1").c_str());
  const std::string url =
      absl::StrCat("http://", name, ":", server_->port(), "/");
  server_->Script({Reply::Of(503, "no"), Reply::Of(200), Reply::Of(503, "no"),
                   Reply::Of(200)});
  const Share share{CURL_LOCK_DATA_DNS};
  App first(client_, url);
  first.curl.SetOpt(CURLOPT_SHARE, share.get());
  first.curl.SetOpt(CURLOPT_RESOLVE, list);
  EXPECT_EQ(first.Perform(kLong).stop_reason, StopReason::kSuccess);
  App second(client_, url);
  second.curl.SetOpt(CURLOPT_SHARE, share.get());
  EXPECT_EQ(second.Perform(kLong).stop_reason, StopReason::kSuccess);
  EXPECT_EQ(Sends(), 4);
  curl_slist_free_all(list);
}

TEST_F(SharingTest, TlsSessionsAreShared) {
  Nginx::Options options;
  options.tls = true;
  options.http = "ssl_session_cache shared:s:1m;";
  options.server =
      "location / { return 200 $ssl_session_reused; }\n"
      "location /no { return 503 $ssl_session_reused; }\n";
  const auto nginx = Nginx::Start(options);
  ASSERT_TRUE(nginx.ok()) << nginx.status();
  const Share share{CURL_LOCK_DATA_SSL_SESSION};
  ClientOptions one;
  one.retry.max_attempts = 2;
  const std::shared_ptr<Client> client = NewClient(one);
  const auto perform = [&](const char* path, CURLSH* with) {
    App app(client, (*nginx)->Url(path));
    app.curl.SetOpt(CURLOPT_CAINFO, (*nginx)->CertificateFile().c_str());
    app.curl.SetOpt(CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
    app.Header("Connection: close");
    app.curl.SetOpt(CURLOPT_SHARE, with);
    app.Perform(kLong);
    app.curl.SetOpt(CURLOPT_SHARE, nullptr);
    return app.sink.body;
  };
  EXPECT_EQ(perform("/", share.get()), ".");
  EXPECT_EQ(perform("/", share.get()), "r");
  EXPECT_EQ(perform("/no", share.get()), "r");
  EXPECT_EQ(perform("/", nullptr), ".");
  // Without a share the second attempt of a handle goes on with its first one's.
  EXPECT_EQ(perform("/no", nullptr), "r");
}

TEST_F(SharingTest, ThreadsShare) {
  // Every third answer is a refusal, and each brings a cookie.
  server_->SetHandler([](const HttpRequest& request) {
    return Reply::Of(request.index % 3 == 0 ? 503 : 200, "x")
        .With("Set-Cookie", absl::StrCat("c", request.index % 7, "=1; path=/"));
  });
  constexpr int kThreads = 4;
  constexpr int kCalls = 25;
  ClientOptions options;
  options.retry.max_attempts = 10;
  options.retry.backoff.initial = absl::Milliseconds(1);
  options.endpoint.budget.enabled = false;
  const std::shared_ptr<Client> client = NewClient(options);
  const Share share(
      {CURL_LOCK_DATA_COOKIE, CURL_LOCK_DATA_DNS, CURL_LOCK_DATA_SSL_SESSION});
  std::vector<std::thread> threads;
  std::array<int, kThreads> good = {};
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      App app(client, server_->Url());
      app.curl.SetOpt(CURLOPT_SHARE, share.get());
      app.curl.SetOpt(CURLOPT_COOKIEFILE, "");
      for (int i = 0; i < kCalls; ++i) {
        app.sink = Sink();
        good[static_cast<size_t>(t)] +=
            app.Perform(kLong).stop_reason == StopReason::kSuccess &&
            app.sink.body == "x";
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const int n : good) EXPECT_EQ(n, kCalls);
}

// --- Cookies. ---

TEST_F(SharingTest, ACookieOfAFailedAttemptIsKept) {
  server_->Script("/a", {Reply::Of(302)
                             .With("Location", "/b")
                             .With("Set-Cookie", "hop=1; path=/")});
  server_->Script("/b",
                  {Reply::Of(503, "no").With("Set-Cookie", "try=1; path=/"),
                   Reply::Of(200).With("Set-Cookie", "try=2; path=/")});
  App app(client_, server_->Url("/a"));
  app.curl.SetOpt(CURLOPT_FOLLOWLOCATION, 1L);
  app.curl.SetOpt(CURLOPT_COOKIEFILE, "");
  EXPECT_EQ(app.Perform(kLong).stop_reason, StopReason::kSuccess);
  EXPECT_EQ(Values("cookie"),
            (Texts{"-", "hop=1", "try=1; hop=1", "try=1; hop=1"}));
  // What is there at the end is what libcurl's own list says.
  curl_slist* cookies = nullptr;
  curl_easy_getinfo(app.curl.raw(), CURLINFO_COOKIELIST, &cookies);
  std::set<std::string> found;
  for (const curl_slist* c = cookies; c != nullptr; c = c->next) {
    const absl::string_view line = c->data;
    for (const char* pair : {"hop\t1", "try\t1", "try\t2"}) {
      if (absl::EndsWith(line, pair)) found.insert(pair);
    }
  }
  curl_slist_free_all(cookies);
  EXPECT_EQ(found, (std::set<std::string>{"hop\t1", "try\t2"}));
  // Without an engine there is none.
  App none(client_, server_->Url("/b"));
  server_->Script(
      "/b", {Reply::Of(503, "no").With("Set-Cookie", "x=1"), Reply::Of(200)});
  EXPECT_EQ(none.Perform(kLong).stop_reason, StopReason::kSuccess);
  EXPECT_EQ(Values("cookie").back(), "-");
}

// --- Authentication. ---

// Lets in who has an Authorization of the right beginning, and fails every first time.
Reply Guard(const HttpRequest& request, const std::string& begin,
            const std::string& asks, bool* failed) {
  const auto found = request.headers.find("authorization");
  if (found == request.headers.end() ||
      !absl::StartsWith(found->second, begin)) {
    return Reply::Of(401, "who?").With("WWW-Authenticate", asks);
  }
  if (!std::exchange(*failed, true)) return Reply::Of(503, "no");
  return Reply::Of(200, "in");
}

TEST_F(SharingTest, RoundsOfAuthenticationAreNoRetries) {
  const std::string digest =
      "Digest realm=\"r\", nonce=\"n\", qop=\"auth\", algorithm=MD5";
  const struct {
    unsigned long auth;  // of libcurl
    const char* begin;
    std::string asks;
    int64_t sends;  // of both attempts
  } cases[] = {{CURLAUTH_BASIC, "Basic ", "Basic realm=\"r\"", 2},
               {CURLAUTH_ANY, "Basic ", "Basic realm=\"r\"", 4},
               {CURLAUTH_ANY, "Digest ", digest, 4},
               {CURLAUTH_DIGEST, "Digest ", digest, 4}};
  for (const bool post : {false, true}) {
    for (const auto& c : cases) {
      SCOPED_TRACE(absl::StrCat(c.auth, c.begin, post));
      const std::unique_ptr<HttpServer> server = StartServer();
      bool failed = false;
      server->SetHandler([&](const HttpRequest& request) {
        return Guard(request, c.begin, c.asks, &failed);
      });
      App app(NewClient(), server->Url());
      Source source{"body"};
      if (post) {
        app.curl.SetOpt(CURLOPT_POST, 1L);
        app.curl.SetOpt(CURLOPT_POSTFIELDSIZE, 4L);
        app.curl.SetOpt(CURLOPT_READFUNCTION, &Source::Read);
        app.curl.SetOpt(CURLOPT_READDATA, &source);
        app.curl.SetOpt(CURLOPT_SEEKFUNCTION, &Source::Seek);
        app.curl.SetOpt(CURLOPT_SEEKDATA, &source);
        app.Header("Idempotency-Key: 1");
      }
      app.curl.SetOpt(CURLOPT_USERPWD, "me:secret");
      app.curl.SetOpt(CURLOPT_HTTPAUTH, c.auth);
      const CallResult result = app.Perform(kLong);
      EXPECT_EQ(result.stop_reason, StopReason::kSuccess);
      EXPECT_EQ(result.record.total_attempts, 2);
      EXPECT_EQ(app.sink.body, "in");
      // Digest's second attempt may know its nonce.
      const int64_t sends = server->log().Count();
      EXPECT_TRUE(sends == c.sends || sends == c.sends - 1) << sends;
      for (const Arrival& a : server->log().Snapshot()) {
        if (a.status != 401 && post) {
          EXPECT_EQ(a.body, "body");
        }
      }
    }
  }
}

TEST_F(SharingTest, TheLastRefusalOfACredentialIsDelivered) {
  for (const unsigned long auth :
       {CURLAUTH_BASIC, CURLAUTH_DIGEST, CURLAUTH_ANY}) {
    for (const bool post : {false, true}) {
      SCOPED_TRACE(absl::StrCat(auth, post));
      server_->Script({Reply::Of(401, "not you")
                           .With("WWW-Authenticate",
                                 auth == CURLAUTH_BASIC
                                     ? "Basic realm=\"r\""
                                     : "Digest realm=\"r\", nonce=\"n\"")});
      App app(client_, server_->Url());
      if (post) app.Post("x");
      app.curl.SetOpt(CURLOPT_USERPWD, "me:wrong");
      app.curl.SetOpt(CURLOPT_HTTPAUTH, auth);
      const CallResult result = app.Perform(kLong);
      EXPECT_EQ(result.code, CURLE_OK);
      EXPECT_EQ(result.http_status, 401);
      EXPECT_EQ(result.stop_reason, StopReason::kPermanentError);
      EXPECT_EQ(result.record.total_attempts, 1);
      EXPECT_EQ(app.sink.body, "not you");
    }
  }
}

TEST_F(SharingTest, AProxysRounds) {
  const std::string end = "\r\n\r\n";
  const std::string ask =
      "HTTP/1.1 407 Who\r\nProxy-Authenticate: Basic realm=\"p\"\r\n"
      "Content-Length: 4\r\nConnection: close\r\n\r\nwho?";
  const std::string no =
      "HTTP/1.1 503 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
  const std::string yes =
      "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nin";
  using Connection = RawServer::Connection;
  {
    RawServer proxy({Connection{{end, ask}}, Connection{{end, no}},
                     Connection{{end, yes}}});
    App app(client_, "http://server.invalid/");
    app.curl.SetOpt(CURLOPT_PROXY,
                    absl::StrCat("http://127.0.0.1:", proxy.port()).c_str());
    app.curl.SetOpt(CURLOPT_PROXYUSERPWD, "me:secret");
    app.curl.SetOpt(CURLOPT_PROXYAUTH, static_cast<long>(CURLAUTH_ANY));
    const CallResult result = app.Perform(kLong);
    EXPECT_EQ(result.stop_reason, StopReason::kSuccess);
    EXPECT_EQ(result.record.total_attempts, 2);
    EXPECT_EQ(app.sink.body, "in");
    const std::vector<std::string> received = proxy.Received();
    ASSERT_EQ(received.size(), 3u);
    // The second attempt knows what the proxy wants.
    for (size_t i = 0; i < received.size(); ++i) {
      EXPECT_EQ(absl::StrContains(received[i], "Proxy-Authorization: Basic"),
                i > 0)
          << i;
    }
  }
  // The last refusal is an answer, and no attempt follows.
  RawServer proxy({Connection{{end, ask}}, Connection{{end, ask}}});
  App app(client_, "http://server.invalid/");
  app.curl.SetOpt(CURLOPT_PROXY,
                  absl::StrCat("http://127.0.0.1:", proxy.port()).c_str());
  app.curl.SetOpt(CURLOPT_PROXYUSERPWD, "me:wrong");
  app.curl.SetOpt(CURLOPT_PROXYAUTH, static_cast<long>(CURLAUTH_ANY));
  const CallResult result = app.Perform(kLong);
  EXPECT_EQ(result.code, CURLE_OK);
  EXPECT_EQ(result.http_status, 407);
  EXPECT_EQ(result.stop_reason, StopReason::kPermanentError);
  EXPECT_EQ(result.record.total_attempts, 1);
  EXPECT_EQ(app.sink.body, "who?");
  EXPECT_EQ(proxy.Received().size(), 2u);
}

// --- Redirects. ---

TEST_F(SharingTest, CredentialsStayWithTheirHost) {
  for (const bool unrestricted : {false, true}) {
    for (const bool user : {false, true}) {
      SCOPED_TRACE(absl::StrCat(unrestricted, user));
      const std::unique_ptr<HttpServer> from = StartServer();
      const std::unique_ptr<HttpServer> to = StartServer();
      from->Script({Reply::Of(302).With("Location", to->Url("/there"))});
      to->Script({Reply::Of(503, "no").ThenClose(), Reply::ResetBeforeHead(),
                  Reply::Of(200, "yes")});
      App app(NewClient(), from->Url());
      app.curl.SetOpt(CURLOPT_FOLLOWLOCATION, 1L);
      app.curl.SetOpt(CURLOPT_UNRESTRICTED_AUTH, unrestricted ? 1L : 0L);
      if (user) {
        app.curl.SetOpt(CURLOPT_USERPWD, "me:secret");
      } else {
        app.Header("Authorization: Bearer secret");
        app.Header("Cookie: own=1");
      }
      EXPECT_EQ(app.Perform(kLong).stop_reason, StopReason::kSuccess);
      EXPECT_EQ(app.sink.body, "yes");
      // As often as it is sent: to its host always, to the other one never.
      const std::vector<std::string> own = Values(*from, "authorization");
      const std::vector<std::string> others = Values(*to, "authorization");
      ASSERT_EQ(own.size(), 3u);
      ASSERT_EQ(others.size(), 3u);
      for (const std::string& value : own) EXPECT_NE(value, "-");
      for (const std::string& value : others) {
        EXPECT_EQ(value, unrestricted ? own[0] : "-");
      }
      if (!unrestricted) {
        EXPECT_EQ(Values(*to, "cookie"), Texts(3, "-"));
      }
    }
  }
}

// --- Bodies on their way. ---

// Of a body from a pipe, not a byte was read: it can go again.
TEST_F(SharingTest, ExpectContinueSavesAPipe) {
  const std::string end = "Content-Length: 2\r\nConnection: close\r\n\r\n";
  RawServer server({{{"\r\n\r\n", "HTTP/1.1 503 No\r\n" + end + "no"}},
                    {{"\r\n\r\n", "HTTP/1.1 429 No\r\n" + end + "no"}},
                    {{"\r\n\r\n", "HTTP/1.1 100 Continue\r\n\r\n"},
                     {"piped", "HTTP/1.1 200 OK\r\n" + end + "ok"}}});
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  ASSERT_EQ(write(ends[1], "piped", 5), 5);
  close(ends[1]);
  FILE* const file = fdopen(ends[0], "r");
  App app(client_, absl::StrCat("http://127.0.0.1:", server.port(), "/"));
  app.curl.SetOpt(CURLOPT_UPLOAD, 1L);
  app.curl.SetOpt(CURLOPT_READDATA, file);
  app.curl.SetOpt(CURLOPT_INFILESIZE, 5L);
  app.curl.SetOpt(CURLOPT_EXPECT_100_TIMEOUT_MS, 10000L);
  app.Header("Expect: 100-continue");
  const CallResult result = app.Perform(kLong);
  EXPECT_EQ(result.stop_reason, StopReason::kSuccess);
  EXPECT_EQ(result.record.total_attempts, 3);
  EXPECT_EQ(app.sink.body, "ok");
  const std::vector<std::string> received = server.Received();
  ASSERT_EQ(received.size(), 3u);
  EXPECT_TRUE(absl::EndsWith(received[0], "\r\n\r\n"));
  EXPECT_TRUE(absl::EndsWith(received[1], "\r\n\r\n"));
  EXPECT_TRUE(absl::EndsWith(received[2], "\r\n\r\npiped"));
  fclose(file);
}

TEST_F(SharingTest, ChunksAreSentAgain) {
  server_->Script({Reply::Of(429, "no"), Reply::Of(503, "no").ThenClose(),
                   Reply::ResetBeforeHead(), Reply::Of(200, "taken")});
  App app(client_, server_->Url());
  Source source{std::string(100000, 'c')};
  app.curl.SetOpt(CURLOPT_POST, 1L);
  app.curl.SetOpt(CURLOPT_READFUNCTION, &Source::Read);
  app.curl.SetOpt(CURLOPT_READDATA, &source);
  app.curl.SetOpt(CURLOPT_SEEKFUNCTION, &Source::Seek);
  app.curl.SetOpt(CURLOPT_SEEKDATA, &source);
  app.Header("Transfer-Encoding: chunked");
  app.Header("Idempotency-Key: 1");
  EXPECT_EQ(app.Perform(kLong).stop_reason, StopReason::kSuccess);
  const std::vector<Arrival> arrivals = server_->log().Snapshot();
  ASSERT_EQ(arrivals.size(), 4u);
  for (const Arrival& a : arrivals) {
    EXPECT_EQ(a.headers.at("transfer-encoding"), "chunked");
    EXPECT_EQ(a.body_hash, testing::ArrivalLog::HashOf(source.body));
  }
}

// libcurl before 8.7 sends trailers once in the life of a handle, and writes where it must
// not when it sends a second body: such a body is sent once.
TEST_F(SharingTest, ABodyWithTrailers) {
  const bool once = curl_version_info(CURLVERSION_NOW)->version_num < 0x080700;
  struct Trailers {
    int calls = 0;
    static int Add(curl_slist** list, void* self) {
      const int n = ++static_cast<Trailers*>(self)->calls;
      *list = curl_slist_append(*list, absl::StrCat("X-Sum: ", n).c_str());
      return CURL_TRAILERFUNC_OK;
    }
  } trailers;
  const std::string end = "Content-Length: 2\r\nConnection: close\r\n\r\n";
  // The first attempt gets no further than its head, the second one is read.
  RawServer server(
      {{{"\r\n\r\n", "HTTP/1.1 503 No\r\n" + end + "no"}},
       {{"\r\n\r\n", "HTTP/1.1 100 Continue\r\n\r\n"},
        {"X-Sum: 1\r\n\r\n", "HTTP/1.1 429 No\r\n" + end + "no"}},
       {{"\r\n\r\n", "HTTP/1.1 100 Continue\r\n\r\n"},
        {"X-Sum: 2\r\n\r\n", "HTTP/1.1 200 OK\r\n" + end + "ok"}}});
  App app(client_, absl::StrCat("http://127.0.0.1:", server.port(), "/"));
  Source source{"in chunks"};
  app.curl.SetOpt(CURLOPT_POST, 1L);
  app.curl.SetOpt(CURLOPT_READFUNCTION, &Source::Read);
  app.curl.SetOpt(CURLOPT_READDATA, &source);
  app.curl.SetOpt(CURLOPT_SEEKFUNCTION, &Source::Seek);
  app.curl.SetOpt(CURLOPT_SEEKDATA, &source);
  app.curl.SetOpt(CURLOPT_TRAILERFUNCTION, &Trailers::Add);
  app.curl.SetOpt(CURLOPT_TRAILERDATA, &trailers);
  app.curl.SetOpt(CURLOPT_EXPECT_100_TIMEOUT_MS, 10000L);
  app.Header("Transfer-Encoding: chunked");
  app.Header("Trailer: X-Sum");
  app.Header("Expect: 100-continue");
  app.Header("Idempotency-Key: 1");
  const CallResult result = app.Perform(kLong);
  EXPECT_EQ(result.stop_reason,
            once ? StopReason::kNotReplayable : StopReason::kSuccess);
  EXPECT_EQ(app.sink.body, once ? "no" : "ok");
  const std::vector<std::string> received = server.Received();
  ASSERT_EQ(received.size(), once ? 2u : 3u);
  EXPECT_EQ(trailers.calls, once ? 1 : 2);
  EXPECT_TRUE(absl::EndsWith(received[1],
                             "\r\n\r\n9\r\nin chunks\r\n0\r\nX-Sum: 1\r\n\r\n"))
      << received[1];
}

}  // namespace
}  // namespace forbear::curl
