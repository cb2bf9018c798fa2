// A URL that was parsed once: of which URLs that is done, that nothing is lost, and that
// no application and no server can tell.
#include "curl_wrap/parsed_url.h"

#include <curl/curl.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <future>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "curl_wrap/easy_options.h"
#include "curl_wrap/engine.h"
#include "curl_wrap/handle.h"
#include "curl_wrap/response.h"
#include "gtest/gtest.h"
#include "runtime/client.h"
#include "tests/curl_wrap/app.h"
#include "tests/testing/nginx.h"

namespace forbear::curl {
namespace {

using testing::HttpRequest;

// Later ones take a CURLU for the URL from then on: no URL is parsed once.
bool IsLibcurlBefore812() {
  return curl_version_info(CURLVERSION_NOW)->version_num < 0x080c00;
}

// All that can be read of it.
std::string PartsOf(const CURLU* url) {
  std::string all;
  for (const CURLUPart part :
       {CURLUPART_URL, CURLUPART_SCHEME, CURLUPART_USER, CURLUPART_PASSWORD,
        CURLUPART_OPTIONS, CURLUPART_HOST, CURLUPART_PORT, CURLUPART_PATH,
        CURLUPART_QUERY, CURLUPART_FRAGMENT, CURLUPART_ZONEID}) {
    for (const unsigned flags :
         {0u, unsigned{CURLU_DEFAULT_PORT}, unsigned{CURLU_URLENCODE}}) {
      char* text = nullptr;
      const CURLUcode code =
          curl_url_get(const_cast<CURLU*>(url), part, &text, flags);
      absl::StrAppend(&all, code, " ", text == nullptr ? "-" : text, "\n");
      curl_free(text);
    }
  }
  return all;
}

class ParsedUrlTest : public ::testing::Test {
 protected:
  void SetUp() override { InitLibcurl(); }

