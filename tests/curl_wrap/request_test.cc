// Requests beside easy handles that were given the same options: a server must not be
// able to tell them apart. And what a Request cannot hold, which is never sent in part.
#include "curl_wrap/request.h"

#include <curl/curl.h>
#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <iterator>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "core/stop_reason.h"
#include "curl_wrap/call_options.h"
#include "curl_wrap/easy_options.h"
#include "curl_wrap/engine.h"
#include "curl_wrap/response.h"
#include "gtest/gtest.h"
#include "tests/curl_wrap/app.h"
#include "tests/testing/certificate.h"
#include "tests/testing/nginx.h"

namespace forbear::curl {
namespace {

using testing::Nginx;

size_t NoBytes(char*, size_t, size_t, void*) { return 0; }
size_t Ignore(char*, size_t size, size_t n, void*) { return size * n; }

// An option with a number, or with a text.
struct Step {
  CURLoption option;
  int64_t number;
  const char* text;

  bool is_text() const {
    return option >= CURLOPTTYPE_OBJECTPOINT &&
           option < CURLOPTTYPE_FUNCTIONPOINT;
  }
  CURLcode On(CURL* easy) const {
    if (is_text()) return curl_easy_setopt(easy, option, text);
    if (option >= CURLOPTTYPE_OFF_T) {
      return curl_easy_setopt(easy, option, static_cast<curl_off_t>(number));
    }
    return curl_easy_setopt(easy, option, static_cast<long>(number));
  }
  CURLcode On(Request* request) const {
    return is_text() ? request->SetOpt(option, text)
                     : request->SetOpt(option, number);
  }
};

Step Fields(const char* text) { return {CURLOPT_POSTFIELDS, 0, text}; }
Step Copied(const char* text) { return {CURLOPT_COPYPOSTFIELDS, 0, text}; }
Step Size(int64_t n) { return {CURLOPT_POSTFIELDSIZE, n, nullptr}; }
Step Large(int64_t n) { return {CURLOPT_POSTFIELDSIZE_LARGE, n, nullptr}; }

std::string NameOf(const std::vector<Step>& steps) {
  std::string name;
  for (const Step& step : steps) {
    absl::StrAppend(&name, step.option, "=",
                    step.text != nullptr ? step.text : "", step.number, " ");
  }
  return name;
}

// 2 GB of which no byte may be read.
class Untouchable {
 public:
  static constexpr size_t kSize = size_t{1} << 31;

  Untouchable()
      : at_(mmap(nullptr, kSize, PROT_NONE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)) {}
  ~Untouchable() { munmap(at_, kSize); }
  Untouchable(const Untouchable&) = delete;
  Untouchable& operator=(const Untouchable&) = delete;

  bool is_there() const { return at_ != MAP_FAILED; }
  absl::string_view view() const {
    return {static_cast<const char*>(at_), kSize};
  }

 private:
  void* const at_;
};

class List {
 public:
  explicit List(const std::vector<std::string>& lines) {
    for (const std::string& line : lines) {
      first_ = curl_slist_append(first_, line.c_str());
    }
  }
  ~List() { curl_slist_free_all(first_); }
  List(const List&) = delete;
  List& operator=(const List&) = delete;
  curl_slist* get() const { return first_; }

 private:
  curl_slist* first_ = nullptr;
};

class RequestTest : public ::testing::Test {
 protected:
  Request New() const { return Request(server_->Url("/x")); }

  // What libcurl is told of it, or why it is not.
  static CURLcode CodeOf(const Request& request) {
    CURL* const easy = curl_easy_init();
    Request::Lists lists;
    EasyOptions settings(/*fresh=*/true);
    const CURLcode code = request.PutOn(easy, &settings, &lists);
    EXPECT_EQ(request.PutOn(nullptr, nullptr, &lists), code);
    curl_easy_cleanup(easy);
    return code;
  }

  // What the server gets of it, and of a handle.
  Arrival Sent(const Request& request) {
    CURL* const easy = curl_easy_init();
    Request::Lists lists;
    EXPECT_EQ(request.PutOn(easy, nullptr, &lists), CURLE_OK);
    return PerformOnce(easy);
  }
  Arrival Sent(const std::function<void(CURL*)>& set) {
    // A new one each time: a reset would leave it its cookies.
    CURL* const easy = curl_easy_init();
    curl_easy_setopt(easy, CURLOPT_URL, server_->Url("/x").c_str());
    set(easy);
    return PerformOnce(easy);
  }
  void ExpectSame(const Request& request,
                  const std::function<void(CURL*)>& set) {
    const Arrival ours = Sent(request);
    const Arrival theirs = Sent(set);
    EXPECT_EQ(ours.method, theirs.method);
    EXPECT_EQ(ours.path, theirs.path);
    EXPECT_EQ(ours.headers, theirs.headers);
    EXPECT_EQ(ours.body, theirs.body);
  }
  void ExpectSame(const std::vector<Step>& steps) {
    Request request = New();
    for (const Step& step : steps) EXPECT_EQ(step.On(&request), CURLE_OK);
    ExpectSame(request, [&](CURL* easy) {
      for (const Step& step : steps) EXPECT_EQ(step.On(easy), CURLE_OK);
    });
  }

