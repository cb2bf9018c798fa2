// oracle: the clairvoyant client, played for real. It knows the scenario and when the
// server's time begins; what it loses all the same is what the bench costs.
#include <curl/curl.h>
#include <getopt.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "benchmarks/arena/clairvoyant.h"
#include "benchmarks/arena/scenario.h"
#include "tests/testing/limit_model.h"
#include "tests/testing/provider_model.h"

namespace forbear::arena {
namespace {

using std::chrono::steady_clock;
using testing::LimitModel;
using testing::ProviderModel;

constexpr char kUsage[] =
    "usage: oracle --scenario NAME --begin-ns N (--url URL | --grpc "
    "HOST:PORT)\n"
    "              --out FILE [--limit SECONDS]\n"
    "\n"
    "N is what `provider --begin-in-ms` printed. After --limit (default 120) "
    "no "
    "call\n"
    "begins. FILE: as peers/bench.py says.\n";

constexpr char kMethod[] = "/forbear.testing.Echo/Say";

struct Options {
  std::string scenario;
  int64_t begin_ns = 0;
  std::string url;
  std::string grpc;
  std::string out;
  int limit = 120;
};

bool Parse(int argc, char** argv, Options* options) {
  constexpr option kOptions[] = {
      {"scenario", required_argument, nullptr, 's'},
      {"begin-ns", required_argument, nullptr, 'b'},
      {"url", required_argument, nullptr, 'u'},
      {"grpc", required_argument, nullptr, 'g'},
      {"out", required_argument, nullptr, 'o'},
      {"limit", required_argument, nullptr, 'l'},
      {nullptr, 0, nullptr, 0},
  };
  int found;
  while ((found = getopt_long(argc, argv, "", kOptions, nullptr)) != -1) {
    switch (found) {
      case 's':
        options->scenario = optarg;
        break;
      case 'b':
        if (!absl::SimpleAtoi(optarg, &options->begin_ns)) return false;
        break;
      case 'u':
        options->url = optarg;
        break;
      case 'g':
        options->grpc = optarg;
        break;
      case 'o':
        options->out = optarg;
        break;
      case 'l':
        if (!absl::SimpleAtoi(optarg, &options->limit)) return false;
        break;
      default:
        return false;
    }
  }
  return optind == argc && !options->scenario.empty() &&
         options->begin_ns > 0 && !options->out.empty() &&
         options->url.empty() != options->grpc.empty();
}

// One send: was it answered well?
using SendFn = std::function<bool()>;

size_t Discard(char*, size_t size, size_t count, void*) { return size * count; }

SendFn HttpSends(const std::string& url, absl::Duration timeout) {
  const std::shared_ptr<CURL> easy(curl_easy_init(), curl_easy_cleanup);
  curl_easy_setopt(easy.get(), CURLOPT_URL, url.c_str());
  curl_easy_setopt(easy.get(), CURLOPT_WRITEFUNCTION, Discard);
  curl_easy_setopt(easy.get(), CURLOPT_NOSIGNAL, 1L);
  if (timeout < absl::InfiniteDuration()) {
    curl_easy_setopt(easy.get(), CURLOPT_TIMEOUT_MS,
                     static_cast<long>(absl::ToInt64Milliseconds(timeout)));
  }
  return [easy] {
    long status = 0;
    return curl_easy_perform(easy.get()) == CURLE_OK &&
           curl_easy_getinfo(easy.get(), CURLINFO_RESPONSE_CODE, &status) ==
               CURLE_OK &&
           status == 200;
  };
}

SendFn GrpcSends(const std::shared_ptr<grpc::Channel>& channel,
                 absl::Duration timeout) {
  const auto stub = std::make_shared<grpc::GenericStub>(channel);
  return [stub, timeout] {
    grpc::ClientContext context;
    if (timeout < absl::InfiniteDuration()) {
      context.set_deadline(std::chrono::system_clock::now() +
                           absl::ToChronoNanoseconds(timeout));
    }
    const grpc::Slice empty;
    grpc::ByteBuffer request(&empty, 1), response;
    grpc::Status status;
    absl::Notification done;
    stub->UnaryCall(&context, kMethod, grpc::StubOptions(), &request, &response,
                    [&status, &done](grpc::Status said) {
                      status = std::move(said);
                      done.Notify();
                    });
    done.WaitForNotification();
    return status.ok();
  };
}

// The limit as the client keeps it: a little less than it is, because a send may take
// longer on its way than the next one. What saves tokens up makes good for that; in a
// bucket of one, and in a sliding window, it is lost with each.
ProviderModel::Options Careful(ProviderModel::Options model) {
  constexpr double kSeconds = 0.005;
  if (std::isinf(model.rate)) return model;
  switch (model.limit_kind) {
    case LimitModel::Kind::kBucket:
      if (model.burst >= 2) {
        model.burst -= std::min(1.0, kSeconds * model.rate);
      } else {
        model.rate /= 1 + std::min(0.02, kSeconds * model.rate);
      }
      break;
    case LimitModel::Kind::kFixedWindow:
      // Nothing arrives before it was sent.
      break;
    case LimitModel::Kind::kSlidingWindow:
      model.window += absl::Seconds(kSeconds);
      break;
  }
  return model;
}

// When each send goes. Thread-safe.
class Schedule {
 public:
  Schedule(Clairvoyant client, steady_clock::time_point begin)
      : client_(std::move(client)), begin_(begin) {}