  // Whether one of this text is used for a handle of this text.
  static bool IsUsed(const std::string& text) {
    CURL* const easy = curl_easy_init();
    curl_easy_setopt(easy, CURLOPT_URL, text.c_str());
    const bool used = ParsedUrl(text).For(easy) != nullptr;
    curl_easy_cleanup(easy);
    return used;
  }
};

TEST_F(ParsedUrlTest, WhatIsParsedOnce) {
  for (const char* const text :
       {"http://a.example/", "https://a.example/v1/x?y=1&z=/../",
        "http://127.0.0.1:8080/", "http://a.example:80/~u/%41%2f;x",
        "http://A_b.example/.well-known/@me", "http://a.example/?a?b"}) {
    EXPECT_EQ(IsUsed(text), IsLibcurlBefore812()) << text;
  }
  for (const char* const text : {"",
                                 "a.example",
                                 "/x",
                                 "http://",
                                 "http:///x",
                                 "http://a.example",
                                 "http://a.example?x",
                                 "HTTP://a.example/",
                                 "ftp://a.example/",
                                 "file:///x",
                                 "http://u@a.example/",
                                 "http://u:p@a.example/",
                                 "http://a.example/#",
                                 "http://a.example/#f",
                                 "http://a.example/x?",
                                 "http://a.example/x?#",
                                 "http://[::1]/",
                                 "http://[fe80::1%25lo]/",
                                 "http://127.1/",
                                 "http://0x7f.0.0.1/",
                                 "http://a.example:080/",
                                 "http://a.example:/",
                                 "http://a.example/./x",
                                 "http://a.example/x/..",
                                 "http://a.example/a b",
                                 "http://a.example/\xc3\xa9",
                                 "http://b\xc3\xbc.example/",
                                 "http://a.example/\\x",
                                 "http://a.example\\x/",
                                 "http://%61.example/",
                                 "http:/a.example/",
                                 "http://a.example:65536/",
                                 " http://a.example/"}) {
    EXPECT_FALSE(IsUsed(text)) << text;
  }
}

TEST_F(ParsedUrlTest, OfThisHandleAndThisUrl) {
  const std::string text = "http://a.example/";
  ParsedUrl url(text);
  CURL* const easy = curl_easy_init();
  EXPECT_EQ(url.For(easy), nullptr);
  curl_easy_setopt(easy, CURLOPT_URL, "http://a.example/x");
  EXPECT_EQ(url.For(easy), nullptr);
  curl_easy_setopt(easy, CURLOPT_URL, text.c_str());
  EXPECT_EQ(url.For(easy) != nullptr, IsLibcurlBefore812());
  const ParsedUrl moved(std::move(url));
  EXPECT_EQ(moved.For(easy) != nullptr, IsLibcurlBefore812());
  curl_easy_setopt(easy, CURLOPT_URL, nullptr);
  EXPECT_EQ(moved.For(easy), nullptr);
  curl_easy_cleanup(easy);
}

// libcurl copies it for the transfer, as curl_url_dup does, instead of parsing the text
// with some options: that is the same.
TEST_F(ParsedUrlTest, ACopyIsWhatLibcurlWouldParse) {
  std::vector<std::string> pieces = absl::StrSplit(
      "http:// https:// HTTP:// // / a z9 A a.example - _ . .. a.example. /. "
      "/.. /./ /../ %2e %2E%2e/ %41 % v1 127.0.0.1 127.1 0x7f.1 0 1.2.3 "
      "[::1] [fe80::1%25lo] : :0 :1 :080 :80 :443 :65535 :65536 :8a @ u@ u:p@ "
      "? ?q=1 ?? # #f \t \n \x7f \xc3\xa9 \\ ; & = ~ ! * ' \" < { | ^ ` , + $",
      ' ');
  pieces.emplace_back(" ");
  std::mt19937 random(20261130);
  const auto pick = [&](size_t n) { return random() % n; };
  CURL* const easy = curl_easy_init();
  int used = 0;
  int moves = 0;
  ParsedUrl moved("http://10.0.0.1:8080/");
  for (int i = 0; i < 200000; ++i) {
    std::string text = pick(8) == 0 ? "" : pieces[pick(2)];
    if (pick(4) != 0) text += pick(2) == 0 ? "a.example" : "10.0.0.1:8080";
    if (pick(2) == 0) text += "/";
    for (size_t n = pick(6); n > 0; --n) text += pieces[pick(pieces.size())];
    const ParsedUrl url(text);
    curl_easy_setopt(easy, CURLOPT_URL, text.c_str());
    const CURLU* const ours = url.For(easy);
    SCOPED_TRACE(text);
    // What goes from URL to URL is what is parsed anew.
    if (moved.MoveTo(text)) {
      ++moves;
      ASSERT_EQ(ours != nullptr, IsLibcurlBefore812());
      if (ours == nullptr) continue;
      ASSERT_NE(moved.For(easy), nullptr);
      ASSERT_EQ(PartsOf(moved.For(easy)), PartsOf(ours));
    } else if (ours != nullptr && pick(10) == 0) {
      moved = ParsedUrl(text);
    }
    if (ours == nullptr) continue;
    ++used;
    CURLU* const copy = curl_url_dup(const_cast<CURLU*>(ours));
    for (const unsigned flags :
         {0u, unsigned{CURLU_PATH_AS_IS}, unsigned{CURLU_DISALLOW_USER}}) {
      CURLU* const theirs = curl_url();
      ASSERT_EQ(
          curl_url_set(theirs, CURLUPART_URL, text.c_str(),
                       CURLU_GUESS_SCHEME | CURLU_NON_SUPPORT_SCHEME | flags),
          CURLUE_OK);
      ASSERT_EQ(PartsOf(copy), PartsOf(theirs));
      curl_url_cleanup(theirs);
    }
    curl_url_cleanup(copy);
  }
  curl_easy_cleanup(easy);
  EXPECT_EQ(used > 10000, IsLibcurlBefore812());
  EXPECT_GT(moves, 1000);
}

// --- On a handle. ---

using Set = std::function<void(CURLoption, const OptionValue&)>;

// What makes a difference between a text and what was made of it. "$" is host and port
// of the server, "@@" its port, which answers for a.example and b.example as well.
struct Case {
  const char* what;
  std::string url;
  std::function<void(const Set&)> options = [](const Set&) {};
};

OptionValue Value(int64_t n) { return OptionValue::Of(n); }
OptionValue Value(const char* text) { return OptionValueOf(text); }

// One name: asked until there is no more.
CURLSTScode ReadHsts(CURL*, curl_hstsentry* entry, void*) {
  static bool told = false;
  told = !told;
  if (!told) return CURLSTS_DONE;
  std::snprintf(entry->name, entry->namelen + 1, "a.example");
  entry->expire[0] = '\0';
  return CURLSTS_OK;
}

std::vector<Case> Cases() {
  const auto follow = [](const Set& set) {
    set(CURLOPT_FOLLOWLOCATION, Value(1));
  };
  const auto digest = [](const Set& set) {
    set(CURLOPT_HTTPAUTH, Value(int64_t{CURLAUTH_DIGEST}));
    set(CURLOPT_USERPWD, Value("u:p"));
  };
  const auto proxy = [](const Set& set) {
    set(CURLOPT_PROXY, Value("http://a.example:@@"));
    set(CURLOPT_FOLLOWLOCATION, Value(1));
  };
  return {
      {"plain", "http://$/v1/x?y=1"},
      {"a name", "http://a.example:@@/x"},
      {"upper case", "http://A.EXAMPLE:@@/X"},
      {"upper-case scheme", "HTTP://a.example:@@/X"},
      {"no scheme", "a.example:@@/x"},
      {"no path", "http://$"},
      {"a fragment", "http://$/x?y#z"},
      {"an empty query", "http://$/x?"},
      {"dots", "http://$/a/./b/../c"},
      {"dots as they are", "http://$/a/./b/../c",
       [](const Set& set) { set(CURLOPT_PATH_AS_IS, Value(1)); }},
      {"escapes", "http://$/%41%2e%2E/%7e?%41"},
      {"a user", "http://u:p%40@$/x"},
      {"a user who is not allowed", "http://u:p%40@$/x",
       [](const Set& set) { set(CURLOPT_DISALLOW_USERNAME_IN_URL, Value(1)); }},
      {"a user by option", "http://$/x",
       [](const Set& set) { set(CURLOPT_USERPWD, Value("u:p")); }},
      {"a port by option", "http://a.example/x",
       [](const Set& set) { set(CURLOPT_PORT, Value("@@")); }},
      {"two ports", "http://a.example:1/x",
       [](const Set& set) { set(CURLOPT_PORT, Value("@@")); }},
      {"a redirect by a port by option", "http://a.example/relative?n=2",
       [follow](const Set& set) {
         follow(set);
         set(CURLOPT_PORT, Value("@@"));
       }},
      {"default protocol", "http://$/x",
       [](const Set& set) { set(CURLOPT_DEFAULT_PROTOCOL, Value("https")); }},
      {"default protocol of no scheme", "$/x",
       [](const Set& set) { set(CURLOPT_DEFAULT_PROTOCOL, Value("http")); }},
      {"another target", "http://$/x",
       [](const Set& set) { set(CURLOPT_REQUEST_TARGET, Value("*")); }},
      {"another host", "http://a.example:@@/x",
       [](const Set& set) {
         set(CURLOPT_CONNECT_TO, Value("a.example::b.example:"));
       }},
      {"a redirect", "http://$/a/b/relative?n=2", follow},
      {"a redirect upwards", "http://$/a/b/up?n=2", follow},
      {"a redirect by its query", "http://$/a/query?n=2", follow},
      {"a redirect elsewhere", "http://a.example:@@/elsewhere?n=2", follow},
      {"a redirect to its fragment", "http://$/fragment?n=2", follow},
      {"a redirect that is not followed", "http://$/a/up?n=2"},
      {"redirects with a referer", "http://$/a/b/relative?n=2",
       [follow](const Set& set) {
         follow(set);
         set(CURLOPT_AUTOREFERER, Value(1));
       }},
      {"redirects without end", "http://$/loop", follow},
      {"a round of authentication", "http://$/digest?x", digest},
      {"a round behind a redirect", "http://$/todigest?n=2",
       [follow, digest](const Set& set) {
         follow(set);
         digest(set);
       }},
      {"cookies", "http://a.example:@@/cookie/x",
       [](const Set& set) { set(CURLOPT_COOKIEFILE, Value("")); }},
      {"a dead connection", "http://$/dying"},
      {"a proxy", "http://b.example:80/x?y", proxy},
      {"a redirect by a proxy", "http://b.example/a/relative?n=2", proxy},
      {"a proxy that wants to know who asks", "http://b.example/proxyauth",
       [](const Set& set) {
         set(CURLOPT_PROXY, Value("http://a.example:@@"));
         set(CURLOPT_PROXYUSERPWD, Value("u:p"));
         set(CURLOPT_PROXYAUTH, Value(static_cast<int64_t>(CURLAUTH_ANY)));
       }},
      {"no proxy", "http://a.example:@@/x",
       [](const Set& set) {
         set(CURLOPT_PROXY, Value("http://127.0.0.1:1"));
         set(CURLOPT_NOPROXY, Value("a.example"));
       }},
      {"HSTS", "http://a.example:@@/x",
       [](const Set& set) {
         set(CURLOPT_HSTS_CTRL, Value(1));
         set(CURLOPT_HSTSREADFUNCTION, OptionValueOf(&ReadHsts));
       }},
      {"not this protocol", "http://$/x",
       [](const Set& set) { set(CURLOPT_PROTOCOLS_STR, Value("https")); }},
  };
}

Reply Answer(const HttpRequest& request) {
  const std::string& path = request.path;
  const auto to = [](const std::string& location) {
    return Reply::Of(302, "moved").With("Location", location);
  };
  const bool ends = !absl::StrContains(path, "n=2");
  const std::string host = request.headers.count("host") == 1
                               ? request.headers.at("host")
                               : "a.example";
  if (absl::StrContains(path, "loop")) return to("loop");
  if (absl::StrContains(path, "/digest")) {
    if (request.headers.count("authorization") == 1)
      return Reply::Of(200, "in");
    return Reply::Of(401, "who")
        .With("WWW-Authenticate", "Digest realm=\"r\", nonce=\"n\"");
  }
  if (absl::StrContains(path, "proxyauth") &&
      request.headers.count("proxy-authorization") == 0) {
    return Reply::Of(407, "who")
        .With("Proxy-Authenticate", "Digest realm=\"r\", nonce=\"n\"");
  }
  if (absl::StrContains(path, "dying")) {
    // Its connection is gone when the next request comes.
    return request.index_on_connection == 0 ? Reply::Of(200, "x")
                                            : Reply::CloseAfterRead();
  }
  if (absl::StrContains(path, "cookie")) {
    return Reply::Of(200, "x").With("Set-Cookie", "k=v");
  }
  if (ends) return Reply::Of(200, "x");
  if (absl::StrContains(path, "relative")) return to("relative2?n=1");
  if (absl::StrContains(path, "up")) return to("../up?n=1");
  if (absl::StrContains(path, "query")) return to("?n=1");
  if (absl::StrContains(path, "fragment")) return to("fragment?n=1#there");
  if (absl::StrContains(path, "todigest")) return to("/digest?n=1");
  if (absl::StrContains(path, "elsewhere")) {
    return to(absl::StrCat("http://",
                           absl::StrReplaceAll(host, {{"a.ex", "b.ex"}}),
                           "/elsewhere?n=1"));
  }
  return Reply::Of(404, "what");
}

// What a program and its server see of some transfers, without what is by chance.
struct Seen {
  std::vector<std::string> transfers;
  std::vector<std::string> arrivals;
};

// After one of them a copy of the handle goes on.
constexpr int kTransfers = 5;
constexpr int kDuplicated = 2;

class OnAHandleTest : public ::testing::Test {
 public:
  OnAHandleTest() {
    server_->SetHandler(&Answer);
    for (const char* name : {"a.example", "A.EXAMPLE", "b.example"}) {
      names_ = curl_slist_append(
          names_,
          absl::StrCat(name, ":", server_->port(), ":127.0.0.1").c_str());
    }
    connect_to_ = curl_slist_append(
        nullptr, absl::StrCat("::b.example:", server_->port()).c_str());
  }
  ~OnAHandleTest() override {
    curl_slist_free_all(names_);
    curl_slist_free_all(connect_to_);
  }