  // It fails with this code, and nothing goes out.
  void ExpectRefused(const Request& request, CURLcode code) {
    EXPECT_EQ(CodeOf(request), code);
    const int64_t before = server_->log().Count();
    for (const bool enabled : {true, false}) {
      CallOptions call = Within(absl::Seconds(20));
      call.enabled = enabled;
      const Response response = engine_->Send(request, call).get();
      EXPECT_EQ(response.code, code);
      EXPECT_EQ(response.stop_reason, StopReason::kPermanentError);
    }
    EXPECT_EQ(server_->log().Count(), before);
  }

  const std::unique_ptr<HttpServer> server_ = StartServer();
  const std::unique_ptr<Engine> engine_ = *Engine::Create(NewClient(), {});

 private:
  Arrival PerformOnce(CURL* easy) {
    curl_easy_setopt(easy, CURLOPT_READFUNCTION, &NoBytes);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, &Ignore);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT, 20L);
    EXPECT_EQ(curl_easy_perform(easy), CURLE_OK);
    curl_easy_cleanup(easy);
    return server_->log().Snapshot().back();
  }
};

// --- Bodies. ---

TEST_F(RequestTest, FieldsAndTheirSize) {
  const std::vector<std::vector<Step>> all = {
      {Fields("a=1")},
      {Copied("a=1")},
      {Fields("")},
      {Fields(""), Size(0)},
      {Size(0), Fields("a=1")},
      {Size(-1), Fields("a=1")},
      {Large(-1), Copied("a=1")},
      {Fields("a=1"), Size(-1)},
      {Copied("a=1"), Large(-1)},
      {Size(2), Fields("a=1")},
      {Large(2), Copied("a=1")},
      {Fields("a=1"), Size(2)},
      {Fields("a=1"), Large(3)},
      {Fields("a=1"), Size(4)},  // with its NUL
      {Size(3), Fields("a\0b")},
      {Large(3), Copied("a\0b")},
      {Size(3), Fields("a\0b"), Size(-1)},
      {Fields("a\0b"), Size(1)},
      // The last one counts.
      {Fields("a=1"), Size(2), Size(3)},
      {Fields("a=1"), Size(2), Size(-1)},
      {Fields("a=1"), Size(0), Large(2)},
      {Size(3), Fields("a=1"), Size(1), Size(2)},
      // One body after the other.
      {Fields("first"), Fields("a=1")},
      {Size(2), Fields("a=1"), Size(5), Fields("b\0c=2")},
      {Size(2), Copied("a=1"), Large(5), Copied("b\0c=2")},
      {Size(2), Fields("a=1"), Size(-1), Fields("longer")},
      {Fields("a=1"), Size(7), Fields("the sev")},
      // A body is not what says the method, if something else did later.
      {Fields("a=1"), {CURLOPT_HTTPGET, 1, nullptr}, Size(2)},
  };
  for (std::vector<Step> steps : all) {
    SCOPED_TRACE(NameOf(steps));
    ExpectSame(steps);
    // Whatever comes next in memory.
    steps.push_back({CURLOPT_TIMEOUT_MS, 20000, nullptr});
    steps.push_back({CURLOPT_USERAGENT, 0, "next"});
    ExpectSame(steps);
  }
}

// Only what was copied is there. libcurl reads the application's bytes a second time.
TEST_F(RequestTest, AfterABodyOfASizeUpToANulIsUpToItsEnd) {
  Request request = New();
  for (const Step& step : {Size(2), Fields("a=1"), Size(-1)}) {
    EXPECT_EQ(step.On(&request), CURLE_OK);
  }
  request.AddHeader("X-A: 1");
  EXPECT_EQ(Sent(request).body, "a=");
}

