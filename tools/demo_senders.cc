#include "tools/demo_senders.h"

#include <curl/curl.h>
#include <grpcpp/grpcpp.h>

#include <cmath>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "core/random.h"
#include "curl_wrap/handle.h"
#include "interceptors/interceptor.h"
#include "tests/testing/echo.grpc.pb.h"

namespace forbear::tools {
namespace {

constexpr char kBody[] = "{\"prompt\": \"hello\"}";
constexpr char kKeyHeader[] = "Idempotency-Key: ";
constexpr char kKeyMetadata[] = "idempotency-key";

size_t Discard(char*, size_t size, size_t count, void*) { return size * count; }

struct FreeHeaders {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};
using Headers = std::unique_ptr<curl_slist, FreeHeaders>;

Headers HeadersWith(const std::string& key) {
  return Headers(
      curl_slist_append(nullptr, absl::StrCat(kKeyHeader, key).c_str()));
}

bool SayEcho(testing::Echo::Stub* stub, grpc::ClientContext* context,
             const std::string& key) {
  context->AddMetadata(kKeyMetadata, key);
  testing::EchoMessage request, response;
  request.set_payload(kBody);
  return stub->Say(context, request, &response).ok();
}

}  // namespace

CallFn PlainHttp(const std::string& url) {
  std::shared_ptr<CURL> easy(curl_easy_init(), curl_easy_cleanup);
  curl_easy_setopt(easy.get(), CURLOPT_URL, url.c_str());
  curl_easy_setopt(easy.get(), CURLOPT_COPYPOSTFIELDS, kBody);
  curl_easy_setopt(easy.get(), CURLOPT_WRITEFUNCTION, Discard);
  curl_easy_setopt(easy.get(), CURLOPT_NOSIGNAL, 1L);
  return [easy](const std::string& key) {
    const Headers headers = HeadersWith(key);
    curl_easy_setopt(easy.get(), CURLOPT_HTTPHEADER, headers.get());
    const CURLcode code = curl_easy_perform(easy.get());
    long status = 0;  // NOLINT(google-runtime-int): libcurl's type
    curl_easy_getinfo(easy.get(), CURLINFO_RESPONSE_CODE, &status);
    return code == CURLE_OK && status == 200;
  };
}

CallFn PlainGrpc(const std::string& target) {
  std::shared_ptr<testing::Echo::Stub> stub = testing::Echo::NewStub(
      grpc::CreateChannel(target, grpc::InsecureChannelCredentials()));
  return [stub](const std::string& key) {
    grpc::ClientContext context;
    return SayEcho(stub.get(), &context, key);
  };
}

CallFn WithSleepOne(CallFn send) {
  return [send = std::move(send)](const std::string& key) {
    for (int i = 0; i < 3; ++i) {
      if (i > 0) absl::SleepFor(absl::Seconds(1));
      if (send(key)) return true;
    }
    return false;
  };
}

CallFn WithExponential(CallFn send, uint64_t seed) {
  return [send = std::move(send), seed,
          drawn = uint64_t{0}](const std::string& key) mutable {
    for (int n = 0; n < 5; ++n) {
      if (send(key)) return true;
      if (n < 4) {
        absl::SleepFor(absl::Seconds(std::exp2(n) + UnitRandom(seed, drawn++)));
      }
    }
    return false;
  };
}

CallFn ForbearHttp(std::shared_ptr<Client> client, const std::string& url,
                   RecordFn on_record) {
  auto handle =
      std::make_shared<curl::Handle>(curl::Handle::Create(std::move(client)));
  handle->SetOpt(CURLOPT_URL, url.c_str());
  handle->SetOpt(CURLOPT_COPYPOSTFIELDS, kBody);
  handle->SetOpt(CURLOPT_WRITEFUNCTION, Discard);
  return [handle, on_record = std::move(on_record)](const std::string& key) {
    const Headers headers = HeadersWith(key);
    handle->SetOpt(CURLOPT_HTTPHEADER, headers.get());
    const curl::CallResult result = handle->Perform();
    on_record(result.record);
    return result.code == CURLE_OK && result.http_status == 200;
  };
}

CallFn ForbearGrpc(std::shared_ptr<Client> client, const std::string& target,
                   RecordFn on_record) {
  rpc::RpcOptions options;
  options.methods = {
      {"/forbear.testing.Echo/*", {grpc::StatusCode::UNAVAILABLE}}};
  std::shared_ptr<testing::Echo::Stub> stub = testing::Echo::NewStub(
      rpc::CreateChannel(target, grpc::InsecureChannelCredentials(),
                         std::move(client), options));
  return [stub, on_record = std::move(on_record)](const std::string& key) {
    grpc::ClientContext context;
    const bool answered = SayEcho(stub.get(), &context, key);
    if (auto record = rpc::RecordOf(context)) on_record(*record);
    return answered;
  };
}

}  // namespace forbear::tools
