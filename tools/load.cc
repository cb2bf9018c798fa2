#include "tools/load.h"

#include <curl/curl.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "core/call_record.h"
#include "core/outcome.h"
#include "core/stop_reason.h"
#include "core/time.h"
#include "curl_wrap/handle.h"
#include "interceptors/interceptor.h"
#include "proto/config_convert.h"
#include "proto/record_convert.h"
#include "runtime/client.h"
#include "runtime/clock.h"
#include "tools/load_options.h"

namespace forbear::tools {
namespace {

// What one call came to.
struct CallEnd {
  bool succeeded = false;
  CallRecord record;
};

using CallFn = std::function<CallEnd()>;

struct FreeHeaders {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};

size_t Discard(char*, size_t size, size_t count, void*) { return size * count; }

// The calls of one worker, over HTTP.
CallFn HttpCalls(const LoadOptions& options, std::shared_ptr<Client> client) {
  auto handle =
      std::make_shared<curl::Handle>(curl::Handle::Create(std::move(client)));
  handle->SetOpt(CURLOPT_URL, options.url.c_str());
  handle->SetOpt(CURLOPT_WRITEFUNCTION, Discard);
  if (options.body) {
    handle->SetOpt(CURLOPT_POSTFIELDSIZE_LARGE,
                   static_cast<curl_off_t>(options.body->size()));
    // `options` outlives the workers: libcurl need not copy it.
    handle->SetOpt(CURLOPT_POSTFIELDS, options.body->data());
  }
  if (options.method == "HEAD") {
    handle->SetOpt(CURLOPT_NOBODY, 1L);
  } else if (!options.method.empty()) {
    handle->SetOpt(CURLOPT_CUSTOMREQUEST, options.method.c_str());
  }
  curl_slist* lines = nullptr;
  for (const LoadOptions::Header& header : options.headers) {
    lines = curl_slist_append(
        lines, absl::StrCat(header.name, ": ", header.value).c_str());
  }
  const std::shared_ptr<curl_slist> headers(lines, FreeHeaders());
  if (lines != nullptr) handle->SetOpt(CURLOPT_HTTPHEADER, lines);

  curl::CallOptions call;
  call.deadline = options.deadline;
  if (options.attempt_timeout < absl::InfiniteDuration()) {
    call.attempt_timeout = options.attempt_timeout;
  }
  if (options.idempotent) call.idempotent = true;
  return [handle, headers, call] {
    curl::CallResult result = handle->Perform(call);
    CallEnd end;
    end.succeeded = result.code == CURLE_OK && result.http_status < 400;
    end.record = std::move(result.record);
    return end;
  };
}

// The record of a call that went through untouched, because Forbear is off.
CallRecord PlainRecord(const LoadOptions& options, MonotonicTime begin,
                       const grpc::Status& status) {
  CallRecord record;
  record.protocol = Protocol::kGrpc;
  record.names = CallNames(options.grpc_target, options.rpc, "");
  record.begin = begin;
  record.end = MonotonicNow();
  record.stop_reason =
      status.ok() ? StopReason::kSuccess : StopReason::kAttemptsExhausted;
  record.total_attempts = 1;
  AttemptRecord attempt;
  attempt.number = 1;
  attempt.start = record.begin;
  attempt.end = record.end;
  attempt.outcome.kind = status.ok() ? ErrorKind::kOk : ErrorKind::kTransient;
  attempt.outcome.status = status.error_code();
  record.attempts.push_back(attempt);
  return record;
}

// The calls of one worker, over gRPC. Workers share the channel.
CallFn GrpcCalls(const LoadOptions& options,
                 const std::shared_ptr<grpc::Channel>& channel) {
  auto stub = std::make_shared<grpc::GenericStub>(channel);
  const grpc::Slice slice(options.body.value_or(""));
  return [stub, slice, &options] {
    const MonotonicTime begin = MonotonicNow();
    grpc::ClientContext context;
    if (options.deadline < absl::InfiniteDuration()) {
      context.set_deadline(std::chrono::system_clock::now() +
                           absl::ToChronoNanoseconds(options.deadline));
    }
    for (const LoadOptions::Header& header : options.headers) {
      context.AddMetadata(header.name, header.value);
    }
    grpc::ByteBuffer request(&slice, 1), response;
    grpc::Status status;
    absl::Notification done;
    stub->UnaryCall(&context, options.rpc, grpc::StubOptions(), &request,
                    &response, [&status, &done](grpc::Status s) {
                      status = std::move(s);
                      done.Notify();
                    });
    done.WaitForNotification();
    CallEnd end;
    end.succeeded = status.ok();
    if (auto record = rpc::RecordOf(context)) {
      end.record = *std::move(record);
    } else {
      // Forbear is off, and the call went through untouched.
      end.record = PlainRecord(options, begin, status);
    }
    return end;
  };
}

// What all calls came to. Thread-safe.
class Summary {
 public:
  void Add(absl::Duration latency, const CallEnd& end) {
    const std::lock_guard<std::mutex> lock(mutex_);
    latencies_.push_back(latency);
    attempts_ += end.record.total_attempts;
    ++stop_reasons_[end.record.stop_reason];
    if (end.succeeded) {
      ++succeeded_;
    } else if (!failed_) {
      failed_ = end.record;
    }
  }

