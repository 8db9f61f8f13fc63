// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "graph/program.h"

#include <algorithm>
#include <string_view>
#include <unordered_map>
#include <utility>

namespace neap::graph {

// Reads the events in order, and tracks which storages exist.
class Program::Reader {
 public:
  Reader(Program& program, const Trace& trace) : program_(program) {
    if (trace.events.size() >= static_cast<std::size_t>(kNever)) {
      throw FormatError("trace: " + std::to_string(trace.events.size()) +
                            " events; at most 2147483646 can be read",
                        1);
    }
    if (trace.out_bytes_per_s < 0 || trace.in_bytes_per_s < 0 ||
        (trace.out_bytes_per_s > 0) != (trace.in_bytes_per_s > 0)) {
      fail("copies take " + std::to_string(trace.out_bytes_per_s) + " bytes a second out and " +
           std::to_string(trace.in_bytes_per_s) + " in; expected both above 0, or neither");
    }
    program.out_bytes_per_s_ = trace.out_bytes_per_s;
    program.in_bytes_per_s_ = trace.in_bytes_per_s;
    numbers_.reserve(trace.events.size());
    for (const Event& event : trace.events) {
      ++line_;
      std::visit([this](const auto& one) { read(one); }, event);
    }
    ++line_;
    for (const StorageId id : trace.keep) storage(find(id, "keep", " names")).keep = true;
    program_.arrivals_.close();
    gather();
  }

 private:
  void read(const Given& given) {
    define(given.storage, given.bytes, true);
    program_.arrivals_.items.push_back(program_.storages() - 1);
  }

  void read(const Release& release) {
    const Index at = find(release.storage, "the release", " is of");
    Storage& one = storage(at);
    if (one.released != kNever) fail("storage " + text(release.storage) + " is released twice");
    one.released = program_.operators() - 1;
  }

  void read(const Operator& op) {
    program_.arrivals_.close();
    const Index number = program_.operators();
    Op flat{op.ns, op.workspace, 0, op.replayable, static_cast<std::int64_t>(line_ - 2)};
    for (const StorageId id : op.mutates_once) {
      const Index at = use(op, id, " writes once");
      if (!storage(at).given) {
        fail(op.name + " writes storage " + text(id) +
             " once, which is not given; only a given storage can be written once");
      }
      if (first_time(at, &Seen::once)) program_.once_.items.push_back(at);
    }
    program_.once_.close();
    const auto need = [&](Index at) {
      if (seen(at).once == number || !first_time(at, &Seen::need)) return;
      program_.needs_.items.push_back({at, storage(at).versions});
    };
    for (const StorageId id : op.reads) need(use(op, id, " reads"));
    for (const StorageId id : op.mutates) {
      const Index at = use(op, id, " writes");
      if (seen(at).once == number) {
        fail(op.name + " names storage " + text(id) + " both in mutates and in mutates_once");
      }
      need(at);
      if (!first_time(at, &Seen::mutated)) continue;
      program_.mutates_.items.push_back({at, storage(at).versions});
      flat.replayable = flat.replayable && !storage(at).given;
    }
    program_.mutates_.close();
    program_.needs_.close();
    for (const Content& one : program_.mutates_.of(number)) ++storage(one.storage).versions;
    for (const Index at : program_.once_.of(number)) ++storage(at).versions;
    for (const Made& made : op.makes) {
      define(made.storage, made.bytes, false);
      storage(program_.storages() - 1).maker = number;
      program_.makes_.items.push_back(program_.storages() - 1);
      flat.makes_bytes += made.bytes;
    }
    program_.makes_.close();
    std::int64_t workspace = 0;
    count(op.workspace, "a workspace", workspace);
    count(op.ns, "ns", ns_);
    program_.ops_.push_back(flat);
  }

  // Limits the sums so that no simulation can overflow. Files have stricter limits.
  void count(std::int64_t number, const char* what, std::int64_t& sum) const {
    constexpr std::int64_t kMost = std::int64_t{1} << 60;
    if (number < 0) fail(std::string(what) + " of " + text(number) + "; must not be negative");
    if (number > kMost - sum) {
      fail(std::string(what) + " of " + text(number) + "; with those before, more than 2^60");
    }
    sum += number;
  }

  void define(StorageId id, std::int64_t bytes, bool given) {
    count(bytes, "bytes", bytes_);
    if (!numbers_.emplace(id, program_.storages()).second) {
      fail("storage " + text(id) + " is defined twice");
    }
    program_.storages_.push_back(
        {id, bytes, given, false, kNone, program_.operators() - 1, kNever, 0});
    seen_.emplace_back();
  }

