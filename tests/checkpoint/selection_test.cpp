// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Who decides which results of a region stay: rules by operator and by layer, tags, keep_results(),
// the callback, and the region around. Counts of kept tensors and of replays are exact.
#include "checkpoint/kept_results.h"
#include "checkpoint/squares.h"
#include "support/bytes.h"
#include "support/message_of.h"

#include <neap/neap.h>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <limits>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace neap {
namespace {

using namespace kept_results;
using namespace squares;

// Three operators, and the backward reads the result of each. The last result is that of the
// region.
at::Tensor chain(const at::Tensor& x) { return x.tanh().exp().sigmoid(); }

TEST_F(Selection, without_options_is_checkpoint) {
  const Outcome outcome = run(CheckpointOptions{}, chain);
  EXPECT_EQ(outcome.kept, 0);
  EXPECT_EQ(outcome.replays, 2) << "tanh and exp";
  expect_bits(outcome, chain);
  const at::Tensor x = square(1);
  EXPECT_TRUE(torch::equal(custom_checkpoint(chain, x), chain(x)));
}

TEST_F(Selection, keeps_results_of_named_operators_and_replays_from_there) {
  const Outcome tanh = run({.rules = {{.op = "aten::tanh"}}}, chain);
  EXPECT_EQ(tanh.kept, 1);
  EXPECT_EQ(tanh.replays, 1) << "exp alone, from the result of tanh";
  expect_bits(tanh, chain);
  const Outcome both = run({.rules = {{.op = "aten::tanh"}, {.op = "aten::ex?"}}}, chain);
  EXPECT_EQ(both.kept, 2);
  EXPECT_EQ(both.replays, 0);
}

TEST_F(Selection, takes_the_first_rule_that_matches) {
  const CheckpointOptions options{
      .rules = {{.op = "aten::exp", .policy = CheckpointPolicy::MustRecompute}, {.op = "aten::*"}}};
  const Outcome outcome = run(options, chain);
  EXPECT_EQ(outcome.kept, 1);
  EXPECT_EQ(outcome.replays, 1);
}

TEST_F(Selection, asks_the_callback_with_operator_shape_bytes_and_cost) {
  std::vector<std::string> asked;
  CheckpointOptions options;
  options.rules = {{.op = "aten::sigmoid"}};
  options.policy = [&](const CheckpointCandidate& candidate) -> std::optional<CheckpointPolicy> {
    EXPECT_EQ(candidate.sizes, at::IntArrayRef({kSide, kSide}));
    EXPECT_EQ(candidate.bytes, kTensor);
    EXPECT_GT(candidate.cost_ns, 0);
    EXPECT_EQ(candidate.layer, "");
    asked.emplace_back(candidate.op);
    if (candidate.op == "aten::exp") return CheckpointPolicy::PreferSave;
    return std::nullopt;
  };
  const Outcome outcome = run(options, chain);
  EXPECT_EQ(asked, (std::vector<std::string>{"aten::tanh", "aten::exp"}))
      << "each once, and not what a rule has decided";
  EXPECT_EQ(outcome.kept, 1);
  EXPECT_EQ(outcome.replays, 1) << "tanh, from the input of the region";
}

TEST_F(Selection, keeps_what_named_layers_made) {
  Net net;
  name_layers(net);
  const Function fn = [&](const at::Tensor& x) { return net.forward(x); };
  const Outcome outcome = run({.rules = {{.layer = "layer[02]"}}}, fn);
  // tanh saves its own result. No operator saves the result of addmm, so it is dead. It is not
  // replayed for a tanh whose result stays.
  EXPECT_EQ(outcome.kept, 2);
  EXPECT_EQ(outcome.replays, 2) << "addmm and tanh of layer1";
  net.zero_grad();
  expect_bits(outcome, fn);
}

TEST_F(Selection, tags_beat_rules_in_both_directions) {
  const Function fn = [](const at::Tensor& x) {
    const at::Tensor a = set_checkpoint_policy(x.tanh(), CheckpointPolicy::PreferSave);
    return set_checkpoint_policy(a.exp(), CheckpointPolicy::MustRecompute).sigmoid();
  };
  const Outcome outcome = run({.rules = {{.op = "aten::exp"}}}, fn);
  EXPECT_EQ(outcome.kept, 1);
  EXPECT_EQ(outcome.replays, 1) << "exp, though a rule would keep it";
  expect_bits(outcome, fn);
}

TEST_F(Selection, keep_keeps_what_its_body_makes_and_replays_the_rest_around_it) {
  int calls = 0;
  const Function fn = [&](const at::Tensor& x) {
    const at::Tensor a = x.tanh();
    const at::Tensor b = keep_results([&] {
      ++calls;
      return a.exp().sin();
    });
    return b.cos().sigmoid();
  };
  const Outcome outcome = run(CheckpointOptions{}, fn);
  // The backward reads both results: exp and sin read that of exp, and cos reads that of sin.
  EXPECT_EQ(outcome.kept, 2);
  EXPECT_EQ(outcome.replays, 1) << "tanh; cos is dead and sigmoid saves its own result";
  EXPECT_EQ(calls, 1);
  const int before = calls;
  expect_bits(outcome, fn);
  EXPECT_EQ(calls, before + 1) << "outside of a checkpoint it only calls its body";
}

TEST_F(Selection, the_innermost_region_that_says_something_wins) {
  const CheckpointOptions inner{
      .rules = {{.op = "aten::exp", .policy = CheckpointPolicy::MustRecompute}}};
  const Function fn = [&](const at::Tensor& x) {
    return custom_checkpoint(
               inner, [](const at::Tensor& in) { return in.tanh().exp().sin(); }, x)
        .sigmoid();
  };
  const Outcome outcome = run({.rules = {{.op = "aten::*"}}}, fn);
  // The inner options evict the result of exp. They do not decide on tanh, so the outer ones keep
  // its result. No operator saves the result of sin.
  EXPECT_EQ(outcome.kept, 1);
  EXPECT_EQ(outcome.replays, 1);
  expect_bits(outcome, fn);
}

// A simple checkpoint function loses these: gradients of captured weights when no input needs one,
// random numbers, arguments that are not tensors, and more than one result.
TEST_F(Selection, serves_captured_weights_random_numbers_and_any_arguments_and_results) {
  const at::Tensor weight = square(3).requires_grad_(), x = square(1);
  const auto step = [&](bool checkpointed) {
    weight.mutable_grad() = at::Tensor();
    torch::manual_seed(9);
    const auto fn = [&](const at::Tensor& in, double p, const std::string& which) {
      const at::Tensor a = torch::dropout(in.mm(weight).tanh(), p, true);
      return std::pair(which == "exp" ? a.exp() : a, std::vector<at::Tensor>{a.sin()});
    };
    const CheckpointOptions options{.rules = {{.op = "aten::mm"}}};
    const auto [y, more] = checkpointed ? custom_checkpoint(options, fn, x, 0.3, std::string("exp"))
                                        : fn(x, 0.3, "exp");
    (y.sum() + more[0].cos().sum()).backward();
    return test::bytes_of({y, more[0], weight.grad(), torch::rand({4})});
  };
  EXPECT_EQ(test::first_difference(step(false), step(true)), std::nullopt);
}

TEST_F(Selection, refuses_options_that_cannot_be_meant) {
  const at::Tensor x = square(1);
  const auto with = [&](const CheckpointOptions& options) {
    return test::message_of<InvalidArgument>([&] { custom_checkpoint(options, chain, x); });
  };
  EXPECT_EQ(with({.keep_at_most = Bytes(-1)}),
            "CheckpointOptions: keep_at_most is -1 bytes; expected 0 or more");
  EXPECT_EQ(with({.free_at_least = Bytes(-7)}),
            "CheckpointOptions: free_at_least is -7 bytes; expected 0 or more");
  EXPECT_EQ(
      with({.keep_at_most = Bytes(1024), .free_at_least = Bytes(2048)}),
      "CheckpointOptions: keep_at_most 1.0 KiB and free_at_least 2.0 KiB are two answers to one "
      "question; name one of them");
  EXPECT_EQ(
      with({.keep_at_most = Bytes(1), .importance = {{"a*", -2}}}),
      "CheckpointOptions: the importance of 'a*' is -2.000000; expected a number of 0 or more");
  EXPECT_EQ(with({.keep_at_most = Bytes(1),
                  .importance = {{"a*", std::numeric_limits<double>::infinity()}}}),
            "CheckpointOptions: the importance of 'a*' is inf; expected a number of 0 or more");
  EXPECT_EQ(with({.importance = {{"a*", 1}}}),
            "CheckpointOptions: importance has nothing to weigh without a memory limit; name "
            "keep_at_most or free_at_least too");
}

TEST_F(Selection, a_callback_that_throws_leaves_the_thread_clean) {
  struct Mine {};
  const at::Tensor x = square(1).requires_grad_();
  CheckpointOptions options;
  options.policy = [](const CheckpointCandidate& /*candidate*/) -> std::optional<CheckpointPolicy> {
    throw Mine();
  };
  EXPECT_THROW(custom_checkpoint(options, chain, x), Mine);
  EXPECT_TRUE(torch::equal(checkpoint(chain, x), chain(x)));
}

TEST_F(Selection, names_are_not_given_while_another_thread_has_a_scope) {
  Net net;
  const Scope scope;
  std::string refused = "not refused";
  std::thread([&] {
    try {
      name_layers(net);
    } catch (const ScopeConflict& error) {
      refused = error.what();
    }
  }).join();
  EXPECT_EQ(refused,
            "neap::name_layers: another thread has a neap::Scope or a checkpoint(); name the model "
            "before "
            "it, or in that "
            "thread");
}

}  // namespace
}  // namespace neap
