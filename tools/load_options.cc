#include "tools/load_options.h"

#include <getopt.h>

#include <cstdio>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "tools/option_text.h"

namespace forbear::tools {
namespace {

constexpr char kUsage[] =
    "usage: forbear load --url URL --requests N --workers W [OPTIONS]\n"
    "       forbear load --grpc HOST:PORT --rpc /pkg.Service/Method\n"
    "                    --requests N --workers W [OPTIONS]\n"
    "\n"
    "Calls a server that is already there, through Forbear: W workers share "
    "one\n"
    "client, and each makes its next call when its last one has ended.\n"
    "\n"
    "what to send\n"
    "  --url URL             an http or https URL\n"
    "  --method M            default: POST with a body, GET without\n"
    "  --header 'K: V'       one more request header; may be repeated. HTTP: "
    "'K:'\n"
    "                        removes one that libcurl adds. gRPC: a metadatum; "
    "of a\n"
    "                        name that ends in -bin, V is base64\n"
    "  --grpc HOST:PORT      a gRPC server, without TLS\n"
    "  --rpc /pkg.Svc/Meth   a unary method; the request is --body-file's "
    "bytes\n"
    "  --body-file FILE      the request body\n"
    "  --idempotent          repeating a call is harmless (gRPC: UNAVAILABLE "
    "and\n"
    "                        attempts that time out are retried too)\n"
    "how much, how long\n"
    "  --requests N          calls in all, 1 … 10,000,000\n"
    "  --workers W           at a time, 1 … 10,000 (default 1)\n"
    "  --deadline D          for each call, waits included (default: none; a "
    "call\n"
    "                        then gives up waiting after 60s, also for a "
    "server\n"
    "                        that is down)\n"
    "  --attempt-timeout D   for each attempt (default: none)\n"
    "                        D is 250ms, 2s, 1m30s, …\n"
    "how\n"
    "  --config FILE         a forbear.v1.Config, .textproto or .json "
    "(default: the\n"
    "                        defaults of the README)\n"
    "what to say\n"
    "  --records FILE        each call's record, a JSON object a line\n"
    "  --json                the summary as one JSON object\n"
    "\n"
    "stdout has the summary and nothing else. If calls failed, stderr has one "
    "of\n"
    "them, attempt by attempt. FORBEAR_LOG=1 prints every decision there.\n"
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

// gRPC's rules, which are narrower. Changes names to lower case, and values of
// binary metadata to bytes.
std::string MakeMetadata(LoadOptions* options) {
  for (LoadOptions::Header& header : options->headers) {
    const std::string shown = absl::StrCat("--header '", header.name, ": ",
                                           absl::CEscape(header.value), "'");
    absl::AsciiStrToLower(&header.name);
    for (const char c : header.name) {
      if (!absl::ascii_isalnum(static_cast<unsigned char>(c)) &&
          !absl::StrContains("-._", c)) {
        return absl::StrCat(shown,
                            " has no proper name for gRPC; it has "
                            "letters, digits and -._ only");
      }
    }
    if (absl::StartsWith(header.name, "grpc-")) {
      return absl::StrCat(shown,
                          " cannot be sent; names that begin with grpc- "
                          "are gRPC's own");
    }
    for (const char* own : {"te", "content-type", "user-agent", "host",
                            "content-length", "connection"}) {
      if (header.name == own) {
        return absl::StrCat(shown,
                            " cannot be sent over gRPC, which sets it "
                            "by itself; leave it out");
      }
    }
    if (absl::EndsWith(header.name, "-bin")) {
      std::string bytes;
      if (!absl::Base64Unescape(header.value, &bytes)) {
        return absl::StrCat(shown,
                            " is no base64; the value of a name that "
                            "ends in -bin must be");
      }
      header.value = std::move(bytes);
      continue;
    }
    for (const char c : header.value) {
      if (!absl::ascii_isprint(static_cast<unsigned char>(c))) {
        return absl::StrCat(shown,
                            " is not ASCII; gRPC sends other bytes only "
                            "as base64 of a name that ends in -bin");
      }
    }
  }
  return "";
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
  std::string wrong;
  while ((option = getopt_long(argc, argv.data(), "h", kOptions, nullptr)) !=
         -1) {
    switch (option) {
      case kUrl:
        options->url = optarg;
        break;
      case kMethod:
        options->method = optarg;
        if (!IsToken(options->method)) {
          wrong = absl::StrCat("--method is '", absl::CEscape(optarg),
                               "'; it must be a word like GET or POST");
        }
        break;
      case kHeader:
        options->headers.emplace_back();
        wrong = ParseField("--header", optarg, &options->headers.back().name,
                           &options->headers.back().value);
        break;
      case kGrpc:
        options->grpc_target = optarg;
        break;
      case kRpc:
        options->rpc = optarg;
        break;
      case kBodyFile:
        wrong = ReadFileFor("--body-file", optarg, &options->body.emplace());
        break;
      case kIdempotent:
        options->idempotent = true;
        break;
      case kRequests:
        if (!ParseNumber(optarg, 1, 10000000, &options->requests)) {
          wrong = absl::StrCat("--requests is '", optarg,
                               "'; it must be a number from 1 to 10000000");
        }
        break;
      case kWorkers:
        if (!ParseNumber(optarg, 1, 10000, &options->workers)) {
          wrong = absl::StrCat("--workers is '", optarg,
                               "'; it must be a number from 1 to 10000");
        }
        break;
      case kDeadline:
        wrong = ParseAtLeast("--deadline", absl::Nanoseconds(1), optarg,
                             &options->deadline);
        break;
      case kAttemptTimeout:
        wrong = ParseAtLeast("--attempt-timeout", absl::Milliseconds(1), optarg,
                             &options->attempt_timeout);
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
      case 'h':
        std::fputs(kUsage, stdout);
        return 0;
      default:
        // getopt has said what it does not understand.
        std::fputs("`forbear load --help` says more.\n", stderr);
        return 2;
    }
    if (!wrong.empty()) return Wrong(wrong);
  }
  if (optind < argc) {
    return Wrong(absl::StrCat("'", argv[static_cast<size_t>(optind)],
                              "' is not an option"));
  }
  if (options->url.empty() && options->grpc_target.empty()) {
    return Wrong("no server is named: give --url URL, or --grpc HOST:PORT");
  }
  if (!options->url.empty() && !options->grpc_target.empty()) {
    return Wrong("--url and --grpc exclude each other: give one of them");
  }
  if (options->grpc_target.empty()) {
    if (!options->rpc.empty()) {
      return Wrong("--rpc goes with --grpc, not with --url: leave it out");
    }
    if (!absl::StartsWithIgnoreCase(options->url, "http://") &&
        !absl::StartsWithIgnoreCase(options->url, "https://")) {
      return Wrong(absl::StrCat("--url is '", options->url,
                                "'; it must begin with http:// or https://"));
    }
  } else {
    if (!IsRpc(options->rpc)) {
      return Wrong(absl::StrCat("--rpc is '", options->rpc,
                                "'; --grpc needs one like "
                                "/pkg.Service/Method"));
    }
    if (!options->method.empty()) {
      return Wrong("--method goes with --url, not with --grpc: leave it out");
    }
    wrong = MakeMetadata(options);
    if (!wrong.empty()) return Wrong(wrong);
  }
  if (options->requests == 0)
    return Wrong("--requests must be given: how many calls to make");
  return std::nullopt;
}

}  // namespace forbear::tools