TEST_F(RequestTest, MoreThanWasCopiedIsRefused) {
  for (const std::vector<Step>& steps : std::vector<std::vector<Step>>{
           {Fields("a\0b"), Size(3)},
           {Copied("a=1"), Large(5)},
           {Size(2), Fields("a=1"), Size(3)},
           {Size(2), Fields("a=1"), Size(3), Size(1)}}) {
    SCOPED_TRACE(NameOf(steps));
    Request request = New();
    for (const Step& step : steps) EXPECT_EQ(step.On(&request), CURLE_OK);
    ExpectRefused(request, CURLE_BAD_FUNCTION_ARGUMENT);
    request.SetBody("mended");
    EXPECT_EQ(Sent(request).body, "mended");
  }
}

TEST_F(RequestTest, ASizeThatIsNone) {
  Request request = New();
  EXPECT_EQ(request.SetOpt(CURLOPT_POSTFIELDS, "a=1"), CURLE_OK);
  EXPECT_EQ(request.SetOpt(CURLOPT_POSTFIELDSIZE, -2L),
            CURLE_BAD_FUNCTION_ARGUMENT);
  EXPECT_EQ(request.SetOpt(CURLOPT_POSTFIELDSIZE_LARGE, curl_off_t{-2}),
            CURLE_BAD_FUNCTION_ARGUMENT);
  EXPECT_EQ(Sent(request).body, "a=1");
}

// The size of SetBody is of this body only.
TEST_F(RequestTest, FieldsAfterSetBody) {
  Request request = New();
  request.SetBody(std::string(1000, 'x'));
  EXPECT_EQ(request.SetOpt(CURLOPT_POSTFIELDS, "a=1"), CURLE_OK);
  EXPECT_EQ(Sent(request).body, "a=1");
  request.SetOpt(CURLOPT_POSTFIELDSIZE, 2L);
  EXPECT_EQ(Sent(request).body, "a=");
  request.SetBody("b\0c=2");
  EXPECT_EQ(Sent(request).body, "b");
  request.SetBody(absl::string_view("b\0c=2", 5));
  EXPECT_EQ(Sent(request).body, absl::string_view("b\0c=2", 5));
  request.SetOpt(CURLOPT_POSTFIELDSIZE, 3L);
  EXPECT_EQ(Sent(request).body, absl::string_view("b\0c", 3));
  request.SetBody({});
  const Arrival last = Sent(request);
  EXPECT_EQ(last.method, "POST");
  EXPECT_EQ(last.headers.at("content-length"), "0");
}

TEST_F(RequestTest, ABodyThatIsTooLarge) {
  const Untouchable large;
  ASSERT_TRUE(large.is_there());
  Request request = New();
  request.SetBody("abc");
  request.SetBody(large.view());
  ExpectRefused(request, CURLE_BAD_FUNCTION_ARGUMENT);
  request.SetBody("abc");
  EXPECT_EQ(Sent(request).body, "abc");

  for (const CURLoption option : {CURLOPT_POSTFIELDS, CURLOPT_COPYPOSTFIELDS}) {
    for (const bool had_one : {true, false}) {
      Request other = New();
      if (had_one) other.SetBody("abc");
      EXPECT_EQ(other.SetOpt(CURLOPT_POSTFIELDSIZE_LARGE,
                             static_cast<curl_off_t>(large.view().size())),
                CURLE_OK);
      EXPECT_EQ(other.SetOpt(option, large.view().data()),
                CURLE_BAD_FUNCTION_ARGUMENT);
      ExpectRefused(other, CURLE_BAD_FUNCTION_ARGUMENT);
    }
  }
}

// All that says of which method a request is, in any order.
TEST_F(RequestTest, TheMethodIsThatOfAHandle) {
  const Step steps[] = {
      {CURLOPT_HTTPGET, 1, nullptr},       {CURLOPT_HTTPGET, 0, nullptr},
      {CURLOPT_POST, 1, nullptr},          {CURLOPT_POST, 0, nullptr},
      {CURLOPT_NOBODY, 1, nullptr},        {CURLOPT_NOBODY, 0, nullptr},
      {CURLOPT_UPLOAD, 1, nullptr},        {CURLOPT_UPLOAD, 0, nullptr},
      {CURLOPT_POSTFIELDS, 0, "x"},        {CURLOPT_COPYPOSTFIELDS, 0, "y"},
      {CURLOPT_POSTFIELDS, 0, nullptr},    {CURLOPT_CUSTOMREQUEST, 0, "PATCH"},
      {CURLOPT_CUSTOMREQUEST, 0, nullptr},
  };
  const unsigned seed = std::random_device()();
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  for (int i = 0; i < 500 && !HasFailure(); ++i) {
    std::vector<Step> some;
    for (size_t n = random() % 6 + 1; n > 0; --n) {
      some.push_back(steps[random() % std::size(steps)]);
    }
    SCOPED_TRACE(NameOf(some));
    ExpectSame(some);
  }
}

