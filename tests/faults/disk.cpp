// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "faults/disk.h"

#include <algorithm>
#include <fstream>
#include <stdexcept>

namespace neap::faults {
namespace {

using Kind = Event::Kind;

constexpr std::size_t kBlock = 512;

std::size_t draw(Chance& chance, std::size_t below) {
  return std::uniform_int_distribution<std::size_t>(0, below - 1)(chance);
}

// A part of them: none, each with the same odds, all, or the first.
std::vector<bool> draw_some(Chance& chance, std::size_t many) {
  std::vector<bool> some(many);
  const std::size_t odds = draw(chance, 5);
  const std::size_t first = many == 0 ? 0 : draw(chance, many + 1);
  for (std::size_t i = 0; i < many; ++i)
    some[i] = odds < 4 ? draw(chance, 4) < odds + 1 : i < first;
  return some;
}

}  // namespace

void Journal::made_file(ino_t file) { events.push_back({.kind = Kind::File, .one = file}); }
void Journal::made_folder(ino_t folder, ino_t in, std::string_view name) {
  events.push_back({.kind = Kind::Folder, .one = in, .of = folder, .name = std::string(name)});
}
void Journal::wrote(ino_t file, std::int64_t at, std::string_view bytes) {
  events.push_back({.kind = Kind::Write, .one = file, .at = at, .text = std::string(bytes)});
}
void Journal::cut(ino_t file, std::int64_t bytes) {
  events.push_back({.kind = Kind::Cut, .one = file, .at = bytes});
}
void Journal::synced(ino_t one) { events.push_back({.kind = Kind::Sync, .one = one}); }
void Journal::linked(ino_t one, ino_t in, std::string_view name) {
  events.push_back({.kind = Kind::Link, .one = in, .of = one, .name = std::string(name)});
}
void Journal::renamed(ino_t in, std::string_view from, std::string_view to, bool exchanged) {
  events.push_back({.kind = exchanged ? Kind::Exchange : Kind::Rename,
                    .one = in,
                    .name = std::string(from),
                    .text = std::string(to)});
}
void Journal::removed(ino_t in, std::string_view name) {
  events.push_back({.kind = Kind::Remove, .one = in, .name = std::string(name)});
}

Disk::Disk(ino_t root) : nodes_(1), ids_{{root, 0}} { nodes_[0].is_folder = true; }

std::size_t Disk::node(ino_t one) const {
  const auto found = ids_.find(one);
  if (found == ids_.end()) throw std::logic_error("the journal names an inode that nobody made");
  return found->second;
}

void Disk::step(std::size_t folder, Step step) {
  for (const auto& [name, to] : step) {
    if (to == kGone) {
      nodes_[folder].now.erase(name);
    } else {
      nodes_[folder].now[name] = to;
    }
  }
  nodes_[folder].steps.push_back(std::move(step));
}

void Disk::sync(Node& one) {
  for (const Change& change : one.changes) put(one.bytes, change);
  one.changes.clear();
  one.names = one.now;
  one.steps.clear();
}

void Disk::sync_all() {
  for (Node& one : nodes_) sync(one);
}

void Disk::put(std::string& file, const Change& change) {
  const auto at = static_cast<std::size_t>(change.at);
  if (change.cuts) return file.resize(at);
  file.resize(std::max(file.size(), at + change.bytes.size()));
  file.replace(at, change.bytes.size(), change.bytes);
}

void Disk::replay(const Event& event, bool syncs) {
  if (event.kind == Kind::File || event.kind == Kind::Folder) {
    const bool is_folder = event.kind == Kind::Folder;
    ids_[is_folder ? event.of : event.one] = nodes_.size();
    nodes_.emplace_back().is_folder = is_folder;
    if (is_folder) step(node(event.one), {{event.name, nodes_.size() - 1}});
    return;
  }
  const std::size_t at = node(event.one);
  Node& one = nodes_[at];
  switch (event.kind) {
    case Kind::Write:
    case Kind::Cut:
      one.changes.push_back({event.at, event.text, event.kind == Kind::Cut});
      return;
    case Kind::Sync:
      if (syncs) sync(one);
      return;
    case Kind::Link:
      return step(at, {{event.name, node(event.of)}});
    case Kind::Rename:
      return step(at, {{event.name, kGone}, {event.text, one.now.at(event.name)}});
    case Kind::Exchange:
      return step(at, {{event.name, one.now.at(event.text)}, {event.text, one.now.at(event.name)}});
    case Kind::Remove:
      return step(at, {{event.name, kGone}});
    case Kind::File:
    case Kind::Folder:
      return;
  }
}

std::string Disk::content(const Node& file, Chance& chance) {
  std::string whole = file.bytes;
  for (const Change& change : file.changes) put(whole, change);
  std::string bytes = file.bytes;
  for (const Change& change : file.changes) {
    if (change.cuts) {
      if (draw(chance, 2) == 0) put(bytes, change);
      continue;
    }
    std::vector<Change> blocks;
    for (std::size_t done = 0; done < change.bytes.size();) {
      const auto at = static_cast<std::size_t>(change.at) + done;
      const std::size_t some = std::min(kBlock - at % kBlock, change.bytes.size() - done);
      blocks.push_back({static_cast<std::int64_t>(at), change.bytes.substr(done, some)});
      done += some;
    }
    const std::vector<bool> there = draw_some(chance, blocks.size());
    for (std::size_t i = 0; i < blocks.size(); ++i) {
      if (!there[i]) continue;
      if (draw(chance, 8) == 0)
        blocks[i].bytes.resize(draw(chance, blocks[i].bytes.size()));  // torn
      put(bytes, blocks[i]);
    }
  }
  if (draw(chance, 2) == 0) bytes.resize(whole.size());
  return bytes;
}

void Disk::write(std::size_t from, const std::filesystem::path& to, Chance& chance) const {
  const Node& folder = nodes_[from];
  Names names = folder.names;
  const std::vector<bool> there = draw_some(chance, folder.steps.size());
  for (std::size_t i = 0; i < folder.steps.size(); ++i) {
    if (!there[i]) continue;
    for (const auto& [name, node] : folder.steps[i]) {
      if (node == kGone) {
        names.erase(name);
      } else {
        names[name] = node;
      }
    }
  }
  for (const auto& [name, node] : names) {
    if (nodes_[node].is_folder) {
      std::filesystem::create_directory(to / name);
      write(node, to / name, chance);
    } else {
      std::ofstream file(to / name, std::ios::binary);
      file << content(nodes_[node], chance);
      if (!file.flush()) throw std::runtime_error((to / name).string() + " cannot be written");
    }
  }
}

void Disk::cut_power(const std::filesystem::path& folder, Chance& chance) const {
  write(0, folder, chance);
}

}  // namespace neap::faults
