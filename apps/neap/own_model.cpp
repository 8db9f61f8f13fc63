// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "own_model.h"

#include <dlfcn.h>
#include <elf.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string_view>

namespace neap::app {
namespace {

constexpr std::string_view kMark = NEAP_PLUGIN_MARK;
constexpr std::string_view kOurs = NEAP_VERSION " and LibTorch " TORCH_VERSION;

[[noreturn]] void refuse(const std::string& path, const std::string& why) {
  throw Error("--model " + path + ": " + why);
}

std::string content_of(const std::string& path) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) refuse(path, "is a folder; name the library");
  if (std::filesystem::exists(path, error) && !std::filesystem::is_regular_file(path, error)) {
    refuse(path, "is no file but a pipe or a device; name the library");
  }
  std::ifstream file(path, std::ios::binary);
  std::string content{std::istreambuf_iterator<char>(file), {}};
  if (!file)
    refuse(path, std::string("cannot be read: ") + std::strerror(errno) +
                     "; check the name and its permissions");
  return content;
}

// True when the file has all bytes that the dynamic linker will load. The linker does not check
// this, and would die by a signal.
bool is_whole_library(const std::string& content) {
  Elf64_Ehdr header;
  if (content.size() < sizeof header) return false;
  std::memcpy(&header, content.data(), sizeof header);
  for (std::size_t i = 0; i < header.e_phnum; ++i) {
    const std::size_t at = header.e_phoff + i * sizeof(Elf64_Phdr);
    if (at > content.size() || content.size() - at < sizeof(Elf64_Phdr)) return false;
    Elf64_Phdr part;
    std::memcpy(&part, content.data() + at, sizeof part);
    if (part.p_type != PT_LOAD) continue;
    if (part.p_offset > content.size() || content.size() - part.p_offset < part.p_filesz)
      return false;
  }
  return true;
}

// Looks at the file only, because a library of another LibTorch may crash when it initializes
// itself.
void check_built_with_ours(const std::string& path) {
  const std::string content = content_of(path);
  if (!content.starts_with("\177ELF\2")) {  // an ELF file of 64 bits
    refuse(path,
           "is no shared library of this machine; build one with NEAP_MODEL, see neap/plugin.h");
  }
  if (!is_whole_library(content)) {
    refuse(path, "is damaged: its " + std::to_string(content.size()) +
                     " bytes are fewer than its program headers name; build or copy it anew");
  }
  const std::size_t mark = content.find(kMark);
  if (mark == std::string::npos) {
    refuse(path, "defines no model; add NEAP_MODEL(name, factory) of neap/plugin.h to it");
  }
  const std::size_t begin = mark + kMark.size();
  const std::string theirs = content.substr(begin, content.find('\0', begin) - begin);
  if (theirs != kOurs) {
    refuse(path, "was built with neap " + theirs + ", and this is neap " + std::string(kOurs) +
                     "; build it anew with these");
  }
}

}  // namespace

plugin::Definition load_own_model(const std::string& path) {
  check_built_with_ours(path);
  // Absolute, because a bare name would be searched for in the system's folders.
  void* const library = dlopen(std::filesystem::absolute(path).c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr)
    refuse(path, std::string("cannot be loaded: ") + dlerror() + "; link it with what it needs");
  const auto* const entry =
      static_cast<const plugin::detail::Entry*>(dlsym(library, "neap_plugin_entry"));
  if (entry == nullptr) {
    refuse(path, "does not export neap_plugin_entry; keep NEAP_MODEL's symbols when stripping");
  }
  plugin::Definition definition =
      at_library("--model " + path + ": its factory", [&] { return entry->define(); });
  if (!definition.make_model) {
    refuse(path, std::string("model ") + entry->name + " has no make_model; set it");
  }
  return definition;
}

}  // namespace neap::app
