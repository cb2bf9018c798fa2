// AllStreams: every shape of a stream, by every API; and what gtest calls the pairs.
//
//   class MyTest : public ::testing::TestWithParam<std::tuple<Shape, StreamApi>> {};
//   INSTANTIATE_TEST_SUITE_P(All, MyTest, AllStreams(), kNameOfStream);
#ifndef FORBEAR_TESTS_INTERCEPTORS_ALL_STREAMS_H_
#define FORBEAR_TESTS_INTERCEPTORS_ALL_STREAMS_H_

#include <tuple>

#include "gtest/gtest.h"
#include "tests/interceptors/stream_app.h"

namespace forbear::rpc {

inline auto AllStreams() {
  return ::testing::Combine(
      ::testing::Values(Shape::kPull, Shape::kPush, Shape::kChat),
      ::testing::Values(StreamApi::kSync, StreamApi::kReactor,
                        StreamApi::kQueue, StreamApi::kGenericReactor,
                        StreamApi::kGenericQueue));
}

inline constexpr auto kNameOfStream = [](const auto& info) {
  return NameOf(std::get<0>(info.param)) + "_" +
         NameOf(std::get<1>(info.param));
};

}  // namespace forbear::rpc

#endif  // FORBEAR_TESTS_INTERCEPTORS_ALL_STREAMS_H_
