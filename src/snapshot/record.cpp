// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "snapshot/record.h"

#include "base/stable_hash.h"
#include "machine/input.h"

#include <neap/machine.h>
#include <neap/version.h>

#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <system_error>

namespace neap::snapshot {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::int64_t kFormat = 1;
constexpr std::size_t kMostBytes = std::size_t{1} << 28;
constexpr int kMostNesting = 32;  // a copy of a deeper value would take all of the stack
const std::string kSum = ",\n \"xxh3\": \"";  // before the checksum of all that is before it

// 64 bits as text: a number in JSON may lose some in other programs.
std::string hexadecimal(std::uint64_t number) {
  std::array<char, 17> digits{};
  const auto end = std::to_chars(digits.data(), digits.data() + 16, number, 16).ptr;
  return {digits.data(), end};
}

std::uint64_t number_of(const std::string& digits) {
  std::uint64_t number = 0;
  const char* const end = digits.data() + digits.size();
  const auto [stop, error] = std::from_chars(digits.data(), end, number, 16);
  if (error != std::errc() || stop != end) throw Error("a checksum is no hexadecimal number");
  return number;
}

// A number that is no whole one, or too large, would become any.
std::int64_t count_of(const nlohmann::json& json) {
  if (!json.is_number_integer() || json.get<std::int64_t>() < 0) {
    throw Error("'" + json.dump() + "' is no count");
  }
  return json.get<std::int64_t>();
}

Json json_of(const FileRecord& file) {
  Json tensors = Json::object();
  for (const auto& [name, hash] : file.tensors) tensors[name] = hexadecimal(hash);
  return {{"bytes", file.bytes}, {"xxh3", hexadecimal(file.hash)}, {"tensors", tensors}};
}

FileRecord file_of(const nlohmann::json& json) {
  FileRecord file{count_of(json.at("bytes")), number_of(json.at("xxh3").get<std::string>()), {}};
  for (const auto& [name, hash] : json.at("tensors").items()) {
    file.tensors[name] = number_of(hash.get<std::string>());
  }
  return file;
}

Json json_of(const Record& record) {
  Json json = {{"format", kFormat},
               {"neap", NEAP_VERSION},
               {"torch", record.torch},
               {"kernels", record.kernels},
               {"threads", record.threads},
               {"step", record.position.step},
               {"notes", record.position.notes}};
  if (const auto& loader = record.position.loader) {
    json["loader"] = {
        {"seed", loader->seed}, {"epoch", loader->epoch}, {"position", loader->position}};
  }
  Json groups = Json::array();
  for (const GroupRecord& group : record.groups) {
    groups.push_back({{"parameters", group.parameters}, {"options", group.options}});
  }
  json["optimizer"] = {{"kind", record.optimizer}, {"groups", groups}, {"numbers", record.numbers}};
  for (const auto& [name, file] : record.files) json["files"][name] = json_of(file);
  return json;
}

Record record_of(const nlohmann::json& json) {
  Record record;
  record.torch = json.at("torch").get<std::string>();
  record.kernels = json.at("kernels").get<std::string>();
  record.threads = count_of(json.at("threads"));
  record.position.step = count_of(json.at("step"));
  record.position.notes = json.at("notes").get<std::map<std::string, std::string>>();
  if (json.contains("loader")) {
    const nlohmann::json& loader = json.at("loader");
    record.position.loader = {.seed = loader.at("seed").get<std::uint64_t>(),
                              .epoch = count_of(loader.at("epoch")),
                              .position = count_of(loader.at("position"))};
  }
  const nlohmann::json& optimizer = json.at("optimizer");
  record.optimizer = optimizer.at("kind").get<std::string>();
  for (const nlohmann::json& group : optimizer.at("groups")) {
    record.groups.push_back(
        {group.at("parameters").get<std::vector<std::string>>(), group.at("options")});
  }
  for (const auto& [parameter, fields] : optimizer.at("numbers").items()) {
    for (const auto& [field, value] : fields.items()) {
      record.numbers[parameter][field] = count_of(value);
    }
  }
  for (const char* const name : {kModelFile, kStateFile}) {
    record.files[name] = file_of(json.at("files").at(name));
  }
  return record;
}

std::string content_of(const std::filesystem::path& file) {
  const machine::Opened opened = machine::open_to_read(file);
  if (!opened.why.empty()) machine::refuse_opening(file, opened);
  std::string content;
  std::array<char, 1 << 16> part{};
  ssize_t got = 0;
  while (content.size() <= kMostBytes) {
    got = ::read(opened.descriptor, part.data(), part.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    content.append(part.data(), static_cast<std::size_t>(got));
  }
  const int error = errno;
  ::close(opened.descriptor);
  if (got < 0) {
    throw machine::Unreadable(file.string() +
                              " cannot be read: " + std::generic_category().message(error) +
                              "; check the disk, or take an older snapshot");
  }
  return content;
}

void check_sum(const std::string& content) {
  const std::size_t at = content.rfind(kSum);
  if (at == std::string::npos) throw Error("its checksum is missing");
  const std::size_t digits = at + kSum.size();
  const std::uint64_t sum = number_of(content.substr(digits, content.find('"', digits) - digits));
  if (stable_hash(content.data(), at) != sum) throw Error("it was changed");
}

[[noreturn]] void refuse(const std::filesystem::path& file, const std::string& why) {
  throw Error(file.string() + " is no whole record of a snapshot: " + why +
              "; take an older snapshot");
}

}  // namespace

void write(const std::filesystem::path& file, const Record& record) {
  std::string text;
  try {
    text = json_of(record).dump(1);
  } catch (const nlohmann::json::exception& wrong) {
    throw InvalidArgument(std::string("a note of a snapshot is no UTF-8 text: ") + wrong.what() +
                          "; write it otherwise");
  }
  text.resize(text.rfind("\n}"));
  OutputFile out(file, OutputFile::Access::Private);
  out.append(text);
  out.append(kSum + hexadecimal(stable_hash(text.data(), text.size())) + "\"\n}\n");
  out.finish();
}

Record read(const std::filesystem::path& file) {
  const std::string content = content_of(file);
  const auto check_depth = [&](int depth, nlohmann::json::parse_event_t, const nlohmann::json&) {
    if (depth > kMostNesting) {
      refuse(file, "it is nested deeper than " + std::to_string(kMostNesting));
    }
    return true;
  };
  const nlohmann::json json =
      nlohmann::json::parse(content, check_depth, /*allow_exceptions=*/false);
  if (!json.is_object()) refuse(file, "it is no JSON object");
  const auto format = json.find("format");
  if (format == json.end() || !format->is_number_integer()) refuse(file, "it names no format");
  if (format->get<std::int64_t>() != kFormat) {
    throw Error(file.string() + " has format " + format->dump() + ", and this neap reads " +
                std::to_string(kFormat) + "; take the neap that wrote it");
  }
  try {
    check_sum(content);
    return record_of(json);
  } catch (const nlohmann::json::exception& wrong) {
    refuse(file, wrong.what());
  } catch (const Error& wrong) {
    refuse(file, wrong.what());
  }
}

}  // namespace neap::snapshot
