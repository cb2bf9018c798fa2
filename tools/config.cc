#include "tools/config.h"

#include <getopt.h>

#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <optional>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "core/call_match.h"
#include "curl_wrap/target.h"
#include "interceptors/rpc_options.h"
#include "proto/config_convert.h"
#include "tools/effective_policy.h"
#include "tools/option_text.h"

namespace forbear::tools {
namespace {

constexpr char kUsage[] =
    "usage: forbear config check FILE [--json]\n"
    "       forbear config show FILE --target T [--method M] [--path P]\n"
    "                                [--rpc R] [--json]\n"
    "\n"
    "FILE is a forbear.v1.Config, .textproto or .json, or a gRPC service "
    "config,\n"
    ".json.\n"
    "\n"
    "check  says every fault of the file, with its place; also what of a "
    "service\n"
    "       config is not used\n"
    "show   prints the policy of one call, every field, and where what is no\n"
    "       default comes from: \"target\", or \"file\" for its top level\n"
    "\n"
    "  --target T   host or host:port, a URL, or a gRPC target\n"
    "  --method M   the HTTP method (default: GET, unless there is --rpc)\n"
    "  --path P     the URL's path (default: that of the URL, else /)\n"
    "  --rpc R      /pkg.Service/Method: a gRPC call, instead of these two\n"
    "  --json       one JSON object\n"
    "\n"
    "exit code: 0 the file is right, 1 it has faults, 2 wrong usage, or it "
    "cannot\n"
    "be read\n";

enum Option { kTarget = 256, kMethod, kPath, kRpc, kJson, kHelp };

constexpr option kOptions[] = {
    {"target", required_argument, nullptr, kTarget},
    {"method", required_argument, nullptr, kMethod},
    {"path", required_argument, nullptr, kPath},
    {"rpc", required_argument, nullptr, kRpc},
    {"json", no_argument, nullptr, kJson},
    {"help", no_argument, nullptr, kHelp},
    {nullptr, 0, nullptr, 0},
};

struct ConfigOptions {
  bool show = false;
  std::string file;
  std::string target;
  std::string method;
  std::string path;
  std::string rpc;
  bool json = false;
};

int Wrong(absl::string_view what) {
  absl::FPrintF(
      stderr, "forbear config: %s\n`forbear config --help` says more.\n", what);
  return 2;
}

std::optional<int> ParseOptions(const std::vector<std::string>& args,
                                ConfigOptions* options) {
  std::string program = "forbear config";
  std::vector<std::string> copies = args;
  std::vector<char*> argv = {program.data()};
  for (std::string& arg : copies) argv.push_back(arg.data());
  argv.push_back(nullptr);
  const int argc = static_cast<int>(argv.size()) - 1;
  optind = 0;
  int option;
  while ((option = getopt_long(argc, argv.data(), "h", kOptions, nullptr)) !=
         -1) {
    switch (option) {
      case kTarget:
        options->target = optarg;
        break;
      case kMethod:
        options->method = optarg;
        if (!IsToken(options->method)) {
          return Wrong(absl::StrCat("--method is '", absl::CEscape(optarg),
                                    "'; it must be a word like GET or POST"));
        }
        break;
      case kPath:
        options->path = optarg;
        if (!absl::StartsWith(options->path, "/")) {
          return Wrong(absl::StrCat("--path is '", absl::CEscape(optarg),
                                    "'; it must begin with /"));
        }
        break;
      case kRpc:
        options->rpc = optarg;
        if (!IsRpc(options->rpc)) {
          return Wrong(absl::StrCat("--rpc is '", absl::CEscape(optarg),
                                    "'; it must be like /pkg.Service/Method"));
        }
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
        std::fputs("`forbear config --help` says more.\n", stderr);
        return 2;
    }
  }
  std::vector<std::string> words(argv.begin() + optind, argv.end() - 1);
  if (words.empty()) return Wrong("say what to do: check FILE, or show FILE");
  if (words[0] != "check" && words[0] != "show") {
    return Wrong(absl::StrCat("'", absl::CEscape(words[0]),
                              "' is neither check nor show"));
  }
  options->show = words[0] == "show";
  if (words.size() < 2) return Wrong("no file is named");
  if (words.size() > 2) {
    return Wrong(
        absl::StrCat("'", absl::CEscape(words[2]), "' is one file too many"));
  }
  options->file = words[1];
  const bool about_a_call = !options->target.empty() ||
                            !options->method.empty() ||
                            !options->path.empty() || !options->rpc.empty();
  if (!options->show && about_a_call) {
    return Wrong(
        "--target, --method, --path and --rpc go with show, not with "
        "check: leave them out");
  }
  if (options->show && options->target.empty()) {
    return Wrong("--target must be given: of which host's calls");
  }
  if (!options->rpc.empty() &&
      !(options->method.empty() && options->path.empty())) {
    return Wrong("--rpc goes without --method and --path: leave them out");
  }
  return std::nullopt;
}

std::string JsonText(absl::string_view text) {
  std::string json = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      json += '\\';
      json += c;
    } else if (absl::ascii_iscntrl(static_cast<unsigned char>(c))) {
      absl::StrAppendFormat(&json, "\\u%04x", static_cast<unsigned char>(c));
    } else {
      json += c;
    }
  }
  return json + "\"";
}

