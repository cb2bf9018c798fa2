#include "tools/load_options.h"

#include <getopt.h>

#include <cstdio>
#include <fstream>
#include <iterator>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"

namespace forbear::tools {
namespace {

constexpr char kUsage[] =
    "usage: forbear load --url URL --requests N --workers W [OPTIONS]\n"
    "       forbear load --grpc HOST:PORT --rpc /pkg.Service/Method\n"
    "                    --requests N --workers W [OPTIONS]\n"
    "\n"
    "Calls a server that is already there, through Forbear: W workers share one\n"
    "client, and each makes its next call when its last one has ended.\n"
    "\n"
    "what to send\n"
    "  --url URL             an http or https URL\n"
    "  --method M            default: POST with a body, GET without\n"
    "  --header 'K: V'       one more request header; may be repeated\n"
    "  --grpc HOST:PORT      a gRPC server, without TLS\n"
    "  --rpc /pkg.Svc/Meth   a unary method; the request is --body-file's bytes\n"
    "  --body-file FILE      the request body\n"
    "  --idempotent          repeating a call is harmless (gRPC: UNAVAILABLE too\n"
    "                        is retried)\n"
    "how much, how long\n"
    "  --requests N          calls in all, 1 … 10,000,000\n"
    "  --workers W           at a time, 1 … 10,000 (default 1)\n"
    "  --deadline D          for each call, waits included (default: none; a call\n"
    "                        then waits for at most 60s)\n"
    "  --attempt-timeout D   for each attempt (default: none)\n"
    "                        D is 250ms, 2s, 1m30s, …\n"
    "how\n"
    "  --config FILE         a forbear.v1.Config, .textproto or .json (default: the\n"
    "                        defaults of the README)\n"
    "what to say\n"
    "  --records FILE        each call's record, a JSON object a line\n"
    "  --json                the summary as one JSON object\n"
    "\n"
    "exit code: 0 all calls succeeded, 1 not all, 2 wrong usage\n";

enum Option {
  kUrl = 256,
  kMethod,
  kHeader,
  kGrpc,
  kRpc,
  kBodyFile,
  kIdempotent,
  kRequests,
  kWorkers,
  kDeadline,
  kAttemptTimeout,
  kConfig,
  kRecords,
  kJson,
  kHelp,
};

constexpr option kOptions[] = {
    {"url", required_argument, nullptr, kUrl},
    {"method", required_argument, nullptr, kMethod},
    {"header", required_argument, nullptr, kHeader},
    {"grpc", required_argument, nullptr, kGrpc},
    {"rpc", required_argument, nullptr, kRpc},
    {"body-file", required_argument, nullptr, kBodyFile},
    {"idempotent", no_argument, nullptr, kIdempotent},
    {"requests", required_argument, nullptr, kRequests},
    {"workers", required_argument, nullptr, kWorkers},
    {"deadline", required_argument, nullptr, kDeadline},
    {"attempt-timeout", required_argument, nullptr, kAttemptTimeout},
    {"config", required_argument, nullptr, kConfig},
    {"records", required_argument, nullptr, kRecords},
    {"json", no_argument, nullptr, kJson},
    {"help", no_argument, nullptr, kHelp},
    {nullptr, 0, nullptr, 0},
};

int Wrong(absl::string_view what) {
  absl::FPrintF(stderr, "forbear load: %s\n`forbear load --help` says more.\n",
                what);
  return 2;
}

bool ParseNumber(absl::string_view text, int low, int high, int* value) {
  return absl::SimpleAtoi(text, value) && *value >= low && *value <= high;
}

bool ParsePositive(const char* text, absl::Duration* value) {
  return absl::ParseDuration(text, value) && *value > absl::ZeroDuration();
}

std::optional<std::string> ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return std::nullopt;
  std::string text(std::istreambuf_iterator<char>(file), {});
  if (file.bad()) return std::nullopt;
  return text;
}

}  // namespace

std::optional<int> ParseLoadOptions(const std::vector<std::string>& args,
                                    LoadOptions* options) {
  std::string program = "forbear load";
  std::vector<std::string> copies = args;
  std::vector<char*> argv = {program.data()};
  for (std::string& arg : copies) argv.push_back(arg.data());
  argv.push_back(nullptr);
  const int argc = static_cast<int>(argv.size()) - 1;

  optind = 0;
  int option;
  while ((option = getopt_long(argc, argv.data(), "", kOptions, nullptr)) !=
         -1) {
    switch (option) {
      case kUrl:
        options->url = optarg;
        break;
      case kMethod:
        options->method = optarg;
        break;
      case kHeader:
        if (!absl::StrContains(optarg, ':')) {
          return Wrong(absl::StrCat("--header '", optarg,
                                    "' has no colon; it must be 'Name: value'"));
        }
        options->headers.emplace_back(optarg);
        break;
      case kGrpc:
        options->grpc_target = optarg;
        break;
      case kRpc:
        options->rpc = optarg;
        break;
      case kBodyFile:
        options->body = ReadFile(optarg);
        if (!options->body) {
          return Wrong(absl::StrCat("--body-file ", optarg,
                                    " cannot be read"));
        }
        break;
      case kIdempotent:
        options->idempotent = true;
        break;
      case kRequests:
        if (!ParseNumber(optarg, 1, 10000000, &options->requests)) {
          return Wrong(absl::StrCat("--requests is ", optarg,
                                    "; it must be 1 … 10000000"));
        }
        break;
      case kWorkers:
        if (!ParseNumber(optarg, 1, 10000, &options->workers)) {
          return Wrong(absl::StrCat("--workers is ", optarg,
                                    "; it must be 1 … 10000"));
        }
        break;
      case kDeadline:
        if (!ParsePositive(optarg, &options->deadline)) {
          return Wrong(absl::StrCat("--deadline is ", optarg,
                                    "; it must be like 250ms, 2s or 1m30s"));
        }
        break;
      case kAttemptTimeout:
        if (!ParsePositive(optarg, &options->attempt_timeout)) {
          return Wrong(absl::StrCat("--attempt-timeout is ", optarg,
                                    "; it must be like 250ms, 2s or 1m30s"));
        }
        break;
      case kConfig:
        options->config_path = optarg;
        break;
      case kRecords:
        options->records_path = optarg;
        break;
      case kJson:
        options->json = true;
        break;
      case kHelp:
        std::fputs(kUsage, stdout);
        return 0;
      default:
        // getopt has said what it does not understand.
        std::fputs("`forbear load --help` says more.\n", stderr);
        return 2;
    }
  }
  if (optind < argc) {
    return Wrong(absl::StrCat("'", argv[static_cast<size_t>(optind)],
                              "' is not an option"));
  }
  if (options->url.empty() == options->grpc_target.empty()) {
    return Wrong("one of --url and --grpc must be given");
  }
  if (options->grpc_target.empty()) {
    if (!options->rpc.empty()) return Wrong("--rpc goes with --grpc");
    if (!absl::StartsWith(options->url, "http://") &&
        !absl::StartsWith(options->url, "https://")) {
      return Wrong("--url must begin with http:// or https://");
    }
  } else {
    if (!absl::StartsWith(options->rpc, "/") ||
        options->rpc.find('/', 1) == std::string::npos) {
      return Wrong("--grpc needs --rpc /pkg.Service/Method");
    }
    if (!options->method.empty()) return Wrong("--method goes with --url");
  }
  if (options->requests == 0) return Wrong("--requests must be given");
  return std::nullopt;
}

}  // namespace forbear::tools
