// Many GETs at a time, on one thread.
//
//   bazel run //examples:curl_engine -- https://example.com/a https://example.com/b
#include <curl/curl.h>

#include <future>
#include <iostream>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "core/call_record.h"
#include "core/stop_reason.h"
#include "curl_wrap/engine.h"
#include "curl_wrap/request.h"
#include "curl_wrap/response.h"

int main(int argc, char** argv) {
  if (argc < 2) {
    std::cerr << "usage: curl_engine URL…\n";
    return 2;
  }
  absl::StatusOr<std::unique_ptr<forbear::curl::Engine>> engine =
      forbear::curl::Engine::Create();
  if (!engine.ok()) {
    std::cerr << engine.status() << "\n";
    return 1;
  }
  forbear::curl::CallOptions options;
  options.deadline = absl::Seconds(30);
  std::vector<std::future<forbear::curl::Response>> responses;
  for (int i = 1; i < argc; ++i) {
    forbear::curl::Request request(argv[i]);
    request.AddHeader("Accept: */*");
    request.SetOpt(CURLOPT_FOLLOWLOCATION, 1L);
    responses.push_back((*engine)->Send(std::move(request), options));
  }
  bool all = true;
  for (std::future<forbear::curl::Response>& future : responses) {
    const forbear::curl::Response response = future.get();
    std::cerr << forbear::FormatCallRecord(response.record);
    if (response.code == CURLE_OK) std::cout << response.body;
    all = all && response.stop_reason == forbear::StopReason::kSuccess;
  }
  return all ? 0 : 1;
}
