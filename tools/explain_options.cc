#include "tools/explain_options.h"

#include <getopt.h>

#include <cstddef>
#include <cstdio>
#include <limits>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "signals/http_date.h"
#include "tools/option_text.h"

namespace forbear::tools {
namespace {

constexpr char kUsage[] =
    R"(usage: forbear explain --http-status N [OPTIONS]
       forbear explain --curl-code N [OPTIONS]
       forbear explain --grpc-status N [OPTIONS]

Says what would be decided for one answer, and why. Nothing is sent. A call that
shares its limit and its server with nobody is assumed; what other calls were
told comes on top.

what came back
  --http-status N       the status of the answer
  --header 'K: V'       one of its fields; may be repeated
  --body-file FILE      its body
  --curl-code N         a CURLcode, with or without a status
  --bytes-sent N        of the request (default: some, if there is a status)
  --grpc-status N       a gRPC code, by number or name
  --trailer 'K: V'      one of its trailers; may be repeated. Of a name that ends
                        in -bin, V is base64
what was sent
  --method M            HTTP: default GET; gRPC: /pkg.Service/Method
  --host HOST           chooses the configuration's target and the profile
  --path PATH           chooses the configuration's target
  --idempotent          repeating it is harmless (gRPC: the code is listed)
where the call stands
  --attempt N           which attempt it was (default 1)
  --elapsed D           since the call's begin (default 0s)
  --deadline D          of the call (default: none)
  --now DATE            the clock when the answer came, as an HTTP date
                        D is 250ms, 2s, 1m30s, ...
by which rules
  --config FILE         a forbear.v1.Config, .textproto or .json
  --profile ID          a vendor profile (default: by --host, else generic)
  --json                one JSON object: kind, processed, retry, stop_reason,
                        wait_ms {min, max}, wait_source, gate_ms, breaker_counts,
                        budget_cost, retry_at, notes

exit code: 0, or 2 for wrong usage
)";

enum Option {
  kHttpStatus = 256,
  kHeader,
  kBodyFile,
  kCurlCode,
  kBytesSent,
  kGrpcStatus,
  kTrailer,
  kMethod,
  kHost,
  kPath,
  kIdempotent,
  kAttempt,
  kElapsed,
  kDeadline,
  kNow,
  kConfig,
  kProfile,
  kJson,
  kHelp,
};

constexpr option kOptions[] = {
    {"http-status", required_argument, nullptr, kHttpStatus},
    {"header", required_argument, nullptr, kHeader},
    {"body-file", required_argument, nullptr, kBodyFile},
    {"curl-code", required_argument, nullptr, kCurlCode},
    {"bytes-sent", required_argument, nullptr, kBytesSent},
    {"grpc-status", required_argument, nullptr, kGrpcStatus},
    {"trailer", required_argument, nullptr, kTrailer},
    {"method", required_argument, nullptr, kMethod},
    {"host", required_argument, nullptr, kHost},
    {"path", required_argument, nullptr, kPath},
    {"idempotent", no_argument, nullptr, kIdempotent},
    {"attempt", required_argument, nullptr, kAttempt},
    {"elapsed", required_argument, nullptr, kElapsed},
    {"deadline", required_argument, nullptr, kDeadline},
    {"now", required_argument, nullptr, kNow},
    {"config", required_argument, nullptr, kConfig},
    {"profile", required_argument, nullptr, kProfile},
    {"json", no_argument, nullptr, kJson},
    {"help", no_argument, nullptr, kHelp},
    {nullptr, 0, nullptr, 0},
};

int Wrong(absl::string_view what) {
  absl::FPrintF(stderr,
                "forbear explain: %s\n`forbear explain --help` says more.\n",
                what);
  return 2;
}

std::string ParseOne(absl::string_view option, int low, int high,
                     absl::string_view text, std::optional<int>* value) {
  int number = 0;
  if (!ParseNumber(text, low, high, &number)) {
    return absl::StrCat(option, " is '", absl::CEscape(text),
                        "'; it must be a number from ", low, " to ", high);
  }
  *value = number;
  return "";
}

// In the order of their numbers.
constexpr absl::string_view kGrpcCodes[] = {
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
};

std::string ParseGrpcCode(absl::string_view text, std::optional<int>* value) {
  const std::string name = absl::AsciiStrToUpper(text);
  for (int i = 0; i <= 16; ++i) {
    if (name == kGrpcCodes[i]) {
      *value = i;
      return "";
    }
  }
  if (!ParseOne("--grpc-status", 0, 16, text, value).empty()) {
    return absl::StrCat("--grpc-status is '", absl::CEscape(text),
                        "'; it must be a number from 0 to 16, or a name like "
                        "UNAVAILABLE");
  }
  return "";
}

std::string ParseTrailer(absl::string_view text,
                         std::vector<ExplainOptions::Field>* trailers) {
  ExplainOptions::Field& field = trailers->emplace_back();
  std::string wrong =
      ParseField("--trailer", text, &field.first, &field.second);
  if (!wrong.empty()) return wrong;
  absl::AsciiStrToLower(&field.first);
  std::string bytes;
  if (absl::EndsWith(field.first, "-bin")) {
    if (!absl::Base64Unescape(field.second, &bytes)) {
      return absl::StrCat("--trailer '", absl::CEscape(text),
                          "' is no base64; the value of a name that ends in "
                          "-bin must be");
    }
    field.second = std::move(bytes);
  }
  return "";
}

}  // namespace

