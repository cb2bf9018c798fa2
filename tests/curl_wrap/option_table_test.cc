// The table of options: against the installed libcurl, against what the code does, and
// against the guide. `bazel run //tests/curl_wrap:option_table_test` writes the guide.
#include "curl_wrap/option_table.h"

#include <curl/curl.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "curl_wrap/easy_options.h"
#include "curl_wrap/handle.h"
#include "gtest/gtest.h"

namespace forbear::curl {
namespace {

// The options of the installed libcurl, without the other names that some have.
std::vector<const curl_easyoption*> Installed() {
  std::vector<const curl_easyoption*> all;
  for (const curl_easyoption* o = curl_easy_option_next(nullptr); o != nullptr;
       o = curl_easy_option_next(o)) {
    if ((o->flags & CURLOT_FLAG_ALIAS) == 0) all.push_back(o);
  }
  return all;
}

TEST(OptionTableTest, EachOptionOfLibcurlIsClassified) {
  const auto installed = Installed();
  EXPECT_GE(installed.size(), 300u);
  for (const curl_easyoption* o : installed) {
    EXPECT_NE(FindOption(o->name), nullptr)
        << "CURLOPT_" << o->name
        << " is new: say in curl_wrap/option_table.cc what becomes of it";
  }
}

TEST(OptionTableTest, NothingIsThereTwiceOrUnknown) {
  std::set<absl::string_view> names;
  for (const OptionFact& fact : AllOptions()) {
    EXPECT_TRUE(names.insert(fact.name).second) << fact.name;
    // libcurl drops no option; an older one has fewer.
    if (LIBCURL_VERSION_NUM >= 0x075800) {
      EXPECT_NE(curl_easy_option_by_name(std::string(fact.name).c_str()),
                nullptr)
          << fact.name;
    }
    if (fact.role != OptionRole::kForwarded &&
        fact.role != OptionRole::kOtherProtocol) {
      EXPECT_NE(fact.note, "") << fact.name;
    }
  }
}

TEST(OptionTableTest, WhatIsReplacedIsWhatTheCodeReplaces) {
  for (const curl_easyoption* o : Installed()) {
    const OptionFact* const fact = FindOption(o->name);
    if (fact == nullptr) continue;
    EXPECT_EQ(fact->role == OptionRole::kReplaced,
              EasyOptions::IsReplaced(o->id))
        << o->name;
  }
}

// What is read can be seen: the method, the body, whose call it is, …
TEST(OptionTableTest, WhatIsNotedChangesWhatIsKnown) {
  const auto known = [](const EasyOptions& o) {
    return absl::StrCat(
        o.Method(), "|", static_cast<int>(o.body()), "|", o.credential() != 0,
        "|", o.ConnectOnly(), "|", o.url, "|", o.port, "|", o.curlu != nullptr,
        "|", o.default_protocol, "|", o.resumes, "|", o.headers != nullptr, "|",
        o.error_buffer != nullptr, "|", o.negotiates(), "|", o.has_trailers);
  };
  static char text[] = "PATCH";
  for (const curl_easyoption* o : Installed()) {
    const OptionFact* const fact = FindOption(o->name);
    if (fact == nullptr || fact->role == OptionRole::kReplaced) continue;
    SCOPED_TRACE(o->name);
    // Of a set of bits, all of these.
    OptionValue value = OptionValue::Of(int64_t{3});
    if (o->type != CURLOT_LONG && o->type != CURLOT_VALUES &&
        o->type != CURLOT_OFF_T) {
      value = OptionValue::Of(static_cast<const void*>(text));
    }
    if (o->type == CURLOT_FUNCTION) {
      value = OptionValue::Of(OptionValue::Function{+[] {}});
    }
    bool changes = false;
    // HTTPGET says something after a POST only.
    for (const bool post : {false, true}) {
      EasyOptions before(/*fresh=*/true);
      if (post) before.Note(CURLOPT_POST, OptionValue::Of(int64_t{1}));
      EasyOptions after = before;
      after.Note(o->id, value);
      changes = changes || known(after) != known(before);
    }
    EXPECT_EQ(changes, fact->role == OptionRole::kNoted);
  }
}

// What both say to an option, each on a handle of its own.
class TakesWhatLibcurlTakes {
 public:
  template <typename T>
  void Check(const curl_easyoption& o, const char* what, T value) {
    CURL* const plain = curl_easy_init();
    const CURLcode theirs = curl_easy_setopt(plain, o.id, value);
    {
      Handle handle = Handle::Create();
      EXPECT_EQ(handle.SetOpt(o.id, value), theirs) << o.name << " = " << what;
    }
    curl_easy_cleanup(plain);
    theirs == CURLE_OK ? ++taken_ : ++refused_;
  }
  void CheckNull(const curl_easyoption& o) {
    CURL* const plain = curl_easy_init();
    const CURLcode theirs =
        curl_easy_setopt(plain, o.id, static_cast<void*>(nullptr));
    {
      Handle handle = Handle::Create();
      EXPECT_EQ(handle.SetOpt(o.id, nullptr), theirs) << o.name << " = NULL";
    }
    curl_easy_cleanup(plain);
    theirs == CURLE_OK ? ++taken_ : ++refused_;
  }