  int64_t ended() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return static_cast<int64_t>(latencies_.size());
  }
  int64_t succeeded() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return succeeded_;
  }
  int64_t attempts() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return attempts_;
  }

  // After the last Add.
  std::string Json(absl::Duration wall) {
    std::sort(latencies_.begin(), latencies_.end());
    std::string reasons;
    for (const auto& [reason, count] : stop_reasons_) {
      absl::StrAppendFormat(&reasons, "%s\"%s\": %d",
                            reasons.empty() ? "" : ", ", StopReasonName(reason),
                            count);
    }
    return absl::StrFormat(
        "{\"requests\": %d, \"succeeded\": %d, \"failed\": %d, \"attempts\": "
        "%d, "
        "\"wall_s\": %.3f, \"latency_ms\": {\"p50\": %.3f, \"p95\": %.3f, "
        "\"p99\": %.3f, \"max\": %.3f}, \"stop_reasons\": {%s}}",
        latencies_.size(), succeeded_, Failed(), attempts_,
        absl::ToDoubleSeconds(wall), LatencyMs(0.50), LatencyMs(0.95),
        LatencyMs(0.99), LatencyMs(1.0), reasons);
  }

  std::string Text(absl::Duration wall) {
    std::sort(latencies_.begin(), latencies_.end());
    std::string text = absl::StrFormat(
        "requests    %d\nsucceeded   %d\nfailed      %d\nattempts    %d\n"
        "wall        %.3fs\nlatency     p50 %.1fms  p95 %.1fms  p99 %.1fms  "
        "max %.1fms\n",
        latencies_.size(), succeeded_, Failed(), attempts_,
        absl::ToDoubleSeconds(wall), LatencyMs(0.50), LatencyMs(0.95),
        LatencyMs(0.99), LatencyMs(1.0));
    for (const auto& [reason, count] : stop_reasons_) {
      absl::StrAppendFormat(&text, "%-24s %d\n", StopReasonName(reason), count);
    }
    return text;
  }

  // For a person whose calls failed; empty if none did.
  std::string Failures() const {
    std::string text;
    if (!failed_) return text;
    absl::StrAppendFormat(&text, "forbear load: %d of %d calls failed:\n",
                          Failed(), latencies_.size());
    for (const auto& [reason, count] : stop_reasons_) {
      if (reason == StopReason::kSuccess) continue;
      absl::StrAppendFormat(&text, "  %s: %s %s\n", StopReasonName(reason),
                            StopReasonSentence(reason),
                            StopReasonRemedy(reason));
    }
    absl::StrAppend(&text, "The first of them:\n", FormatCallRecord(*failed_));
    return text;
  }

 private:
  int64_t Failed() const {
    return static_cast<int64_t>(latencies_.size()) - succeeded_;
  }
  // The smallest latency that this part of the calls did not exceed.
  double LatencyMs(double part) const {
    if (latencies_.empty()) return 0;
    const auto rank = static_cast<size_t>(
        std::ceil(part * static_cast<double>(latencies_.size())));
    return absl::ToDoubleMilliseconds(
        latencies_[std::max<size_t>(rank, 1) - 1]);
  }

  mutable std::mutex mutex_;
  std::vector<absl::Duration> latencies_;
  int64_t succeeded_ = 0;
  int64_t attempts_ = 0;
  std::map<StopReason, int64_t> stop_reasons_;
  std::optional<CallRecord> failed_;  // the first
};

// A file of records, a line each. Thread-safe.
class RecordFile {
 public:
  static absl::StatusOr<std::unique_ptr<RecordFile>> Open(
      const std::string& path) {
    std::FILE* file = std::fopen(path.c_str(), "w");
    if (file == nullptr) {
      return absl::InvalidArgumentError(absl::StrCat(
          "--records ", path, " cannot be written: ", std::strerror(errno)));
    }
    return std::unique_ptr<RecordFile>(new RecordFile(file));
  }
  ~RecordFile() { Close(); }
  RecordFile(const RecordFile&) = delete;
  RecordFile& operator=(const RecordFile&) = delete;

  void Write(const CallRecord& record) {
    const std::string line = RecordToJson(record) + "\n";
    const std::lock_guard<std::mutex> lock(mutex_);
    ok_ = std::fwrite(line.data(), 1, line.size(), file_) == line.size() && ok_;
  }

