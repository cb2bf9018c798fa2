// Call credentials that count how often they are asked: the n-th time they give the
// metadata x-token: n.
//
//   std::atomic<int> asked = 0;
//   context.set_credentials(TokenCredentials(&asked, GRPC_SECURITY_NONE));
//
// Thread rule: call from anywhere.
#ifndef FORBEAR_TESTS_INTERCEPTORS_TOKEN_CREDENTIALS_H_
#define FORBEAR_TESTS_INTERCEPTORS_TOKEN_CREDENTIALS_H_

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <map>
#include <memory>
#include <string>

namespace forbear::rpc {

// `asked` must outlive them. `least`: the security that the channel must have.
inline std::shared_ptr<grpc::CallCredentials> TokenCredentials(
    std::atomic<int>* asked, grpc_security_level least) {
  class Token final : public grpc::MetadataCredentialsPlugin {
   public:
    explicit Token(std::atomic<int>* times) : asked_(times) {}
    grpc::Status GetMetadata(
        grpc::string_ref, grpc::string_ref, const grpc::AuthContext&,
        std::multimap<grpc::string, grpc::string>* metadata) override {
      metadata->emplace("x-token", std::to_string(++*asked_));
      return grpc::Status::OK;
    }

   private:
    std::atomic<int>* const asked_;
  };
  return grpc::experimental::MetadataCredentialsFromPlugin(
      std::make_unique<Token>(asked), least);
}

}  // namespace forbear::rpc

#endif  // FORBEAR_TESTS_INTERCEPTORS_TOKEN_CREDENTIALS_H_
