// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// tests/faults/disk.h: what a disk may hold after a power cut. A Journal has what a program did in
// order; a Disk is replayed from its start and knows what was synced. For what was not:
// * each block of 512 bytes of each write is there, or not, or there up to one of its bytes;
// * a file is as long as it would be, or as the last block that is there;
// * each change of a folder is there or not, whatever became of those before it.
// Threads: one.
#pragma once

#include "faults/shim.h"

#include <cstdint>
#include <filesystem>
#include <map>
#include <random>
#include <string>
#include <vector>

namespace neap::faults {

struct Event {
  enum class Kind : std::uint8_t { File, Folder, Write, Cut, Sync, Link, Rename, Exchange, Remove };
  Kind kind = Kind::File;
  ino_t one = 0;  // a file; the folder where names change
  ino_t of = 0;   // what a name is given to
  std::int64_t at = 0;
  std::string name = {};
  std::string text = {};  // bytes that were written; the second name of a rename
};

class Journal : public Witness {
 public:
  void made_file(ino_t file) override;
  void made_folder(ino_t folder, ino_t in, std::string_view name) override;
  void wrote(ino_t file, std::int64_t at, std::string_view bytes) override;
  void cut(ino_t file, std::int64_t bytes) override;
  void synced(ino_t one) override;
  void linked(ino_t one, ino_t in, std::string_view name) override;
  void renamed(ino_t in, std::string_view from, std::string_view to, bool exchanged) override;
  void removed(ino_t in, std::string_view name) override;

  std::vector<Event> events;
};

using Chance = std::mt19937_64;

class Disk {
 public:
  // An empty folder.
  explicit Disk(ino_t root);
  // `syncs`: false: a disk that lies, and syncs nothing.
  void replay(const Event& event, bool syncs = true);
  void sync_all();
  // Writes into `folder`, which is empty, one of the states that a power cut may leave.
  void cut_power(const std::filesystem::path& folder, Chance& chance) const;

 private:
  struct Change {
    std::int64_t at = 0;
    std::string bytes;
    bool cuts = false;  // the file to `at` bytes
  };
  using Names = std::map<std::string, std::size_t>;
  // By name what it leads to then; kGone: nothing.
  using Step = std::vector<std::pair<std::string, std::size_t>>;
  struct Node {
    bool is_folder = false;
    std::string bytes;            // synced
    std::vector<Change> changes;  // not synced
    Names names;                  // synced
    Names now;                    // as the program sees it
    std::vector<Step> steps;      // not synced
  };
  static constexpr std::size_t kGone = ~std::size_t{0};

  std::size_t node(ino_t one) const;
  static void sync(Node& one);
  void step(std::size_t folder, Step step);
  static void put(std::string& file, const Change& change);
  static std::string content(const Node& file, Chance& chance);
  void write(std::size_t from, const std::filesystem::path& to, Chance& chance) const;

  std::vector<Node> nodes_;
  std::map<ino_t, std::size_t> ids_;
};

}  // namespace neap::faults
