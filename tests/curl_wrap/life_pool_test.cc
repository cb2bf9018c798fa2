// Easy handles that are used for one request after the other: by the pool alone, and by
// an engine, where neither server nor application can tell them from new ones.
#include "curl_wrap/life_pool.h"

#include <curl/curl.h>

#include <cstdio>
#include <functional>
#include <future>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "curl_wrap/engine.h"
#include "curl_wrap/request.h"
#include "curl_wrap/response.h"
#include "gtest/gtest.h"
#include "tests/curl_wrap/app.h"

namespace forbear::curl {
namespace {

Request Packed(const std::string& url,
               const std::function<void(Request*)>& more = nullptr) {
  static auto* const pool = new HeaderPool;
  Request request(url);
  if (more) more(&request);
  request.Pack(pool);
  return request;
}

const char* PrivateOf(CURL* easy) {
  const char* text = nullptr;
  curl_easy_getinfo(easy, CURLINFO_PRIVATE, &text);
  return text;
}

// One that was used, and has an option that the request does not know.
CURL* Use(LifePool* pool, const Request& request, bool shown) {
  std::unique_ptr<Life> life = pool->Take(request);
  CURL* const easy = life->Open(/*plain=*/false);
  EXPECT_EQ(request.PutOn(easy, &life->own, &life->lists), CURLE_OK);
  curl_easy_setopt(easy, CURLOPT_PRIVATE, "other");
  pool->Give(std::move(life), shown);
  return easy;
}

TEST(LifePoolTest, TheSameShapeGoesOnWithTheSameOptions) {
  LifePool pool;
  CURL* const easy = Use(&pool, Packed("http://a.example/1"), false);
  ASSERT_EQ(pool.handles(), 1u);
  const std::unique_ptr<Life> life = pool.Take(Packed("http://b.example/2"));
  EXPECT_EQ(life->spare(), easy);
  EXPECT_STREQ(PrivateOf(life->spare()), "other") << "why was it reset?";
  EXPECT_EQ(pool.handles(), 0u);
}

TEST(LifePoolTest, AnotherShapeIsAReset) {
  const std::string url = "http://a.example/";
  const std::vector<std::function<void(Request*)>> others = {
      [](Request* r) { r->SetBody("b"); },
      [](Request* r) { r->AddHeader("A: b"); },
      [](Request* r) { r->SetOpt(CURLOPT_NOSIGNAL, 1L); },
      [](Request* r) { r->SetOpt(CURLOPT_NOBODY, 1L); },
      [](Request* r) { r->SetOpt(CURLOPT_USERAGENT, "b"); },
      [](Request* r) { r->SetOpt(CURLOPT_POSTFIELDS, nullptr); },
  };
  for (const auto& other : others) {
    for (const bool first : {true, false}) {
      LifePool pool;
      Use(&pool, first ? Packed(url) : Packed(url, other), false);
      const std::unique_ptr<Life> life =
          pool.Take(first ? Packed(url, other) : Packed(url));
      EXPECT_EQ(PrivateOf(life->spare()), nullptr);
      EXPECT_EQ(life->own.Method(), "GET") << "of the one before";
      EXPECT_EQ(life->own.headers, nullptr);
    }
  }
}

TEST(LifePoolTest, OneWithOtherValuesOfTheSameOptionsIsAReset) {
  LifePool pool;
  const auto agent = [](const char* name) {
    return Packed("http://a.example/",
                  [name](Request* r) { r->SetOpt(CURLOPT_USERAGENT, name); });
  };
  Use(&pool, agent("a"), false);
  EXPECT_EQ(PrivateOf(pool.Take(agent("b"))->spare()), nullptr);
}

TEST(LifePoolTest, WhatWasShownIsReset) {
  LifePool pool;
  const Request request = Packed("http://a.example/");
  Use(&pool, request, /*shown=*/true);
  const std::unique_ptr<Life> life = pool.Take(request);
  EXPECT_EQ(PrivateOf(life->spare()), nullptr);
}

TEST(LifePoolTest, OneOfTheSameShapeGoesFirst) {
  LifePool pool;
  const Request get = Packed("http://a.example/");
  const Request post =
      Packed("http://a.example/", [](Request* r) { r->SetBody("b"); });
  std::unique_ptr<Life> first = pool.Take(get);
  std::unique_ptr<Life> second = pool.Take(post);
  CURL* const of_get = first->Open(false);
  second->Open(false);
  pool.Give(std::move(first), false);
  pool.Give(std::move(second), false);
  EXPECT_EQ(pool.Take(get)->spare(), of_get);
}

TEST(LifePoolTest, OnlyPlainRequestsAreKept) {
  const std::vector<std::pair<CURLoption, const char*>> texts = {
      {CURLOPT_COOKIEFILE, ""},     {CURLOPT_COOKIELIST, "ALL"},
      {CURLOPT_USERPWD, "a:b"},     {CURLOPT_PROXY, "http://p.example"},
      {CURLOPT_HSTS, ""},           {CURLOPT_ALTSVC, ""},
      {CURLOPT_XOAUTH2_BEARER, "x"}};
  for (const auto& one : texts) {
    LifePool pool;
    Use(&pool,
        Packed("http://a.example/",
               [&](Request* r) {
                 EXPECT_EQ(r->SetOpt(one.first, one.second), CURLE_OK);
               }),
        false);
    EXPECT_EQ(pool.handles(), 0u) << one.first;
  }
  CURLSH* const share = curl_share_init();
  LifePool pool;
  Use(&pool,
      Packed("http://a.example/",
             [&](Request* r) {
               EXPECT_EQ(r->SetOpt(CURLOPT_SHARE, share), CURLE_OK);
             }),
      false);
  EXPECT_EQ(pool.handles(), 0u);
  EXPECT_EQ(curl_share_cleanup(share), CURLSHE_OK) << "still in use";
}

TEST(LifePoolTest, NorIsOneWithItsOwnCallbacks) {
  LifePool pool;
  const Request request = Packed("http://a.example/");
  std::unique_ptr<Life> life = pool.Take(request);
  EXPECT_NE(life->Open(/*plain=*/true), nullptr);
  pool.Give(std::move(life), false);
  EXPECT_EQ(pool.handles(), 0u);
}

TEST(LifePoolTest, NorIsOneThatFailed) {
  LifePool pool;
  std::unique_ptr<Life> life = pool.Take(Packed("http://a.example/"));
  EXPECT_NE(life->Open(/*plain=*/false), nullptr);
  life->Spoil();
  pool.Give(std::move(life), false);
  EXPECT_EQ(pool.handles(), 0u);
}

TEST(LifePoolTest, ItIsBounded) {
  LifePool pool;
  const Request request = Packed("http://a.example/");
  std::vector<std::unique_ptr<Life>> lives;
  for (size_t i = 0; i < LifePool::kMax + 10; ++i) {
    lives.push_back(pool.Take(request));
    lives.back()->Open(false);
  }
  for (std::unique_ptr<Life>& life : lives) pool.Give(std::move(life), false);
  EXPECT_EQ(pool.handles(), LifePool::kMax);
}

// --- In an engine. ---

// Some options, in any order; they may contradict each other.
Request RandomRequest(const std::string& url, std::mt19937* random) {
  const auto one_of = [&](int n) {
    return std::uniform_int_distribution<int>(0, n - 1)(*random);
  };
  Request request(absl::StrCat(url, "/", one_of(1000)));
  for (int i = one_of(5); i > 0; --i) {
    const std::string text = absl::StrCat("v", one_of(3));
    switch (one_of(13)) {
      case 0:
        request.AddHeader(absl::StrCat("X-", one_of(3), ": ", text));
        break;
      case 1:
      case 2:
        request.SetBody(std::string(static_cast<size_t>(one_of(40)), 'b'));
        break;
      case 3:
        request.SetOpt(CURLOPT_USERAGENT, text.c_str());
        break;
      case 4:
        request.SetOpt(CURLOPT_CUSTOMREQUEST, one_of(2) != 0 ? "PUT" : "PATCH");
        break;
      case 5:
        request.SetOpt(CURLOPT_HTTPGET, 1L);
        break;
      case 6:
        request.SetOpt(CURLOPT_NOBODY, static_cast<long>(one_of(2)));
        break;
      case 7:
        request.SetOpt(CURLOPT_ACCEPT_ENCODING, "identity");
        break;
      case 8:
        request.SetOpt(CURLOPT_COOKIE, absl::StrCat("c=", text).c_str());
        break;
      case 9:
        request.SetOpt(CURLOPT_COOKIEFILE, "");
        break;
      case 10:
        request.SetOpt(CURLOPT_USERPWD, absl::StrCat("u:", text).c_str());
        break;
      case 11:
        request.SetOpt(CURLOPT_RANGE, "0-1");
        break;
      default:
        request.SetOpt(CURLOPT_HTTP_VERSION, one_of(2) != 0
                                                 ? CURL_HTTP_VERSION_1_0
                                                 : CURL_HTTP_VERSION_1_1);
        break;
    }
  }
  return request;
}

size_t Nothing(char*, size_t size, size_t n, void*) { return size * n; }

// What the server sees of each is what it sees of one on a new handle.
TEST(LifePoolTest, NoServerCanTell) {
  const unsigned seed = std::random_device()();
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  const std::unique_ptr<HttpServer> server = StartServer();
  server->Script({Reply::Of(200, "body").With("Set-Cookie", "left=behind")});
  EngineOptions options;
  options.max_in_flight = 1;  // the same handle, if it can be
  const auto engine = *Engine::Create(NewClient(), options);
  std::vector<Request> requests;
  for (int i = 0; i < 300; ++i) {
    const Request request = RandomRequest(server->Url(), &random);
    requests.push_back(request);
    CallOptions call = Within(absl::Seconds(20));
    call.enabled = i % 7 != 0;
    if (i % 3 == 0) {
      // The application does what it should not.
      std::promise<void> over;
      engine->Start(request, call, [&](const Response& response) {
        curl_easy_setopt(response.easy, CURLOPT_USERAGENT, "left");
        curl_easy_setopt(response.easy, CURLOPT_USERPWD, "left:behind");
        curl_easy_setopt(response.easy, CURLOPT_COOKIE, "left=behind");
        over.set_value();
      });
      over.get_future().wait();
    } else {
      EXPECT_EQ(engine->Send(request, call).get().http_status, 200) << i;
    }
  }
  for (const Request& request : requests) {
    CURL* const easy = curl_easy_init();
    Request::Lists lists;
    ASSERT_EQ(request.PutOn(easy, nullptr, &lists), CURLE_OK);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, &Nothing);
    EXPECT_EQ(curl_easy_perform(easy), CURLE_OK);
    curl_easy_cleanup(easy);
  }
  const std::vector<Arrival> arrivals = server->log().Snapshot();
  ASSERT_EQ(arrivals.size(), 2 * requests.size());
  for (size_t i = 0; i < requests.size(); ++i) {
    const Arrival& ours = arrivals[i];
    const Arrival& new_one = arrivals[requests.size() + i];
    EXPECT_EQ(ours.method, new_one.method) << i;
    EXPECT_EQ(ours.path, new_one.path) << i;
    EXPECT_EQ(ours.headers, new_one.headers) << i;
    EXPECT_EQ(ours.body, new_one.body) << i;
  }
}

// Of one shape, but whose answers go to different places.
TEST(LifePoolTest, AnswersGoWhereTheyBelong) {
  const std::unique_ptr<HttpServer> server = StartServer();
  server->Script({Reply::Of(200, "body")});
  EngineOptions options;
  options.max_in_flight = 1;
  const auto engine = *Engine::Create(NewClient(), options);
  FILE* const file = tmpfile();
  ASSERT_NE(file, nullptr);
  for (int i = 0; i < 3; ++i) {
    for (FILE* const to : {stdout, file}) {
      Request request(server->Url());
      request.SetOpt(CURLOPT_WRITEDATA, to);
      const Response response =
          engine->Send(std::move(request), Within(absl::Seconds(20))).get();
      EXPECT_EQ(response.code, CURLE_OK);
      EXPECT_EQ(response.body, to == stdout ? "body" : "");
      EXPECT_NE(response.head, "");
    }
    EXPECT_EQ(ftell(file), 4 * (i + 1));
  }
  fclose(file);
}

TEST(LifePoolTest, HeadsGoWhereTheyBelong) {
  const std::unique_ptr<HttpServer> server = StartServer();
  server->Script({Reply::Of(200, "body")});
  EngineOptions options;
  options.max_in_flight = 1;
  const auto engine = *Engine::Create(NewClient(), options);
  for (int i = 0; i < 3; ++i) {
    FILE* const file = tmpfile();
    ASSERT_NE(file, nullptr);
    for (FILE* const to : {static_cast<FILE*>(nullptr), file}) {
      Request request(server->Url());
      request.SetOpt(CURLOPT_HEADERDATA, to);
      CallOptions call = Within(absl::Seconds(20));
      call.enabled = i != 1;
      const Response response = engine->Send(std::move(request), call).get();
      EXPECT_EQ(response.code, CURLE_OK);
      EXPECT_EQ(response.body, "body");
      EXPECT_EQ(response.head.empty(), to == file);
    }
    EXPECT_GT(ftell(file), 20);
    fclose(file);
  }
}

// A refusal's body and head are not those of the request that comes after.
TEST(LifePoolTest, NothingIsLeftOfAnAnswer) {
  const std::unique_ptr<HttpServer> server = StartServer();
  server->Script({Reply::Of(503, "bad"), Reply::Of(200, "one"),
                  Reply::Of(404, "two"), Reply::Of(200, "three")});
  EngineOptions options;
  options.max_in_flight = 1;
  options.max_kept = 0;
  const auto engine = *Engine::Create(NewClient(), options);
  for (const char* body : {"one", "two", "three"}) {
    const Response response =
        engine->Send(Request(server->Url()), Within(absl::Seconds(20))).get();
    EXPECT_EQ(response.body, body);
    EXPECT_EQ(response.head.find("HTTP/"), response.head.rfind("HTTP/"));
  }
}

// The application had its handle, and may look at what it says.
TEST(LifePoolTest, DoneSeesTheHandle) {
  const std::unique_ptr<HttpServer> server = StartServer();
  server->Script({Reply::Of(200, "body")});
  const auto engine = *Engine::Create(NewClient(), {});
  for (int i = 0; i < 3; ++i) {
    const std::string url = server->Url(absl::StrCat("/", i));
    std::promise<std::string> seen;
    engine->Start(
        Request(url), Within(absl::Seconds(20)), [&](const Response& response) {
          const char* text = nullptr;
          curl_easy_getinfo(response.easy, CURLINFO_EFFECTIVE_URL, &text);
          seen.set_value(text == nullptr ? "" : text);
        });
    EXPECT_EQ(seen.get_future().get(), url);
  }
  EXPECT_EQ(engine->Send(Request(server->Url()), Within(absl::Seconds(20)))
                .get()
                .easy,
            nullptr);
}

}  // namespace
}  // namespace forbear::curl
