#include "tests/testing/provider.h"

#include <stdio.h>
#include <stdlib.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
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

// What is announced: nothing, or the name and value of a field.
using Field = std::pair<std::string, std::string>;
std::optional<Field> WaitField(absl::Duration wait,
                               const Provider::Options& options) {
  const char* name = options.wait_style == Provider::WaitStyle::kMilliseconds
                         ? "retry-after-ms"
                         : "Retry-After";
  if (options.wait_style == Provider::WaitStyle::kNone) return std::nullopt;
  if (options.wait_text.has_value()) return Field(name, *options.wait_text);
  wait *= options.wait_factor;
  switch (options.wait_style) {
    case Provider::WaitStyle::kSeconds:
      return Field(name, absl::StrCat(InUnits(wait, absl::Seconds(1))));
    case Provider::WaitStyle::kMilliseconds:
      return Field(name, absl::StrCat(InUnits(wait, absl::Milliseconds(1))));
    case Provider::WaitStyle::kDate: {
      const int64_t second = absl::ToUnixSeconds(
          absl::Now() + wait - absl::Nanoseconds(1) + absl::Seconds(1));
      return Field(name, absl::FormatTime("%a, %d %b %E4Y %H:%M:%S GMT",
                                          absl::FromUnixSeconds(second),
                                          absl::UTCTimeZone()));
    }
    case Provider::WaitStyle::kNone:
      break;
  }
  return std::nullopt;
}

Reply WithWait(const Reply& reply, absl::Duration wait,
               const Provider::Options& options) {
  const std::optional<Field> field = WaitField(wait, options);
  return field.has_value() ? reply.With(field->first, field->second) : reply;
}

GrpcReply WithWait(const GrpcReply& reply, absl::Duration wait,
                   const Provider::Options& options) {
  if (options.wait_style == Provider::WaitStyle::kNone) return reply;
  return reply.Pushback(options.wait_text.value_or(absl::StrCat(
      InUnits(wait * options.wait_factor, absl::Milliseconds(1)))));
}

std::vector<Field> LimitFields(const LimitModel::Answer& limit,
                               const Provider::Options& options) {
  if (options.limit_headers == Provider::LimitHeaders::kNone ||
      limit.limit == 0) {
    return {};
  }
  const bool whole = options.limit_headers == Provider::LimitHeaders::kSeconds;
  const absl::Duration reset =
      absl::Ceil(limit.reset, whole ? absl::Seconds(1) : absl::Milliseconds(1));
  return {{"x-ratelimit-limit", absl::StrCat(limit.limit)},
          {"x-ratelimit-remaining", absl::StrCat(limit.remaining)},
          {"x-ratelimit-reset", absl::StrFormat("%.*f", whole ? 0 : 3,
                                                absl::ToDoubleSeconds(reset))}};
}

Reply ErrorPage(int status, const char* type, const char* message) {
  return Reply::Of(status, absl::StrCat(R"({"error":{"type":")", type,
                                        R"(","message":")", message, "\"}}\n"))
      .With("Content-Type", "application/json");
}

// A refusal that AWS's clients know as well: they look for a code in the body.
Reply RefusalPage(int status) {
  return Reply::Of(status, R"({"error":{"type":"rate_limit_exceeded",)"
                           R"("message":"Too many requests."},)"
                           R"("__type":"ThrottlingException"})"
                           "\n")
      .With("Content-Type", "application/json");
}

}  // namespace

absl::StatusOr<std::unique_ptr<Provider>> Provider::Create(
    const Options& options) {
  absl::StatusOr<ProviderModel> model = ProviderModel::Create(options.model);
  if (!model.ok()) return model.status();
  if (!(options.wait_factor > 0)) {
    return absl::InvalidArgumentError("wait_factor must be > 0");
  }
  const bool begins_later =
      options.begin == Begin::kFirstRequest || options.begin_at.has_value();
  for (const Outage& outage : options.model.outages) {
    if (begins_later && outage.kind == Outage::Kind::kClosedPort) {
      return absl::InvalidArgumentError(
          "with an outage of kClosedPort the model begins with Create");
    }
  }
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
    : options_(options), model_(std::move(model)) {
  if (options.begin_at.has_value()) {
    began_at_ = options.begin_at;
  } else if (options.begin == Begin::kCreate) {
    began_at_ = std::chrono::steady_clock::now();
  }
}

Provider::~Provider() {
  loop_.RunAndWait([this] { timers_.clear(); });
}

ProviderModel::Stats Provider::stats() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return model_.stats();
}

