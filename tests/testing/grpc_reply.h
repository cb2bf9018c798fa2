#ifndef FORBEAR_TESTS_TESTING_GRPC_REPLY_H_
#define FORBEAR_TESTS_TESTING_GRPC_REPLY_H_

#include <grpcpp/support/status_code_enum.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"

namespace forbear::testing {

// One answer of a GrpcServer, good or bad, as a value.
//
// Made by a static function and refined by the const member functions, each of
// which returns a changed copy:
//
//   GrpcReply::Ok(message.SerializeAsString())
//   GrpcReply::Error(grpc::StatusCode::UNAVAILABLE, "down")
//   GrpcReply::Error(grpc::StatusCode::RESOURCE_EXHAUSTED, "quota")
//       .Pushback("1000")                       // or "-1", or garbage
//   GrpcReply::Ok(bytes).After(absl::Milliseconds(50))
//   GrpcReply::Hang()
//
// An error goes out as trailers alone, as from most servers, so that it does
// not commit the call. HeadersFirst(), an initial metadatum, or a `response`
// beside an error play the servers that do commit it.
//
// Thread rule: a plain value; no synchronisation of its own.
struct GrpcReply {
  grpc::StatusCode code = grpc::StatusCode::OK;

  // grpc-message.
  std::string message;

  // grpc-status-details-bin: a google.rpc.Status in bytes, or garbage.
  std::string details;

  // The response message in bytes, sent before the status whatever that is.
  // None: only the status; with OK that is a broken server.
  std::optional<std::string> response;

  // Names in lower case, as gRPC demands.
  std::vector<std::pair<std::string, std::string>> initial_metadata;
  std::vector<std::pair<std::string, std::string>> trailing_metadata;

  // Send the initial metadata at once, by itself, before `delay` begins.
  bool headers_first = false;

  // From the arrival of the request to the answer.
  absl::Duration delay;

  // No answer until the client cancels or the server stops.
  bool hang = false;

  static GrpcReply Ok(std::string response) {
    GrpcReply reply;
    reply.response = std::move(response);
    return reply;
  }
  static GrpcReply Error(grpc::StatusCode code, std::string message = "") {
    GrpcReply reply;
    reply.code = code;
    reply.message = std::move(message);
    return reply;
  }
  static GrpcReply Hang() {
    GrpcReply reply;
    reply.hang = true;
    return reply;
  }

  // The trailer grpc-retry-pushback-ms, a string so that it can be wrong. The
  // gRPC library, here as in a C++ client, parses it at once and passes on
  // what it understood: " 05" becomes "5", and whatever is no integer of 64
  // bits becomes "-9223372036854775808".
  GrpcReply Pushback(std::string milliseconds) const {
    return WithTrailing("grpc-retry-pushback-ms", std::move(milliseconds));
  }
  GrpcReply WithDetails(std::string bytes) const {
    GrpcReply reply = *this;
    reply.details = std::move(bytes);
    return reply;
  }
  GrpcReply WithInitial(std::string name, std::string value) const {
    GrpcReply reply = *this;
    reply.initial_metadata.emplace_back(std::move(name), std::move(value));
    return reply;
  }
  GrpcReply WithTrailing(std::string name, std::string value) const {
    GrpcReply reply = *this;
    reply.trailing_metadata.emplace_back(std::move(name), std::move(value));
    return reply;
  }
  GrpcReply HeadersFirst() const {
    GrpcReply reply = *this;
    reply.headers_first = true;
    return reply;
  }
  GrpcReply After(absl::Duration wait) const {
    GrpcReply reply = *this;
    reply.delay = wait;
    return reply;
  }
};

}  // namespace forbear::testing

#endif  // FORBEAR_TESTS_TESTING_GRPC_REPLY_H_