// --- Lines of HTTPHEADER. ---

TEST_F(RequestTest, ALineThatWouldBeSeveral) {
  const std::vector<absl::string_view> lines = {
      absl::string_view("X-A: 1\0X-B: 2\0X-C: 3", 20),
      absl::string_view("X-A: 1\0", 7),
      absl::string_view("\0", 1),
      "X-A: 1\r\nX-B: 2",
      "X-A: 1\nX-B: 2",
      "X-A: 1\r",
      "X-A: 1\r\n",
  };
  for (const absl::string_view line : lines) {
    SCOPED_TRACE(line);
    Request request = New();
    request.AddHeader("X-Good: 1");
    request.AddHeader(line);
    request.AddHeader("X-Good-Too: 1");
    ExpectRefused(request, CURLE_BAD_FUNCTION_ARGUMENT);
    // All lines anew.
    const List list({"X-List: 1"});
    EXPECT_EQ(request.SetOpt(CURLOPT_HTTPHEADER, list.get()), CURLE_OK);
    request.AddHeader("X-New: 1");
    const Arrival sent = Sent(request);
    EXPECT_EQ(sent.headers.count("x-good"), 0u);
    EXPECT_EQ(sent.headers.at("x-list"), "1");
    EXPECT_EQ(sent.headers.at("x-new"), "1");
  }
}

TEST_F(RequestTest, ALineAfterItWasPacked) {
  HeaderPool pool;
  Request request = New();
  request.AddHeader("X-Good: 1");
  request.Pack(&pool);
  const Request before = request;
  request.AddHeader("X-A: 1\r\nX-B: 2");
  ExpectRefused(request, CURLE_BAD_FUNCTION_ARGUMENT);
  request.Pack(&pool);
  ExpectRefused(request, CURLE_BAD_FUNCTION_ARGUMENT);
  EXPECT_EQ(Sent(before).headers.at("x-good"), "1");
}

TEST_F(RequestTest, ALineThatIsTooLong) {
  const Untouchable large;
  ASSERT_TRUE(large.is_there());
  Request request = New();
  request.AddHeader(large.view());
  ExpectRefused(request, CURLE_BAD_FUNCTION_ARGUMENT);
}

// What libcurl has a meaning for.
TEST_F(RequestTest, LinesWithoutAValue) {
  const std::vector<std::string> lines = {"", "X-None;", "Accept:", "no colon",
                                          "X-A: 1"};
  Request request = New();
  for (const std::string& line : lines) request.AddHeader(line);
  const List list(lines);
  ExpectSame(request, [&](CURL* easy) {
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, list.get());
  });
}

// No more nodes than there are lines, however often they were set.
TEST_F(RequestTest, ListsThatAreReplaced) {
  HeaderPool pool;
  Request request = New();
  for (int i = 0; i < 1000; ++i) {
    const List headers({"X-A: 1", "X-B: 2", absl::StrCat("X-C: ", i)});
    const List to({"a.example:80:127.0.0.1:1", "b.example:80:127.0.0.1:1"});
    ASSERT_EQ(request.SetOpt(CURLOPT_HTTPHEADER, headers.get()), CURLE_OK);
    ASSERT_EQ(request.SetOpt(CURLOPT_CONNECT_TO, to.get()), CURLE_OK);
    if (i % 3 == 0) request.Pack(&pool);
    request.AddHeader("X-D: 4");
    if (i % 5 == 0) request.SetOpt(CURLOPT_HTTPHEADER, nullptr);
  }
  Request::Lists lists;
  CURL* const easy = curl_easy_init();
  EXPECT_EQ(request.PutOn(easy, nullptr, &lists), CURLE_OK);
  curl_easy_cleanup(easy);
  EXPECT_EQ(lists.size(), 6u);
  EXPECT_EQ(lists.capacity(), 6u);
  const Arrival sent = Sent(request);
  EXPECT_EQ(sent.headers.at("x-a"), "1");
  EXPECT_EQ(sent.headers.at("x-c"), "999");
  EXPECT_EQ(sent.headers.at("x-d"), "4");
}

// --- Other options. ---

TEST_F(RequestTest, AUrlThatWouldBeAnother) {
  const std::string url = server_->Url("/x");
  ExpectRefused(Request(url + std::string("\0.example/", 10)),
                CURLE_URL_MALFORMAT);
  const Untouchable large;
  ASSERT_TRUE(large.is_there());
  Request request(large.view());
  ExpectRefused(request, CURLE_URL_MALFORMAT);
  EXPECT_EQ(request.SetOpt(CURLOPT_URL, url.c_str()), CURLE_OK);
  EXPECT_EQ(Sent(request).path, "/x");
}

