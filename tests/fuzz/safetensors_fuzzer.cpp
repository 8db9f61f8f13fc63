// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Any bytes are a safetensors file, or are refused with an Error. The tensors of a file that is
// read lie side by side in it, from the header to the end.
#include "fuzz/memory_file.h"
#include "fuzz/round_trip.h"
#include "safetensors/safetensors.h"

#include <neap/base.h>

#include <string>
#include <vector>

namespace neap::safetensors {
namespace {

using fuzz::expect;

void check_entries(const File& file) {
  std::int64_t in_tensors = 0;
  for (const File::Entry& entry : file.entries()) {
    std::int64_t bytes = item_bytes(entry.type);
    expect(bytes > 0, "a tensor has a type of the format");
    for (const std::int64_t extent : entry.shape) bytes *= extent;
    expect(bytes == entry.bytes, "a tensor has the bytes of its type and shape");
    expect(entry.offset >= 8 && entry.offset + bytes <= file.bytes(), "a tensor is in its file");
    expect(file.find(entry.name) == &entry, "a tensor is found by its name");
    in_tensors += bytes;
    std::vector<std::byte> content(static_cast<std::size_t>(bytes));
    file.read(entry, content);
  }
  expect(in_tensors + 8 <= file.bytes(), "no byte is of two tensors");
  expect(file.hash() == file.hash(), "a file has one hash");
}

void check(const unsigned char* bytes, std::size_t count) {
  const fuzz::MemoryFile file(bytes, count);
  try {
    check_entries(File(file.path()));
  } catch (const Error& error) {
    expect(std::string(error.what()).find("safetensors file: at byte ") != std::string::npos,
           "a refusal names a place");
  }
}

}  // namespace
}  // namespace neap::safetensors

// NOLINTNEXTLINE(readability-identifier-naming): the name that libFuzzer calls.
extern "C" int LLVMFuzzerTestOneInput(const unsigned char* bytes, std::size_t count) {
  neap::safetensors::check(bytes, count);
  return 0;
}