  // `who` and `what` begin the sentence of the error.
  Index find(StorageId id, std::string_view who, const char* what) const {
    const auto found = numbers_.find(id);
    if (found == numbers_.end()) {
      fail(std::string(who) + what + " storage " + text(id) + ", which is not defined");
    }
    return found->second;
  }

  Index use(const Operator& op, StorageId id, const char* what) const {
    const Index at = find(id, op.name, what);
    if (program_.storage(at).released != kNever) {
      fail(op.name + what + " storage " + text(id) + " after its release");
    }
    return at;
  }

  // The last operator that named a storage in each of its lists. Removes duplicates.
  struct Seen {
    Index need = kNone;
    Index mutated = kNone;
    Index once = kNone;
  };
  Seen& seen(Index at) { return seen_[static_cast<std::size_t>(at)]; }
  bool first_time(Index at, Index Seen::*list) {
    return std::exchange(seen(at).*list, program_.operators()) != program_.operators();
  }

  // Collects writers and users by storage: counts first, then fills.
  void gather() {
    const auto lists = [this](Lists<Index>& out, auto&& each) {
      std::vector<std::size_t> count(static_cast<std::size_t>(program_.storages()) + 1, 0);
      each([&](Index at, Index) { ++count[static_cast<std::size_t>(at) + 1]; });
      for (std::size_t i = 1; i < count.size(); ++i) count[i] += count[i - 1];
      out.begin = count;
      out.items.resize(count.back());
      each([&](Index at, Index op) { out.items[count[static_cast<std::size_t>(at)]++] = op; });
    };
    lists(program_.writers_, [this](auto&& put) {
      for (Index op = 0; op < program_.operators(); ++op) {
        for (const Content& one : program_.mutates(op)) put(one.storage, op);
        for (const Index at : program_.mutates_once(op)) put(at, op);
      }
    });
    lists(program_.users_, [this](auto&& put) {
      for (Index op = 0; op < program_.operators(); ++op) {
        for (const Content& one : program_.needs(op)) put(one.storage, op);
      }
    });
    program_.by_id_.reserve(program_.storages_.size());
    for (Index at = 0; at < program_.storages(); ++at) {
      program_.by_id_.emplace_back(program_.storage(at).id, at);
    }
    std::ranges::sort(program_.by_id_);
  }

  Storage& storage(Index at) const { return program_.storages_[static_cast<std::size_t>(at)]; }
  static std::string text(StorageId id) { return std::to_string(id); }

  [[noreturn]] void fail(const std::string& what) const {
    throw FormatError("trace: line " + std::to_string(line_) + ": " + what, line_);
  }

  Program& program_;
  std::unordered_map<StorageId, Index> numbers_;
  std::vector<Seen> seen_;
  std::int64_t bytes_ = 0;  // of all storages so far
  std::int64_t ns_ = 0;
  std::int64_t line_ = 1;  // of the current event; the head is line 1
};

std::optional<std::int64_t> copy_ns(std::int64_t bytes, std::int64_t bytes_per_s) {
  __extension__ using Wide = unsigned __int128;  // the product passes 64 bits
  constexpr Wide kNsOfASecond = 1'000'000'000;
  const auto rate = static_cast<Wide>(bytes_per_s);
  const Wide ns = (static_cast<Wide>(bytes) * kNsOfASecond + rate - 1) / rate;
  if (ns > static_cast<Wide>(std::numeric_limits<std::int64_t>::max())) return {};
  return static_cast<std::int64_t>(ns);
}

Program::Program(const Trace& trace) { const Reader reader(*this, trace); }

std::int64_t Program::head_bytes() const {
  std::int64_t bytes = 0;
  for (const Index one : arrivals(kNone)) bytes += storage(one).bytes;
  return bytes;
}

Index Program::index_of(StorageId id) const {
  if (id >= 0 && static_cast<std::size_t>(id) < by_id_.size() &&
      by_id_[static_cast<std::size_t>(id)].first == id) {
    return by_id_[static_cast<std::size_t>(id)].second;  // ids without gaps
  }
  const auto found = std::ranges::lower_bound(by_id_, std::pair(id, Index{0}));
  return found != by_id_.end() && found->first == id ? found->second : kNone;
}

std::vector<Foreseen> foreseen(const Trace& trace) {
  std::vector<Foreseen> all;
  for (const Event& event : trace.events) {
    if (const auto* const op = std::get_if<Operator>(&event)) {
      Foreseen& one = all.emplace_back(Foreseen{.call = op->call});
      for (const Made& made : op->makes) one.changes.push_back(made.storage);
      one.changes.insert(one.changes.end(), op->mutates.begin(), op->mutates.end());
    } else if (const auto* const release = std::get_if<Release>(&event); release && !all.empty()) {
      all.back().releases.push_back(release->storage);
    }
  }
  return all;
}

}  // namespace neap::graph