 protected:
  std::string Text(const std::string& pattern) const {
    return absl::StrReplaceAll(
        pattern, {{"$", absl::StrCat("127.0.0.1:", server_->port())},
                  {"@@", absl::StrCat(server_->port())}});
  }

  // Options of a case with the server's port in them.
  Set Filled(const Set& set) const {
    return [this, set](CURLoption option, const OptionValue& value) {
      if (option == CURLOPT_PORT) {
        set(option, Value(int64_t{server_->port()}));
      } else if (option == CURLOPT_CONNECT_TO) {
        set(option, OptionValueOf(connect_to_));
      } else if (value.pointer != nullptr) {
        set(option,
            Value(Text(static_cast<const char*>(value.pointer)).c_str()));
      } else {
        set(option, value);
      }
    };
  }

  void Prepare(const Case& c, const Set& set) const {
    set(CURLOPT_RESOLVE, OptionValueOf(names_));
    set(CURLOPT_NOSIGNAL, Value(1));
    set(CURLOPT_MAXREDIRS, Value(5));
    set(CURLOPT_URL, Value(Text(c.url).c_str()));
    c.options(Filled(set));
  }

  std::string Describe(CURL* easy, CURLcode code, const std::string& body) {
    std::string all = absl::StrCat(code, " ", body);
    for (const CURLINFO info :
         {CURLINFO_EFFECTIVE_URL, CURLINFO_REDIRECT_URL, CURLINFO_REFERER,
          CURLINFO_SCHEME, CURLINFO_PRIMARY_IP}) {
      const char* text = nullptr;
      curl_easy_getinfo(easy, info, &text);
      absl::StrAppend(&all, " ", text == nullptr ? "-" : text);
    }
    for (const CURLINFO info : {CURLINFO_RESPONSE_CODE, CURLINFO_REDIRECT_COUNT,
                                CURLINFO_NUM_CONNECTS, CURLINFO_PRIMARY_PORT}) {
      long number = 0;
      curl_easy_getinfo(easy, info, &number);
      absl::StrAppend(&all, " ", number);
    }
    return all;
  }

