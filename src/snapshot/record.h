// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// snapshot/record.h: snapshot.json, all of a snapshot that is no tensor.
#pragma once

#include <neap/position.h>

#include <nlohmann/json.hpp>

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace neap::snapshot {

inline constexpr const char* kModelFile = "model.safetensors";
inline constexpr const char* kStateFile = "state.safetensors";
inline constexpr const char* kRecordFile = "snapshot.json";

struct FileRecord {
  std::int64_t bytes = 0;
  std::uint64_t hash = 0;  // XXH3
  std::map<std::string, std::uint64_t> tensors;
};

struct GroupRecord {
  std::vector<std::string> parameters;
  nlohmann::json options;  // by the names of optimizer_fields.h
};

struct Record {
  train::Position position;
  std::int64_t threads = 0;
  std::string torch;      // version of LibTorch
  std::string kernels;    // LibTorch's, for the processor
  std::string optimizer;  // its kind
  std::vector<GroupRecord> groups;
  // Fields of the optimizer's state that are numbers, by the parameter and the field.
  std::map<std::string, std::map<std::string, std::int64_t>> numbers;
  std::map<std::string, FileRecord> files;
};

// Its last key is XXH3 of the text before it. Throws: Error, as OutputFile; InvalidArgument for a
// note that is no UTF-8 text.
void write(const std::filesystem::path& file, const Record& record);
// Throws: Error, with the path, when it is missing, is no whole record, or is of a newer format.
Record read(const std::filesystem::path& file);

}  // namespace neap::snapshot