  // Returns when it is to go. Who comes first goes first, and the others wait.
  void WaitForTurn() {
    const std::lock_guard<std::mutex> lock(mutex_);
    const absl::Duration at = client_.Earliest(Now());
    std::this_thread::sleep_until(begin_ + absl::ToChronoNanoseconds(at));
    client_.Send(std::max(at, Now()));
  }

 private:
  absl::Duration Now() const {
    return std::max(absl::FromChrono(steady_clock::now() - begin_),
                    absl::ZeroDuration());
  }

  std::mutex mutex_;
  Clairvoyant client_;  // Guarded by mutex_.
  const steady_clock::time_point begin_;
};

struct Call {
  int64_t begin_ns = 0;
  int64_t end_ns = 0;
  bool ok = false;
};

int64_t NowNs() {
  return std::chrono::nanoseconds(steady_clock::now().time_since_epoch())
      .count();
}

bool Write(const std::string& path, const std::vector<Call>& calls) {
  std::FILE* const file = std::fopen(path.c_str(), "w");
  if (file == nullptr) return false;
  absl::FPrintF(file, R"({"peer": "oracle", "calls": [)");
  const char* between = "";
  for (const Call& call : calls) {
    absl::FPrintF(file, "%s[%d, %d, %s]", between, call.begin_ns, call.end_ns,
                  call.ok ? "true" : "false");
    between = ", ";
  }
  absl::FPrintF(file, "]}\n");
  return std::fclose(file) == 0;
}

int Fail(const std::string& what) {
  absl::FPrintF(stderr, "oracle: %s\n", what);
  return 1;
}

int Play(const Options& options) {
  const Scenario* const scenario = FindScenario(options.scenario);
  if (scenario == nullptr) return Fail("no scenario " + options.scenario);
  absl::StatusOr<Clairvoyant> client =
      Clairvoyant::Create(Careful(scenario->provider.model));
  if (!client.ok()) return Fail(client.status().ToString());
  const steady_clock::time_point begin{
      std::chrono::nanoseconds(options.begin_ns)};
  Schedule schedule(*std::move(client), begin);
  const auto end = begin + std::chrono::seconds(options.limit);

  std::shared_ptr<grpc::Channel> channel;
  if (options.url.empty()) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
    channel = grpc::CreateCustomChannel(
        options.grpc, grpc::InsecureChannelCredentials(), arguments);
    if (!channel->WaitForConnected(std::chrono::system_clock::now() +
                                   std::chrono::seconds(10))) {
      return Fail("no connection to " + options.grpc);
    }
  }

  std::this_thread::sleep_until(begin);
  std::mutex mutex;  // Guards `calls`.
  std::vector<Call> calls;
  const auto take = [&](Call* call) {
    const std::lock_guard<std::mutex> lock(mutex);
    if (calls.size() == static_cast<size_t>(scenario->crowd.calls) ||
        steady_clock::now() >= end) {
      return size_t{0};
    }
    call->begin_ns = NowNs();
    calls.push_back(*call);
    return calls.size();
  };
  std::vector<std::thread> workers;
  workers.reserve(static_cast<size_t>(scenario->crowd.workers));
  for (int w = 0; w < scenario->crowd.workers; ++w) {
    workers.emplace_back([&] {
      const absl::Duration timeout = scenario->crowd.attempt_timeout;
      const SendFn send = channel == nullptr ? HttpSends(options.url, timeout)
                                             : GrpcSends(channel, timeout);
      Call call;
      while (const size_t number = take(&call)) {
        call.ok = false;
        while (!call.ok && steady_clock::now() < end) {
          schedule.WaitForTurn();
          call.ok = send();
        }
        call.end_ns = NowNs();
        const std::lock_guard<std::mutex> lock(mutex);
        calls[number - 1] = call;
      }
    });
  }
  for (std::thread& worker : workers) worker.join();
  if (!Write(options.out, calls)) return Fail(options.out + " is not written");
  return 0;
}

}  // namespace
}  // namespace forbear::arena

int main(int argc, char** argv) {
  forbear::arena::Options options;
  if (!forbear::arena::Parse(argc, argv, &options)) {
    std::fputs(forbear::arena::kUsage, stderr);
    return 2;
  }
  curl_global_init(CURL_GLOBAL_DEFAULT);
  return forbear::arena::Play(options);
}