  std::vector<std::string> NewArrivals() {
    std::vector<std::string> all;
    const std::vector<Arrival> log = server_->log().Snapshot();
    for (; seen_ < log.size(); ++seen_) {
      const Arrival& a = log[seen_];
      all.push_back(absl::StrCat(a.method, " ", a.path));
      for (const auto& [name, value] : a.headers) {
        // A digest's client nonce is chosen at random.
        absl::StrAppend(&all.back(), "\n", name, ": ",
                        value.substr(0, value.find(", nonce")));
      }
    }
    return all;
  }

  Seen ByPlain(const Case& c) {
    CURL* easy = curl_easy_init();
    Prepare(c, [&](CURLoption option, const OptionValue& value) {
      EXPECT_EQ(Forward(easy, option, value), CURLE_OK);
    });
    Seen seen;
    for (int i = 0; i < kTransfers; ++i) {
      Sink sink;
      curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, &Sink::OnBody);
      curl_easy_setopt(easy, CURLOPT_WRITEDATA, &sink);
      const CURLcode code = curl_easy_perform(easy);
      seen.transfers.push_back(Describe(easy, code, sink.body));
      if (i != kDuplicated) continue;
      CURL* const copy = curl_easy_duphandle(easy);
      curl_easy_cleanup(easy);
      easy = copy;
    }
    curl_easy_cleanup(easy);
    seen.arrivals = NewArrivals();
    return seen;
  }