  int taken() const { return taken_; }
  int refused() const { return refused_; }

 private:
  int taken_ = 0;
  int refused_ = 0;
};

// A Handle takes whatever libcurl takes, and refuses what it refuses.
TEST(OptionTableTest, NoOptionIsRefused) {
  curl_slist* const list = curl_slist_append(nullptr, "Name: value");
  static char bytes[] = "bytes";
  curl_blob blob = {&bytes[0], sizeof(bytes), CURL_BLOB_COPY};
  TakesWhatLibcurlTakes both;
  size_t options = 0;
  for (const curl_easyoption* o : Installed()) {
    ++options;
    switch (o->type) {
      case CURLOT_LONG:
      case CURLOT_VALUES:
        both.Check(*o, "0", 0L);
        both.Check(*o, "1", 1L);
        both.Check(*o, "-1", -1L);
        break;
      case CURLOT_OFF_T:
        both.Check(*o, "0", curl_off_t{0});
        both.Check(*o, "1", curl_off_t{1});
        both.Check(*o, "-1", curl_off_t{-1});
        break;
      case CURLOT_STRING:
        both.CheckNull(*o);
        // Some of them are files, which are read, or written when a handle goes.
        both.Check(*o, "a text", static_cast<const char*>("/dev/null"));
        break;
      case CURLOT_SLIST:
        both.CheckNull(*o);
        both.Check(*o, "a list", list);
        break;
      case CURLOT_BLOB:
        both.CheckNull(*o);
        both.Check(*o, "a blob", &blob);
        break;
      case CURLOT_CBPTR:
        both.CheckNull(*o);
        both.Check(*o, "data", static_cast<void*>(&bytes[0]));
        break;
      case CURLOT_FUNCTION:
        both.CheckNull(*o);
        both.Check(*o, "a function", static_cast<void (*)()>(+[] {}));
        break;
      case CURLOT_OBJECT:
        // Whose each of them is only libcurl knows.
        both.CheckNull(*o);
        break;
    }
  }
  curl_slist_free_all(list);
  EXPECT_GE(options, 300u);
  // Neither takes everything, nor nothing.
  EXPECT_GE(both.taken(), 400);
  EXPECT_GE(both.refused(), 20);
}

TEST(OptionTableTest, TheGuideIsMadeFromIt) {
  std::ifstream file("docs/curl-options.md");
  const std::string guide((std::istreambuf_iterator<char>(file)),
                          std::istreambuf_iterator<char>());
  EXPECT_EQ(guide, OptionsGuide())
      << "bazel run //tests/curl_wrap:option_table_test writes it anew";
}

}  // namespace
}  // namespace forbear::curl

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  // `bazel run` says where the sources are; `bazel test` does not.
  if (const char* const sources = std::getenv("BUILD_WORKSPACE_DIRECTORY")) {
    std::ofstream(absl::StrCat(sources, "/docs/curl-options.md"))
        << forbear::curl::OptionsGuide();
  }
  return RUN_ALL_TESTS();
}