// libcurl adds them up.
TEST_F(RequestTest, Cookies) {
  const auto file = [](const char* name) {
    std::string path = absl::StrCat(std::getenv("TEST_TMPDIR"), "/", name);
    std::ofstream(path) << "127.0.0.1\tFALSE\t/\tFALSE\t0\t" << name << "\t1\n";
    return path;
  };
  const std::string first = file("first");
  const std::string second = file("second");
  const Step a = {CURLOPT_COOKIELIST, 0, "Set-Cookie: a=1"};
  const Step b = {CURLOPT_COOKIELIST, 0, "Set-Cookie: b=2"};
  const Step all = {CURLOPT_COOKIELIST, 0, "ALL"};
  const Step of_first = {CURLOPT_COOKIEFILE, 0, first.c_str()};
  const Step of_second = {CURLOPT_COOKIEFILE, 0, second.c_str()};
  const Step no_files = {CURLOPT_COOKIEFILE, 0, nullptr};
  for (const std::vector<Step>& steps :
       std::vector<std::vector<Step>>{{a, b},
                                      {a, all, b},
                                      {of_first, of_second},
                                      {of_first, no_files, of_second},
                                      {a, of_first, b, of_second}}) {
    SCOPED_TRACE(NameOf(steps));
    ExpectSame(steps);
    // They do say something.
    Request request = New();
    for (const Step& step : steps) step.On(&request);
    EXPECT_EQ(Sent(request).headers.count("cookie"), 1u);
  }
}

// Of each kind of value: nothing of the application's is read afterwards, and NULL is
// the default again.
TEST_F(RequestTest, EverythingIsCopied) {
  Request request = New();
  {
    std::string agent = "agent";
    std::string body = "a=1";
    const auto list = std::make_unique<const List>(
        std::vector<std::string>{"X-A: 1", "X-B: 2"});
    request.SetOpt(CURLOPT_USERAGENT, agent.c_str());
    request.SetOpt(CURLOPT_HTTPHEADER, list->get());
    request.SetOpt(CURLOPT_POSTFIELDS, body.c_str());
    agent.assign(agent.size(), '?');
    body.assign(body.size(), '?');
  }
  const Request copy = request;
  Request moved = request;
  const Request last = std::move(moved);
  request.SetOpt(CURLOPT_USERAGENT, nullptr);
  request.SetOpt(CURLOPT_HTTPHEADER, nullptr);
  request.SetOpt(CURLOPT_HTTPGET, 1L);
  for (const Request& one : {copy, last}) {
    const Arrival sent = Sent(one);
    EXPECT_EQ(sent.headers.at("user-agent"), "agent");
    EXPECT_EQ(sent.headers.at("x-a"), "1");
    EXPECT_EQ(sent.headers.at("x-b"), "2");
    EXPECT_EQ(sent.body, "a=1");
  }
  const Arrival reset = Sent(request);
  EXPECT_EQ(reset.method, "GET");
  EXPECT_EQ(reset.headers.count("user-agent"), 0u);
  EXPECT_EQ(reset.headers.count("x-a"), 0u);
}

TEST_F(RequestTest, BlobsAreCopied) {
  Nginx::Options options;
  options.tls = true;
  options.server = "location / { return 200 ok; }";
  const auto nginx = *Nginx::Start(options);
  Request request(nginx->Url("/"));
  {
    std::string pem = testing::kCertificate;
    curl_blob blob = {};
    blob.data = &pem[0];
    blob.len = pem.size();
    blob.flags = CURL_BLOB_NOCOPY;
    ASSERT_EQ(request.SetOpt(CURLOPT_CAINFO_BLOB, &blob), CURLE_OK);
    pem.assign(pem.size(), '?');
  }
  EXPECT_EQ(engine_->Send(request, Within(absl::Seconds(20))).get().body, "ok");
  const Untouchable large;
  ASSERT_TRUE(large.is_there());
  curl_blob blob = {};
  blob.data = const_cast<char*>(large.view().data());
  blob.len = large.view().size();
  EXPECT_EQ(request.SetOpt(CURLOPT_CAINFO_BLOB, &blob),
            CURLE_BAD_FUNCTION_ARGUMENT);
  EXPECT_EQ(engine_->Send(request, Within(absl::Seconds(20))).get().body, "ok");
  request.SetOpt(CURLOPT_CAINFO_BLOB, nullptr);
  EXPECT_EQ(engine_->Send(request, Within(absl::Seconds(20))).get().code,
            CURLE_PEER_FAILED_VERIFICATION);
}

}  // namespace
}  // namespace forbear::curl
