// Configuration: core/policy.h's Settings to and from proto/config.proto, and
// files of it in text format or JSON.
//
//   absl::StatusOr<Settings> settings = LoadConfig("forbear.textproto");
//   if (!settings.ok()) …settings.status() lists every fault of the file…
//   auto client = Client::Create(ClientOptions(*std::move(settings)));
//
// Every fault is reported at once: names that no field has, values of the wrong
// type, durations that are none, numbers out of their range. Of JSON each comes
// with its path ("retry.backoff.initial"); of text format what the parser itself
// refuses comes with line and column, one for each field, and the rest with its
// path. Where neither a field nor its line can be left out, reading ends, and the
// error says so.
//
// A JSON file with methodConfig or another member that only a gRPC service config has
// is read as one (proto/service_config_convert.h).
//
// Thread rule: pure functions, and some that read a file; call from anywhere.
#ifndef FORBEAR_PROTO_CONFIG_CONVERT_H_
#define FORBEAR_PROTO_CONFIG_CONVERT_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/policy.h"
#include "proto/config.pb.h"

namespace forbear {

enum class ConfigFormat {
  kTextproto,
  kJson,  // of forbear.v1.Config, or a gRPC service config
};

// By the end of a file's name: .textproto, .txtpb or .json. INVALID_ARGUMENT for
// others.
absl::StatusOr<ConfigFormat> ConfigFormatOf(absl::string_view path);

// INVALID_ARGUMENT with all faults. Fields that the text does not have keep their
// defaults; an empty text (of JSON: {}) is the default configuration.
absl::StatusOr<Settings> ParseConfig(absl::string_view text,
                                     ConfigFormat format);

// All that there is to say about a text.
struct ConfigReading {
  // What the text sets, and nothing else.
  v1::Config proto;
  // The effective configuration. REQUIRES: faults is empty.
  Settings settings;
  std::vector<std::string> faults;
  // What was read and is not used, in a gRPC service config.
  std::vector<std::string> notes;
  bool is_service_config = false;
};
ConfigReading ReadConfig(absl::string_view text, ConfigFormat format);

// The same of a file. A status only for a file that cannot be read at all.
absl::StatusOr<ConfigReading> ReadConfigFile(const std::string& path);

// The file's text, parsed by ConfigFormatOf. NOT_FOUND if it cannot be read;
// INVALID_ARGUMENT, with the path, also above kMaxConfigBytes.
absl::StatusOr<Settings> LoadConfig(const std::string& path);
constexpr int kMaxConfigBytes = 1 << 20;

// Puts a file's settings into place, if it is valid: client->Reload(…). `Client` is
// forbear::Client, which this room does not know.
template <typename Client>
absl::Status ReloadFile(Client* client, const std::string& path) {
  absl::StatusOr<Settings> settings = LoadConfig(path);
  if (!settings.ok()) return settings.status();
  return client->Reload(*std::move(settings));
}

absl::StatusOr<Settings> ConfigFromProto(const v1::Config& proto);

// Every field, also those that have their default.
v1::Config ConfigToProto(const Settings& settings);

// Likewise; `quota` and `endpoint` only if they are the target's own.
v1::Target TargetToProto(const TargetPolicy& target);

}  // namespace forbear

#endif  // FORBEAR_PROTO_CONFIG_CONVERT_H_
