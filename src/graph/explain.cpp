// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include <neap/explain.h>

#include "graph/categories.h"

#include <algorithm>
#include <array>
#include <unordered_map>

namespace neap::graph {
namespace {

const char* kind_text(StorageKind kind) {
  switch (kind) {
    case StorageKind::Parameter:
      return "a parameter";
    case StorageKind::Buffer:
      return "a buffer";
    case StorageKind::Input:
      return "an input";
    case StorageKind::Gradient:
      return "a gradient";
    case StorageKind::Optimizer:
      return "state of the optimizer";
    case StorageKind::Constant:
      break;
  }
  return "a tensor from before or beside the step";
}

class Explainer {
 public:
  Explainer(const Trace& trace, const Plan& plan)
      : trace_(trace),
        program_(trace),
        operators_(operators_of(trace)),
        moves_(static_cast<std::size_t>(program_.storages())) {
    for (const Event& event : trace.events) {
      if (const auto* const given = std::get_if<Given>(&event)) {
        kinds_[given->storage] = given->kind;
      }
    }
    follow(plan);
  }

  std::vector<Explanation> explain(const Plan& plan) {
    // What the plan's peak says of a storage comes first, since that is the peak that counts.
    add(timeline(trace_, plan), &Explanation::at_peak);
    add(timeline(trace_, plain_plan(trace_)), &Explanation::at_plain_peak);
    std::ranges::stable_sort(all_, std::ranges::greater{}, &Explanation::bytes);
    return std::move(all_);
  }

 private:
  // What the plan does with a storage.
  struct Moves {
    bool is_there = false;
    Index freed_early = kNever;  // the operator after which it went first, before its release
    Index remade_for = kNever;   // the operator before which it was first made again
    Index loaded_for = kNever;   // the operator before which it was first loaded
    std::int64_t times = 0;
    std::int64_t loads = 0;
  };

  Moves& moves_of(Index storage) { return moves_[static_cast<std::size_t>(storage)]; }

  void follow(const Plan& plan) {
    Index last = kNone;  // the last operator that ran for the first time
    for (const Step& step : plan.steps) {
      if (step.action == Step::Action::Free) {
        const Index storage = program_.index_of(step.target);
        Moves& moves = moves_of(storage);
        moves.is_there = false;
        if (last < program_.storage(storage).released && moves.freed_early == kNever) {
          moves.freed_early = last;
        }
        continue;
      }
      if (step.action == Step::Action::Offload) continue;
      if (step.action == Step::Action::Load) {
        Moves& moves = moves_of(program_.index_of(step.target));
        moves.is_there = true;
        if (moves.loads++ == 0) moves.loaded_for = last + 1;
        continue;
      }
      const auto op = static_cast<Index>(step.target);
      const bool rerun = step.action == Step::Action::Rerun;
      if (!rerun) last = op;
      for (const Index storage : program_.makes(op)) {
        Moves& moves = moves_of(storage);
        if (rerun && !moves.is_there && moves.times++ == 0) moves.remade_for = last + 1;
        moves.is_there = true;
      }
    }
  }

  void add(const Timeline& line, bool Explanation::*at) {
    for (const Holder& holder : line.at_the_peak) {
      if (holder.storage < 0) continue;  // a workspace
      const auto [place, is_new] = places_.try_emplace(holder.storage, all_.size());
      if (is_new) all_.push_back(explanation(holder));
      all_[place->second].*at = true;  // also of a second copy, once
    }
  }

