#include "tests/testing/provider.h"

#include <stdio.h>
#include <stdlib.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace forbear::testing {
namespace {

using Outage = ProviderModel::Outage;
using Verdict = ProviderModel::Verdict;

ProviderModel::Request IdentityOf(
    const std::map<std::string, std::string>& headers) {
  const auto key = headers.find("idempotency-key");
  if (key != headers.end()) return {key->second, true};
  const auto id = headers.find("x-call-id");
  if (id != headers.end()) return {id->second, false};
  return {};
}

// The wait in whole units, rounded up, at least 1.
int64_t InUnits(absl::Duration wait, absl::Duration unit) {
  return std::max<int64_t>(1, absl::Ceil(wait, unit) / unit);
}

Reply WithWait(const Reply& reply, absl::Duration wait,
               Provider::WaitStyle style) {
  switch (style) {
    case Provider::WaitStyle::kSeconds:
      return reply.With("Retry-After",
                        absl::StrCat(InUnits(wait, absl::Seconds(1))));
    case Provider::WaitStyle::kMilliseconds:
      return reply.With("retry-after-ms",
                        absl::StrCat(InUnits(wait, absl::Milliseconds(1))));
    case Provider::WaitStyle::kDate: {
      const int64_t second =
          absl::ToUnixSeconds(absl::Now() + wait - absl::Nanoseconds(1)) + 1;
      return reply.With(
          "Retry-After",
          absl::FormatTime("%a, %d %b %E4Y %H:%M:%S GMT",
                           absl::FromUnixSeconds(second), absl::UTCTimeZone()));
    }
    case Provider::WaitStyle::kNone:
      break;
  }
  return reply;
}

GrpcReply WithWait(const GrpcReply& reply, absl::Duration wait,
                   Provider::WaitStyle style) {
  if (style == Provider::WaitStyle::kNone) return reply;
  return reply.Pushback(absl::StrCat(InUnits(wait, absl::Milliseconds(1))));
}

Reply ErrorPage(int status, const char* type, const char* message) {
  return Reply::Of(status, absl::StrCat(R"({"error":{"type":")", type,
                                        R"(","message":")", message, "\"}}\n"))
      .With("Content-Type", "application/json");
}

}  // namespace

absl::StatusOr<std::unique_ptr<Provider>> Provider::Create(
    const Options& options) {
  absl::StatusOr<ProviderModel> model = ProviderModel::Create(options.model);
  if (!model.ok()) return model.status();
  std::unique_ptr<Provider> provider(new Provider(options, *std::move(model)));

  HttpServer::Options http_options;
  http_options.port = options.http_port;
  absl::StatusOr<std::unique_ptr<HttpServer>> http =
      HttpServer::Create(http_options);
  if (!http.ok()) return http.status();
  provider->http_ = *std::move(http);

  GrpcServer::Options grpc_options;
  grpc_options.port = options.grpc_port;
  absl::StatusOr<std::unique_ptr<GrpcServer>> grpc =
      GrpcServer::Create(grpc_options);
  if (!grpc.ok()) return grpc.status();
  provider->grpc_ = *std::move(grpc);

  Provider* const self = provider.get();
  self->http_->SetHandler(
      [self](const HttpRequest& request) { return self->AnswerHttp(request); });
  self->grpc_->SetHandler(
      [self](const GrpcRequest& request) { return self->AnswerGrpc(request); });
  self->loop_.RunAndWait([self] {
    for (const Outage& outage : self->options_.model.outages) {
      if (outage.kind != Outage::Kind::kClosedPort) continue;
      for (const bool listening : {false, true}) {
        self->timers_.push_back(std::make_unique<LoopTimer>(&self->loop_));
        self->timers_.back()->Start(
            (listening ? outage.until : outage.from) - self->Now(),
            [self, listening] { self->SetListening(listening); });
      }
    }
  });
  return provider;
}

Provider::Provider(const Options& options, ProviderModel model)
    : options_(options),
      start_(std::chrono::steady_clock::now()),
      model_(std::move(model)) {}

Provider::~Provider() {
  loop_.RunAndWait([this] { timers_.clear(); });
}

ProviderModel::Stats Provider::stats() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return model_.stats();
}

absl::Duration Provider::Now() const {
  return absl::FromChrono(std::chrono::steady_clock::now() - start_);
}

ProviderModel::Decision Provider::Decide(
    const ProviderModel::Request& request) {
  const std::lock_guard<std::mutex> lock(mutex_);
  return model_.Decide(Now(), request);
}

Reply Provider::AnswerHttp(const HttpRequest& request) {
  const ProviderModel::Decision decision = Decide(IdentityOf(request.headers));
  const auto reply = [&]() -> Reply {
    switch (decision.verdict) {
      case Verdict::kServe:
        return Reply::Of(200, request.body);
      case Verdict::kRefuse:
        return WithWait(
            ErrorPage(429, "rate_limit_exceeded", "Too many requests."),
            decision.wait, options_.wait_style);
      case Verdict::kError:
        return ErrorPage(500, "internal", "Something broke; nothing was done.");
      case Verdict::kLoseAnswer:
      case Verdict::kOutageReset:
        return Reply::ResetBeforeHead();
      case Verdict::kOutageError: {
        const Reply down = ErrorPage(503, "unavailable", "Down for a while.");
        return decision.wait > absl::ZeroDuration()
                   ? WithWait(down, decision.wait, options_.wait_style)
                   : down;
      }
      case Verdict::kOutageHang:
        return Reply::Hang();
    }
    abort();
  };
  return reply().After(decision.latency);
}

GrpcReply Provider::AnswerGrpc(const GrpcRequest& request) {
  const ProviderModel::Decision decision = Decide(IdentityOf(request.metadata));
  const auto unavailable = [](const char* message) {
    return GrpcReply::Error(grpc::StatusCode::UNAVAILABLE, message);
  };
  const auto reply = [&]() -> GrpcReply {
    switch (decision.verdict) {
      case Verdict::kServe:
        return GrpcReply::Ok(request.bytes);
      case Verdict::kRefuse:
        return WithWait(GrpcReply::Error(grpc::StatusCode::RESOURCE_EXHAUSTED,
                                         "too many requests"),
                        decision.wait, options_.wait_style);
      case Verdict::kError:
        return unavailable("something broke; nothing was done");
      case Verdict::kLoseAnswer:
        return unavailable("the answer was lost");
      case Verdict::kOutageReset:
        return unavailable("connection reset");
      case Verdict::kOutageError:
        return decision.wait > absl::ZeroDuration()
                   ? WithWait(unavailable("down for a while"), decision.wait,
                              options_.wait_style)
                   : unavailable("down for a while");
      case Verdict::kOutageHang:
        return GrpcReply::Hang();
    }
    abort();
  };
  return reply().After(decision.latency);
}

void Provider::SetListening(bool listening) {
  if (!listening) {
    http_->Stop();
    grpc_->Stop();
    return;
  }
  for (const absl::Status& status : {http_->Start(), grpc_->Start()}) {
    if (status.ok()) continue;
    fprintf(stderr, "Provider: %s\n", status.ToString().c_str());
    abort();
  }
}

}  // namespace forbear::testing
