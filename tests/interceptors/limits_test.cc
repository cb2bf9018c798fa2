// A limit that good answers tell of in their metadata is kept, without one refusal.

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "interceptors/interceptor.h"
#include "runtime/client.h"
#include "tests/interceptors/echo_call.h"
#include "tests/testing/grpc_reply.h"
#include "tests/testing/grpc_server.h"
#include "tests/testing/limit_model.h"

namespace forbear::rpc {
namespace {

using testing::GrpcReply;
using testing::GrpcServer;
using testing::LimitModel;

enum class Tells { kNothing, kInitially, kTrailing };

// A bucket of 8 tokens, 100 a second, and who was refused.
class Bucket {
 public:
  explicit Bucket(Tells tells) : tells_(tells) {}

  GrpcReply Answer(const testing::GrpcRequest& request) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const absl::Time now = absl::Now();
    if (start_ == absl::InfinitePast()) start_ = now;
    const LimitModel::Answer answer = model_.Ask(now - start_);
    if (!answer.admitted) ++refused_;
    GrpcReply reply =
        answer.admitted
            ? GrpcReply::Ok(request.bytes)
            : GrpcReply::Error(grpc::StatusCode::RESOURCE_EXHAUSTED)
                  .Pushback(absl::StrCat(absl::ToInt64Milliseconds(
                      absl::Ceil(answer.wait, absl::Milliseconds(1)))));
    const std::string reset = absl::StrCat(absl::ToDoubleSeconds(answer.reset));
    for (const auto& [name, value] :
         {std::tuple("x-ratelimit-limit", absl::StrCat(answer.limit)),
          {"x-ratelimit-remaining", absl::StrCat(answer.remaining)},
          {"x-ratelimit-reset", reset}}) {
      if (tells_ == Tells::kInitially) reply = reply.WithInitial(name, value);
      if (tells_ == Tells::kTrailing) reply = reply.WithTrailing(name, value);
    }
    return reply;
  }

  int64_t refused() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return refused_;
  }

 private:
  static LimitModel::Options Options() {
    LimitModel::Options options;
    options.rate = 100;
    options.burst = 8;
    return options;
  }

  const Tells tells_;
  mutable std::mutex mutex_;
  LimitModel model_{Options()};
  absl::Time start_ = absl::InfinitePast();
  int64_t refused_ = 0;
};

class LimitsTest : public ::testing::TestWithParam<Api> {
 protected:
  // How many of 60 calls, one after the other, are refused at first.
  static int64_t Refused(Tells tells) {
    Bucket bucket(tells);
    const std::unique_ptr<GrpcServer> server = *GrpcServer::Create();
    server->SetHandler([&](const testing::GrpcRequest& request) {
      return bucket.Answer(request);
    });
    const auto channel =
        CreateChannel(server->address(), grpc::InsecureChannelCredentials(),
                      *Client::Create({}));
    for (int i = 0; i < 60; ++i) {
      EchoCall call(GetParam(), channel);
      call.SetDeadline(absl::Seconds(30));
      call.Start();
      EXPECT_TRUE(call.Wait().ok()) << call.status().error_message();
    }
    return bucket.refused();
  }
};

INSTANTIATE_TEST_SUITE_P(Apis, LimitsTest, AllApis(), ApiName);

TEST_P(LimitsTest, IsKeptIfAnswersTellOfIt) {
  // Otherwise it has to be found.
  EXPECT_GE(Refused(Tells::kNothing), 1);
  // The initial metadata of a reactor's call come in another batch than its end, with
  // which an answer is read: what they tell of a limit is not heard.
  if (GetParam() == Api::kReactor) {
    EXPECT_GE(Refused(Tells::kInitially), 1);
  } else {
    EXPECT_EQ(Refused(Tells::kInitially), 0);
  }
  EXPECT_EQ(Refused(Tells::kTrailing), 0);
}

}  // namespace
}  // namespace forbear::rpc
