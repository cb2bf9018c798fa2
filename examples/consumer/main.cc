// A program in a workspace of its own that uses Forbear as @forbear.
//
// It calls a port on which nobody listens, twice, once each way, and shows what
// became of it. `bazel run //:consumer` exits with 0 when both calls ended as
// they should.
#include <curl/curl.h>
#include <grpcpp/grpcpp.h>

#include <iostream>

#include "curl_wrap/handle.h"
#include "interceptors/interceptor.h"

int main() {
  forbear::curl::Handle curl = forbear::curl::Handle::Create();
  curl.SetOpt(CURLOPT_URL, "http://127.0.0.1:1/");
  const forbear::curl::CallResult result = curl.Perform();
  std::cout << forbear::FormatCallRecord(result.record);

  const auto channel = forbear::rpc::CreateChannel(
      "127.0.0.1:1", grpc::InsecureChannelCredentials(),
      forbear::Client::Default());

  const bool as_expected =
      result.code == CURLE_COULDNT_CONNECT &&
      result.stop_reason == forbear::StopReason::kAttemptsExhausted &&
      channel != nullptr;
  std::cout << "consumer: " << (as_expected ? "ok" : "not as expected") << "\n";
  return as_expected ? 0 : 1;
}
