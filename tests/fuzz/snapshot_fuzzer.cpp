// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Any bytes are the snapshot.json of a snapshot, or are refused with an Error that names the file.
// Its checksum is made right first, or only its own damage would be found. What was read is written
// and read again as the same.
#include "base/stable_hash.h"
#include "fuzz/memory_file.h"
#include "fuzz/round_trip.h"
#include "snapshot/record.h"

#include <neap/base.h>

#include <array>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>

#include <unistd.h>

namespace neap::snapshot {
namespace {

namespace fs = std::filesystem;
using fuzz::expect;

const std::string kSum = ",\n \"xxh3\": \"";

// With the checksum of all that is before it, where it has one.
std::string signed_again(std::string text) {
  const std::size_t at = text.rfind(kSum);
  if (at == std::string::npos) return text;
  std::array<char, 16> digits{};
  const auto end =
      std::to_chars(digits.data(), digits.data() + digits.size(), stable_hash(text.data(), at), 16);
  const std::size_t begin = at + kSum.size();
  const std::size_t quote = std::min(text.find('"', begin), text.size());
  return text.replace(begin, quote - begin, std::string(digits.data(), end.ptr));
}

std::optional<Record> read_bytes(const std::string& bytes) {
  const fuzz::MemoryFile file(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size());
  try {
    return read(file.path());
  } catch (const Error& error) {
    expect(std::string(error.what()).find(file.path()) == 0, "a refusal names the file");
    return std::nullopt;
  }
}

// Its text as write() puts it into a file.
std::optional<std::string> written(const Record& record) {
  static const fs::path folder = [] {
    fs::path made = fs::temp_directory_path() / ("neap_fuzz_" + std::to_string(::getpid()));
    fs::create_directories(made);
    return made;
  }();
  try {
    write(folder / kRecordFile, record);
  } catch (const InvalidArgument&) {
    return std::nullopt;
  }
  std::ifstream file(folder / kRecordFile, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

void check(const std::string& bytes) {
  const std::optional<Record> record = read_bytes(bytes);
  if (!record) return;
  expect(record->position.step >= 0 && record->threads >= 0, "counts are none below 0");
  expect(record->files.size() == 2, "a snapshot has two files beside its record");
  for (const auto& [name, file] : record->files) {
    expect(name == kModelFile || name == kStateFile, "no other file is named");
    expect(file.bytes >= 0, "a file has bytes");
  }
  const std::optional<std::string> text = written(*record);
  if (!text) return;
  const std::optional<Record> again = read_bytes(*text);
  expect(again.has_value(), "what is written is read");
  expect(written(*again) == text, "and is written the same again");
}

}  // namespace
}  // namespace neap::snapshot

// NOLINTNEXTLINE(readability-identifier-naming): the name that libFuzzer calls.
extern "C" int LLVMFuzzerTestOneInput(const unsigned char* bytes, std::size_t count) {
  std::string text(reinterpret_cast<const char*>(bytes), count);
  neap::snapshot::check(text);
  neap::snapshot::check(neap::snapshot::signed_again(std::move(text)));
  return 0;
}