  [[nodiscard]] Explanation explanation(const Holder& holder) {
    const Index storage = program_.index_of(holder.storage);
    const Moves& moves = moves_of(storage);
    Explanation one{.storage = holder.storage,
                    .bytes = holder.bytes,
                    .category = holder.category,
                    .layer = holder.layer,
                    .maker = holder.maker,
                    .times = moves.times,
                    .loads = moves.loads};
    const std::string obstacle = why_pinned(storage);
    if (obstacle.empty()) one.remake_ns = remake_ns(storage);
    const std::string freed = moves.freed_early == kNone ? "freed before the first operator"
                              : moves.freed_early == kNever
                                  ? ""
                                  : "freed after " + text_of(of(moves.freed_early));
    if (moves.times > 0) {
      one.fate = Fate::Recomputed;
      one.why = (freed.empty() ? "freed" : freed) + "; made again " + reader_at(moves.remade_for);
      if (moves.times > 1) one.why += ", " + std::to_string(moves.times) + " times in all";
      if (moves.loads > 0) {
        one.why += "; also copied to the tier, and loaded " + reader_at(moves.loaded_for);
      }
    } else if (moves.loads > 0) {
      one.fate = Fate::Offloaded;
      one.why = "copied to the tier, " + (freed.empty() ? "freed" : freed) + "; loaded " +
                reader_at(moves.loaded_for);
      if (moves.loads > 1) one.why += ", " + std::to_string(moves.loads) + " times in all";
    } else if (!freed.empty()) {
      one.fate = Fate::Evicted;
      one.why = freed + "; no operator reads it afterwards";
    } else if (!obstacle.empty()) {
      one.fate = Fate::Pinned;
      one.why = obstacle + "; " + reader_of(holder);
    } else {
      one.why = reader_of(holder);
    }
    return one;
  }

  [[nodiscard]] std::string reader_at(Index op) const {
    return op < program_.operators() ? "for " + text_of(of(op))
                                     : "at the end, since the program holds it";
  }

  // Why the storage cannot be made again; empty: it can be.
  [[nodiscard]] std::string why_pinned(Index index) const {
    const Program::Storage& storage = program_.storage(index);
    if (storage.given) {
      return std::string("given: ") + kind_text(kinds_.at(storage.id)) +
             ", which no operator of the step makes";
    }
    if (!program_.op(storage.maker).replayable) return why_not_again(storage.maker, "its maker ");
    for (const Index writer : program_.writers(index)) {
      if (!program_.op(writer).replayable) return why_not_again(writer, "its writer ");
    }
    return {};
  }

  [[nodiscard]] std::string why_not_again(Index index, const std::string& who) const {
    const Operator& op = of(index);
    const std::string text = who + op.name + " must not run twice";
    for (const Content& written : program_.mutates(index)) {
      if (program_.storage(written.storage).given) {
        return text + ": it writes into what is given";
      }
    }
    return op.random ? text + ": it draws random numbers" : text;
  }

  [[nodiscard]] std::int64_t remake_ns(Index storage) const {
    std::int64_t ns = program_.op(program_.storage(storage).maker).ns;
    for (const Index writer : program_.writers(storage)) ns += program_.op(writer).ns;
    return ns;
  }

  // The holder's reason, without what explain() says in more words.
  static std::string reader_of(const Holder& holder) {
    return holder.why.substr(0, holder.why.find(", and it cannot be made again"));
  }

  [[nodiscard]] const Operator& of(Index op) const {
    return *operators_[static_cast<std::size_t>(op)];
  }

  const Trace& trace_;
  Program program_;
  std::vector<const Operator*> operators_;
  std::vector<Moves> moves_;
  std::unordered_map<StorageId, StorageKind> kinds_;
  std::unordered_map<StorageId, std::size_t> places_;
  std::vector<Explanation> all_;
};

}  // namespace

const char* name_of(Fate fate) {
  constexpr std::array<const char*, 5> kNames = {"pinned", "kept", "recomputed", "evicted",
                                                 "offloaded"};
  return kNames.at(static_cast<std::size_t>(fate));
}

std::vector<Explanation> explain(const Trace& trace, const Plan& plan) {
  (void)simulate(trace, plan);  // throws where the plan is none for the trace
  return Explainer(trace, plan).explain(plan);
}

}  // namespace neap::graph