  // False if not everything was written.
  bool Close() {
    if (file_ != nullptr) ok_ = std::fclose(file_) == 0 && ok_;
    file_ = nullptr;
    return ok_;
  }

 private:
  explicit RecordFile(std::FILE* file) : file_(file) {}

  std::mutex mutex_;
  std::FILE* file_;
  bool ok_ = true;
};

void ShowProgress(int requests, const Summary& summary,
                  absl::Notification* done) {
  if (isatty(STDERR_FILENO) == 0) return;
  while (!done->WaitForNotificationWithTimeout(absl::Milliseconds(200))) {
    absl::FPrintF(stderr, "\r\033[K%d of %d calls ended, %d attempts",
                  summary.ended(), requests, summary.attempts());
  }
  std::fputs("\r\033[K", stderr);
}

// What libcurl would only say once for each call.
absl::Status CheckUrl(const std::string& url) {
  CURLU* parsed = curl_url();
  const CURLUcode code = curl_url_set(parsed, CURLUPART_URL, url.c_str(), 0);
  curl_url_cleanup(parsed);
  if (code == CURLUE_OK) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("--url is '", url,
                   "', which libcurl cannot use: ", curl_url_strerror(code)));
}

absl::StatusOr<std::shared_ptr<Client>> MakeClient(const LoadOptions& options) {
  ClientOptions client;
  if (!options.config_path.empty()) {
    absl::StatusOr<Settings> settings = LoadConfig(options.config_path);
    if (!settings.ok()) {
      return absl::Status(
          settings.status().code(),
          absl::StrCat("--config ", settings.status().message()));
    }
    client = ClientOptions(*std::move(settings));
  }
  if (options.attempt_timeout < absl::InfiniteDuration()) {
    client.retry.attempt_timeout = options.attempt_timeout;
  }
  return Client::Create(std::move(client));
}

}  // namespace

int RunLoad(const std::vector<std::string>& args) {
  LoadOptions options;
  if (std::optional<int> code = ParseLoadOptions(args, &options)) return *code;
  const auto wrong = [](const absl::Status& status) {
    absl::FPrintF(stderr, "forbear load: %s\n", status.message());
    return 2;
  };
  if (!options.url.empty()) {
    const absl::Status url = CheckUrl(options.url);
    if (!url.ok()) return wrong(url);
  }
  absl::StatusOr<std::shared_ptr<Client>> client = MakeClient(options);
  if (!client.ok()) return wrong(client.status());
  std::unique_ptr<RecordFile> records;
  if (!options.records_path.empty()) {
    absl::StatusOr<std::unique_ptr<RecordFile>> file =
        RecordFile::Open(options.records_path);
    if (!file.ok()) return wrong(file.status());
    records = *std::move(file);
  }
  std::shared_ptr<grpc::Channel> channel;
  if (options.url.empty()) {
    rpc::RpcOptions rpc_options;
    if (options.idempotent) {
      rpc_options.methods = {{options.rpc, {grpc::StatusCode::UNAVAILABLE}}};
    }
    channel = rpc::CreateChannel(options.grpc_target,
                                 grpc::InsecureChannelCredentials(), *client,
                                 std::move(rpc_options));
  }

  Summary summary;
  absl::Notification done;
  std::thread progress([&options, &summary, &done] {
    ShowProgress(options.requests, summary, &done);
  });
  std::atomic<int> next{0};
  const MonotonicTime begin = MonotonicNow();
  std::vector<std::thread> workers;
  for (int w = 0; w < std::min(options.workers, options.requests); ++w) {
    workers.emplace_back([&] {
      const CallFn call = channel == nullptr ? HttpCalls(options, *client)
                                             : GrpcCalls(options, channel);
      while (next++ < options.requests) {
        const MonotonicTime start = MonotonicNow();
        const CallEnd end = call();
        summary.Add(MonotonicNow() - start, end);
        if (records != nullptr) records->Write(end.record);
      }
    });
  }
  for (std::thread& worker : workers) worker.join();
  const absl::Duration wall = MonotonicNow() - begin;
  done.Notify();
  progress.join();

  const std::string text =
      options.json ? summary.Json(wall) + "\n" : summary.Text(wall);
  if (std::fputs(text.c_str(), stdout) < 0 || std::fflush(stdout) != 0) {
    absl::FPrintF(stderr, "forbear load: stdout cannot be written: %s\n",
                  std::strerror(errno));
    return 1;
  }
  std::fputs(summary.Failures().c_str(), stderr);
  if (records != nullptr && !records->Close()) {
    absl::FPrintF(stderr, "forbear load: --records %s: not all was written\n",
                  options.records_path);
    return 1;
  }
  return summary.succeeded() == options.requests ? 0 : 1;
}

}  // namespace forbear::tools