std::optional<int> ParseExplainOptions(const std::vector<std::string>& args,
                                       ExplainOptions* options) {
  std::string program = "forbear explain";
  std::vector<std::string> copies = args;
  std::vector<char*> argv = {program.data()};
  for (std::string& arg : copies) argv.push_back(arg.data());
  argv.push_back(nullptr);
  const int argc = static_cast<int>(argv.size()) - 1;

  optind = 0;
  int option;
  std::string wrong;
  std::string first_of_http;
  std::string first_of_grpc;
  while ((option = getopt_long(argc, argv.data(), "h", kOptions, nullptr)) !=
         -1) {
    switch (option) {
      case kHttpStatus:
        wrong =
            ParseOne("--http-status", 100, 999, optarg, &options->http_status);
        break;
      case kHeader:
        options->headers.emplace_back();
        wrong = ParseField("--header", optarg, &options->headers.back().first,
                           &options->headers.back().second);
        first_of_http = "--header";
        break;
      case kBodyFile:
        wrong = ReadFileFor("--body-file", optarg, &options->body);
        first_of_http = "--body-file";
        break;
      case kCurlCode:
        wrong = ParseOne("--curl-code", 0, 999, optarg, &options->curl_code);
        break;
      case kBytesSent: {
        int64_t bytes = 0;
        if (!absl::SimpleAtoi(optarg, &bytes) || bytes < 0) {
          wrong = absl::StrCat("--bytes-sent is '", optarg,
                               "'; it must be a number, 0 or more");
        }
        options->bytes_sent = bytes;
        first_of_http = "--bytes-sent";
        break;
      }
      case kGrpcStatus:
        wrong = ParseGrpcCode(optarg, &options->grpc_status);
        break;
      case kTrailer:
        wrong = ParseTrailer(optarg, &options->trailers);
        first_of_grpc = "--trailer";
        break;
      case kMethod:
        options->method = optarg;
        break;
      case kHost:
        options->host = optarg;
        break;
      case kPath:
        options->path = optarg;
        break;
      case kIdempotent:
        options->idempotent = true;
        break;
      case kAttempt:
        if (!ParseNumber(optarg, 1, std::numeric_limits<int>::max(),
                         &options->attempt)) {
          wrong = absl::StrCat("--attempt is '", optarg,
                               "'; it must be a number, 1 or more");
        }
        break;
      case kElapsed:
        wrong = ParseAtLeast("--elapsed", absl::ZeroDuration(), optarg,
                             &options->elapsed);
        break;
      case kDeadline:
        wrong = ParseAtLeast("--deadline", absl::Nanoseconds(1), optarg,
                             &options->deadline);
        break;
      case kNow:
        // The century of a date with two digits for the year is that of 2026.
        options->now = ParseHttpDate(optarg, 1767225600);
        if (!options->now) {
          wrong = absl::StrCat("--now is '", absl::CEscape(optarg),
                               "'; it must be a date like Wed, 21 Oct 2026 "
                               "07:28:00 GMT");
        }
        break;
      case kConfig:
        options->config_path = optarg;
        break;
      case kProfile:
        options->profile = optarg;
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
        std::fputs("`forbear explain --help` says more.\n", stderr);
        return 2;
    }
    if (!wrong.empty()) return Wrong(wrong);
  }
  if (optind < argc) {
    return Wrong(absl::StrCat("'", argv[static_cast<size_t>(optind)],
                              "' is not an option"));
  }
  const bool http = options->http_status || options->curl_code;
  if (!http && !options->grpc_status) {
    return Wrong(
        "no answer is named: give --http-status, --curl-code or --grpc-status");
  }
  if (http && options->grpc_status) {
    return Wrong(
        "--grpc-status excludes --http-status and --curl-code: give one");
  }
  if (!http && !first_of_http.empty()) {
    return Wrong(absl::StrCat(first_of_http,
                              " goes with --http-status or --curl-code, not "
                              "with --grpc-status: leave it out"));
  }
  if (http && !first_of_grpc.empty()) {
    return Wrong(
        absl::StrCat(first_of_grpc, " goes with --grpc-status: leave it out"));
  }
  if (!options->method.empty()) {
    if (http && !IsToken(options->method)) {
      return Wrong(absl::StrCat("--method is '", absl::CEscape(options->method),
                                "'; it must be a word like GET or POST"));
    }
    if (!http && !IsRpc(options->method)) {
      return Wrong(absl::StrCat("--method is '", absl::CEscape(options->method),
                                "'; with --grpc-status it must be one like "
                                "/pkg.Service/Method"));
    }
  }
  return std::nullopt;
}

}  // namespace forbear::tools
