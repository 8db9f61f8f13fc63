// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "families.h"

#include <string>
#include <utility>
#include <vector>

namespace neap::bench {
namespace {

// Values that may be read, because nothing has overwritten them.
class Candidates {
 public:
  explicit Candidates(Random& random) : random_(random) {}

  void add(Value value) { all_.push_back({value, false}); }
  void replace(std::size_t at, Value value) {
    all_[at] = {value, false};
    const bool listed = std::find(unread_.begin(), unread_.end(), at) != unread_.end();
    if (at < listed_ && !listed) unread_.push_back(at);
  }
  [[nodiscard]] Value value(std::size_t at) const { return all_[at].value; }

  // Chooses at most `count` different values, most of them recent. If many values are unread, the
  // first choice is the oldest of them.
  std::vector<std::size_t> choose(std::int64_t count) {
    constexpr std::size_t kManyUnread = 8;
    std::vector<std::size_t> chosen;
    if (unread().size() > kManyUnread) chosen.push_back(unread_.front());
    while (static_cast<std::int64_t>(chosen.size()) < count) {
      const auto back =
          static_cast<std::size_t>(random_.below(random_.doubling(0, random_.chance(5) ? 12 : 5)));
      const std::size_t at = all_.size() - 1 - std::min(back, all_.size() - 1);
      if (std::find(chosen.begin(), chosen.end(), at) == chosen.end()) {
        chosen.push_back(at);
      } else {
        --count;
      }
    }
    for (const std::size_t at : chosen) all_[at].read = true;
    return chosen;
  }

  std::vector<Value> leftovers() {
    std::vector<Value> values;
    for (const std::size_t at : unread()) values.push_back(all_[at].value);
    return values;
  }

 private:
  struct Candidate {
    Value value;
    bool read = false;
  };

  const std::vector<std::size_t>& unread() {
    for (; listed_ < all_.size(); ++listed_) unread_.push_back(listed_);
    std::erase_if(unread_, [&](std::size_t at) { return all_[at].read; });
    return unread_;
  }

  Random& random_;
  std::vector<Candidate> all_;
  std::vector<std::size_t> unread_;
  std::size_t listed_ = 0;
};

class RandomGraph {
 public:
  explicit RandomGraph(Layers& layers)
      : step_(layers.step()), random_(layers.random()), candidates_(random_) {
    ForwardOperator first{.name = "random::first",
                          .makes = {random_.doubling(16, 20)},
                          .ns = random_.doubling(12, 16)};
    first.reads = {step_.given(random_.doubling(12, 18), graph::StorageKind::Input),
                   step_.parameter(random_.doubling(8, 12))};
    first.backward = {{.name = "random::first_backward", .of = {first.reads[1]}}};
    candidates_.add(step_.run(std::move(first))[0]);
  }

  void run_one() {
    const std::int64_t roll = random_.below(100);
    const std::vector<std::size_t> chosen =
        candidates_.choose(1 + (roll < 45 ? 1 : 0) + (roll < 20 ? 1 : 0));
    ForwardOperator op{.name = "random::op", .ns = random_.doubling(11, 20)};
    for (const std::size_t at : chosen) op.reads.push_back(candidates_.value(at));
    const bool in_place = random_.chance(25) && step_.can_overwrite(op.reads.front());
    if (in_place) {
      op.name = "random::op_";
      op.overwrites = op.reads.front();
    } else {
      const std::int64_t outputs = random_.chance(15) ? random_.between(2, 3) : 1;
      for (std::int64_t i = 0; i < outputs; ++i) op.makes.push_back(random_.doubling(8, 22));
    }
    describe_backward(op);
    describe_extras(op);
    const std::vector<Value> made = step_.run(std::move(op));
    if (in_place) candidates_.replace(chosen.front(), made.front());
    for (std::size_t i = in_place ? 1 : 0; i < made.size(); ++i) candidates_.add(made[i]);
  }