  static void Give(Handle* handle, CURLoption option,
                   const OptionValue& value) {
    CURLcode code = CURLE_OK;
    if (value.function != nullptr) {
      code = handle->SetOpt(option, value.function);
    } else if (value.pointer != nullptr) {
      code = handle->SetOpt(option, value.pointer);
    } else {
      code = handle->SetOpt(option, value.number);
    }
    EXPECT_EQ(code, CURLE_OK);
  }

  Seen ByHandle(const Case& c) {
    ClientOptions options;
    options.retry.max_attempts = 1;
    Handle handle = Handle::Create(NewClient(options));
    Prepare(c, [&](CURLoption option, const OptionValue& value) {
      Give(&handle, option, value);
    });
    Seen seen;
    for (int i = 0; i < kTransfers; ++i) {
      Sink sink;
      handle.SetOpt(CURLOPT_WRITEFUNCTION, &Sink::OnBody);
      handle.SetOpt(CURLOPT_WRITEDATA, &sink);
      const CURLcode code = handle.Perform().code;
      seen.transfers.push_back(Describe(handle.raw(), code, sink.body));
      if (i == kDuplicated) handle = handle.Duplicate();
    }
    seen.arrivals = NewArrivals();
    return seen;
  }

  const std::unique_ptr<HttpServer> server_ = StartServer();
  curl_slist* names_ = nullptr;
  curl_slist* connect_to_ = nullptr;
  size_t seen_ = 0;
};

TEST_F(OnAHandleTest, NobodyCanTell) {
  for (const Case& c : Cases()) {
    SCOPED_TRACE(c.what);
    const Seen plain = ByPlain(c);
    const Seen ours = ByHandle(c);
    EXPECT_EQ(ours.transfers, plain.transfers);
    EXPECT_EQ(ours.arrivals, plain.arrivals);
  }
}

// What the server read of a URL, over TLS and in each version of HTTP.
TEST(ParsedUrlOverTlsTest, TheServerReadsTheSame) {
  testing::Nginx::Options options;
  options.tls = true;
  options.server =
      "location / { return 200 '$server_protocol $scheme $http_host "
      "$request_uri'; }";
  const auto nginx = testing::Nginx::Start(options);
  ASSERT_TRUE(nginx.ok()) << nginx.status();
  const std::string url = (*nginx)->Url("/a/b.c?d=/e&%41");
  const std::string file = (*nginx)->CertificateFile();
  for (const long version :
       {long{CURL_HTTP_VERSION_1_1}, long{CURL_HTTP_VERSION_2TLS}}) {
    App app(NewClient(), url);
    app.curl.SetOpt(CURLOPT_CAINFO, file.c_str());
    app.curl.SetOpt(CURLOPT_HTTP_VERSION, version);
    for (int i = 0; i < 3; ++i) {
      app.sink = Sink();
      EXPECT_EQ(app.Perform().code, CURLE_OK) << app.error;
      EXPECT_EQ(app.sink.body,
                absl::StrCat(
                    version == CURL_HTTP_VERSION_1_1 ? "HTTP/1.1" : "HTTP/2.0",
                    " https 127.0.0.1:", (*nginx)->port(), " /a/b.c?d=/e&%41"));
      const char* effective = nullptr;
      curl_easy_getinfo(app.curl.raw(), CURLINFO_EFFECTIVE_URL, &effective);
      EXPECT_EQ(effective, url);
    }
  }
}

// From one call to the next, in whatever way.
TEST_F(OnAHandleTest, AnotherUrlIsAnotherUrl) {
  CURLU* const object = curl_url();
  const std::string url_of_object = server_->Url("/object");
  curl_url_set(object, CURLUPART_URL, url_of_object.c_str(), 0);
  // `raw` sets what nobody knows of. `ask` says what came of three transfers.
  const auto steps = [&](CURL* raw, const Set& set,
                         const std::function<std::string()>& ask) {
    const auto url = [&](const char* path) {
      set(CURLOPT_URL, Value(server_->Url(path).c_str()));
    };
    std::vector<std::string> all;
    url("/one");
    all.push_back(ask());
    url("/two");
    all.push_back(ask());
    url("/two");
    all.push_back(ask());
    curl_easy_setopt(raw, CURLOPT_URL, server_->Url("/three").c_str());
    all.push_back(ask());
    url("/two");
    all.push_back(ask());
    set(CURLOPT_CURLU, OptionValueOf(object));
    set(CURLOPT_CURLU, OptionValueOf(nullptr));
    all.push_back(ask());
    set(CURLOPT_CURLU, OptionValueOf(object));
    all.push_back(ask());
    set(CURLOPT_CURLU, OptionValueOf(nullptr));
    all.push_back(ask());
    url("/four");
    set(CURLOPT_CURLU, OptionValueOf(object));
    all.push_back(ask());
    set(CURLOPT_CURLU, OptionValueOf(nullptr));
    all.push_back(ask());
    return all;
  };
  const auto thrice = [&](CURL* raw, const std::function<CURLcode()>& perform) {
    return [this, raw, perform] {
      std::string all;
      for (int i = 0; i < 3; ++i) {
        const CURLcode code = perform();
        absl::StrAppend(&all, Describe(raw, code, ""), " ",
                        server_->log().Snapshot().back().path, "\n");
      }
      return all;
    };
  };
  const auto drop =
      +[](char*, size_t size, size_t n, void*) { return size * n; };

  CURL* const easy = curl_easy_init();
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, drop);
  const std::vector<std::string> plain = steps(
      easy,
      [&](CURLoption option, const OptionValue& value) {
        Forward(easy, option, value);
      },
      thrice(easy, [&] { return curl_easy_perform(easy); }));
  curl_easy_cleanup(easy);

  const std::shared_ptr<Client> client = NewClient();
  Handle handle = Handle::Create(client);
  const auto run = [&](const std::function<CURLcode()>& perform) {
    handle.SetOpt(CURLOPT_WRITEFUNCTION, drop);
    return steps(
        handle.raw(),
        [&](CURLoption option, const OptionValue& value) {
          Give(&handle, option, value);
        },
        thrice(handle.raw(), perform));
  };
  EXPECT_EQ(run([&] { return handle.Perform().code; }), plain);
  handle.Reset();
  const auto engine = std::move(*Engine::Create(client));
  EXPECT_EQ(run([&] {
              std::promise<CURLcode> code;
              engine->Start(&handle, {}, [&code](const Response& response) {
                code.set_value(response.code);
              });
              return code.get_future().get();
            }),
            plain);
  curl_url_cleanup(object);
}

}  // namespace
}  // namespace forbear::curl