std::string JsonList(const std::vector<std::string>& texts) {
  std::string json;
  for (const std::string& text : texts) {
    absl::StrAppend(&json, json.empty() ? "" : ", ", JsonText(text));
  }
  return absl::StrCat("[", json, "]");
}

// stdout has all of `text`, or the program has failed.
int Say(const std::string& text, int code) {
  if (std::fputs(text.c_str(), stdout) < 0 || std::fflush(stdout) != 0) {
    absl::FPrintF(stderr, "forbear config: stdout cannot be written: %s\n",
                  std::strerror(errno));
    return 2;
  }
  return code;
}

std::string ReportOf(const ConfigOptions& options,
                     const ConfigReading& reading) {
  const char* const kind = reading.is_service_config ? "a gRPC service config"
                                                     : "a forbear.v1.Config";
  const int targets = reading.proto.targets_size();
  if (options.json) {
    return absl::StrCat(
        "{\"file\": ", JsonText(options.file), ", \"kind\": ", JsonText(kind),
        ", \"targets\": ", targets, ", \"faults\": ", JsonList(reading.faults),
        ", \"notes\": ", JsonList(reading.notes), "}\n");
  }
  const size_t faults = reading.faults.size();
  std::string text =
      faults == 0
          ? absl::StrCat(options.file, ": ", kind, " without a fault, ",
                         targets, targets == 1 ? " target\n" : " targets\n")
          : absl::StrCat(options.file, ": ", faults,
                         faults == 1 ? " fault:\n" : " faults:\n");
  for (const std::string& fault : reading.faults) {
    absl::StrAppend(&text, "  ", fault, "\n");
  }
  for (const std::string& note : reading.notes) {
    absl::StrAppend(&text, "  note: ", note, "\n");
  }
  return text;
}

int Show(const ConfigOptions& options, const ConfigReading& reading) {
  CallRoute route;
  std::string host = options.target;
  std::string path = options.path;
  if (options.rpc.empty() && absl::StrContains(host, "://")) {
    const std::optional<curl::Target> url =
        curl::TargetOf(host, "", 0, /*with_path=*/true);
    if (!url || !url->is_http()) {
      return Wrong(absl::StrCat("--target is '", absl::CEscape(host),
                                "', which is no http or https URL"));
    }
    if (path.empty()) path = url->path;
    host = url->host_port;
  }
  if (path.empty()) path = "/";
  host = absl::AsciiStrToLower(rpc::ServerOf(host));
  const HostAndPort split = SplitHostPort(host);
  route.host = split.host;
  route.port = split.port;
  if (options.rpc.empty()) {
    // Not of std::string: what it is made of would be gone.
    route.method = options.method.empty() ? absl::string_view("GET")
                                          : absl::string_view(options.method);
    route.path = path;
  } else {
    route.rpc = options.rpc;
  }
  const EffectivePolicy policy = EffectivePolicyOf(reading, route);
  return Say(options.json ? policy.Json() + "\n" : policy.Text(), 0);
}

}  // namespace

int RunConfig(const std::vector<std::string>& args) {
  ConfigOptions options;
  if (std::optional<int> code = ParseOptions(args, &options)) return *code;
  const absl::StatusOr<ConfigReading> reading = ReadConfigFile(options.file);
  if (!reading.ok()) {
    absl::FPrintF(stderr, "forbear config: %s\n", reading.status().message());
    return 2;
  }
  const int code = reading->faults.empty() ? 0 : 1;
  if (!options.show) return Say(ReportOf(options, *reading), code);
  if (code == 0) return Show(options, *reading);
  std::fputs(ReportOf(options, *reading).c_str(), stderr);
  return code;
}

}  // namespace forbear::tools