  Value loss() {
    ForwardOperator sum{.name = "random::loss", .reads = candidates_.leftovers(), .makes = {4}};
    sum.backward = {{.name = "random::loss_backward", .of = sum.reads}};
    return step_.run(std::move(sum))[0];
  }

 private:
  void describe_backward(ForwardOperator& op) {
    const bool apart = op.reads.size() > 1 && random_.chance(30);
    for (const Value input : op.reads) {
      if (op.backward.empty() || apart) {
        op.backward.push_back({.name = "random::op_backward", .ns = random_.doubling(11, 21)});
        if (random_.chance(20)) op.backward.back().workspace = random_.doubling(10, 20);
        if (random_.chance(30)) op.backward.back().saved_outputs = {0};
      }
      BackwardOperator& backward = op.backward.back();
      backward.of.push_back(input);
      // What is overwritten now cannot be read again in the backward.
      const bool goes = op.overwrites && input.index == op.overwrites->index;
      if (!goes && random_.chance(40)) backward.saved.push_back(input);
    }
  }

  void describe_extras(ForwardOperator& op) {
    BackwardOperator& backward = op.backward.back();
    if (random_.chance(15)) {
      const Value weight = step_.parameter(random_.doubling(8, 14));
      op.reads.push_back(weight);
      backward.of.push_back(weight);
      backward.saved.push_back(weight);
    }
    if (random_.chance(3)) {
      const Value late = step_.arrive(random_.doubling(8, 18));
      op.reads.push_back(late);
      if (random_.chance(50)) backward.saved.push_back(late);
    }
    if (random_.chance(4)) {
      op.mutates_once.push_back(step_.given(random_.doubling(6, 10), graph::StorageKind::Buffer));
    }
    if (random_.chance(20)) op.workspace = random_.doubling(10, 20);
    op.random = random_.chance(8);
    op.replayable = !random_.chance(4);
  }

  StepBuilder& step_;
  Random& random_;
  Candidates candidates_;
};

}  // namespace

Value record_chain(Layers& layers, std::int64_t operators) {
  // Operators of a link: forward, backward, and the update of its weight.
  constexpr std::int64_t kMost = 3;
  Random& random = layers.random();
  StepBuilder& step = layers.step();
  Value x = step.given(random.doubling(18, 21), graph::StorageKind::Input);
  for (std::int64_t link = 0; layers.operators() + kMost <= operators; ++link) {
    step.enter("links." + std::to_string(link));
    const std::int64_t kind = random.below(4);
    ForwardOperator op{.name = "chain::pointwise", .reads = {x}};
    BackwardOperator backward{.name = "chain::pointwise_backward", .of = {x}};
    if (kind == 0) {
      const Value weight = step.parameter(random.doubling(8, 16));
      op.name = "chain::product";
      op.reads.push_back(weight);
      op.makes = {random.doubling(14, 22)};
      op.ns = random.doubling(16, 23);
      op.workspace = random.chance(30) ? random.doubling(12, 20) : 0;
      backward = {.name = "chain::product_backward", .of = op.reads, .saved = op.reads};
      backward.ns = 2 * op.ns;
      backward.workspace = op.workspace;
    } else {
      op.makes = {step.bytes(x)};
      op.ns = op.makes[0] * random.between(2, 8) / kBytesPerNs;
      backward.ns = op.ns * random.between(10, 20) / 10;
      // 1: saves its input, 2: its output, 3: both
      if (kind != 2) backward.saved = {x};
      if (kind != 1) backward.saved_outputs = {0};
    }
    op.backward = {std::move(backward)};
    x = step.run(std::move(op))[0];
  }
  return step.run({.name = "chain::loss",
                   .reads = {x},
                   .makes = {4},
                   .backward = {{.name = "chain::loss_backward", .of = {x}}}})[0];
}

Value record_random(Layers& layers, std::int64_t operators) {
  RandomGraph graph(layers);
  while (layers.operators() + 8 <= operators) graph.run_one();
  return graph.loss();
}

}  // namespace neap::bench