std::optional<std::chrono::steady_clock::time_point> Provider::began_at()
    const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return began_at_;
}

absl::Duration Provider::Now() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return NowLocked();
}

absl::Duration Provider::NowLocked() const {
  if (!began_at_.has_value()) return absl::ZeroDuration();
  return std::max(
      absl::FromChrono(std::chrono::steady_clock::now() - *began_at_),
      absl::ZeroDuration());
}

ProviderModel::Decision Provider::Decide(
    const ProviderModel::Request& request) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!began_at_.has_value()) began_at_ = std::chrono::steady_clock::now();
  return model_.Decide(NowLocked(), request);
}

Reply Provider::WithRefusal(Reply reply,
                            const ProviderModel::Decision& decision) const {
  if (options_.refusal_body_bytes > 0) {
    reply.body.assign(options_.refusal_body_bytes, 'x');
  }
  reply.delay_before_body = options_.refusal_body_delay;
  return decision.wait > absl::ZeroDuration()
             ? WithWait(reply, decision.wait, options_)
             : reply;
}

Reply Provider::AnswerHttp(const HttpRequest& request) {
  const ProviderModel::Decision decision = Decide(IdentityOf(request.headers));
  const auto make = [&]() -> Reply {
    switch (decision.verdict) {
      case Verdict::kServe:
        return Reply::Of(200, request.body);
      case Verdict::kRefuse:
      case Verdict::kOutageRefuse:
        return WithRefusal(RefusalPage(options_.refusal_status), decision);
      case Verdict::kError:
        return ErrorPage(500, "internal", "Something broke; nothing was done.");
      case Verdict::kLoseAnswer:
      case Verdict::kOutageReset:
        return Reply::ResetBeforeHead();
      case Verdict::kOutageError:
        return WithRefusal(ErrorPage(503, "unavailable", "Down for a while."),
                           decision);
      case Verdict::kHang:
      case Verdict::kOutageHang:
        return Reply::Hang();
    }
    abort();
  };
  Reply reply = make();
  for (const auto& [name, value] : LimitFields(decision.limit, options_)) {
    reply = reply.With(name, value);
  }
  return reply.After(decision.latency);
}

GrpcReply Provider::AnswerGrpc(const GrpcRequest& request) {
  const ProviderModel::Decision decision = Decide(IdentityOf(request.metadata));
  const auto unavailable = [](const char* message) {
    return GrpcReply::Error(grpc::StatusCode::UNAVAILABLE, message);
  };
  const auto make = [&]() -> GrpcReply {
    switch (decision.verdict) {
      case Verdict::kServe:
        return GrpcReply::Ok(request.bytes);
      case Verdict::kRefuse:
      case Verdict::kOutageRefuse: {
        const GrpcReply refusal =
            options_.refusal_status == 503
                ? unavailable("too many requests")
                : GrpcReply::Error(grpc::StatusCode::RESOURCE_EXHAUSTED,
                                   "too many requests");
        return decision.wait > absl::ZeroDuration()
                   ? WithWait(refusal, decision.wait, options_)
                   : refusal;
      }
      case Verdict::kError:
        return unavailable("something broke; nothing was done");
      case Verdict::kLoseAnswer:
        return unavailable("the answer was lost");
      case Verdict::kOutageReset:
        return unavailable("connection reset");
      case Verdict::kOutageError:
        return decision.wait > absl::ZeroDuration()
                   ? WithWait(unavailable("down for a while"), decision.wait,
                              options_)
                   : unavailable("down for a while");
      case Verdict::kHang:
      case Verdict::kOutageHang:
        return GrpcReply::Hang();
    }
    abort();
  };
  GrpcReply reply = make();
  for (const auto& [name, value] : LimitFields(decision.limit, options_)) {
    // An error is trailers alone.
    reply = reply.code == grpc::StatusCode::OK
                ? reply.WithInitial(name, value)
                : reply.WithTrailing(name, value);
  }
  return reply.After(decision.latency);
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
