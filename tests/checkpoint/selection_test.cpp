// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// What stays when a region closes: by operator, layer, tag, source region, callback, importance and
// memory. Counts of bytes and replays are exact.
#include "checkpoint/squares.h"
#include "engine/engine.h"
#include "support/bytes.h"
#include "support/message_of.h"

#include <neap/neap.h>
#include <neap/nn.h>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <functional>
#include <limits>
#include <string>
#include <thread>
#include <vector>

namespace neap {
namespace {

using namespace squares;

// What a region that runs `fn` keeps, in tensors, its result not counted; and what its backward
// replays.
struct Outcome {
  std::int64_t kept = 0;
  std::int64_t replays = 0;
  test::ByteLists bytes;
};

using Function = std::function<at::Tensor(const at::Tensor&)>;

Outcome run(const CheckpointOptions* options, const Function& fn) {
  const at::Tensor x = square(1).requires_grad_();
  torch::manual_seed(7);
  const std::int64_t before = live();
  Scope scope;
  at::Tensor y = options == nullptr ? fn(x) : custom_checkpoint(*options, fn, x);
  Outcome outcome;
  outcome.kept = (live() - before) / kTensor - 1;
  y.sum().backward();
  scope.end();
  outcome.replays = scope.stats().replays;
  outcome.bytes = test::bytes_of({y, x.grad()});
  return outcome;
}

Outcome run(const CheckpointOptions& options, const Function& fn) { return run(&options, fn); }

class Selection : public testing::Test {
 protected:
  void TearDown() override {
    EXPECT_EQ(engine::Engine::instance().recorder_bytes(), 0) << "records are left behind";
    engine::Engine::instance().validate();
  }
  // Every choice must give the bits of plain LibTorch.
  static void expect_bits(const Outcome& outcome, const Function& fn) {
    EXPECT_EQ(test::first_difference(run(nullptr, fn).bytes, outcome.bytes), std::nullopt);
  }
};

// Three results that the backward reads: of tanh, of exp, of sin's input. The last one is the
// result of the region.
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
  // tanh saves its result. The product below it nobody saves: it is dead, and not replayed for a
  // tanh that stays.
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
  // exp's and sin's results are read by the backward: of exp for itself and for sin, of sin for
  // cos.
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
  // Inside, exp goes; tanh, of which the inner one says nothing, stays. The result of sin nobody
  // saved.
  EXPECT_EQ(outcome.kept, 1);
  EXPECT_EQ(outcome.replays, 1);
  expect_bits(outcome, fn);
}

TEST_F(Selection, never_runs_a_kept_operator_again_though_nobody_saved_its_result) {
  const at::Tensor weight = square(3);
  const Function fn = [&](const at::Tensor& x) {
    // softmax saves its own result; the product, and half of it, are dead when the region closes.
    return (x.mm(weight) * 0.5).softmax(-1).exp();
  };
  const Outcome outcome = run(CheckpointOptions::save_compute(), fn);
  EXPECT_EQ(outcome.kept, 1) << "softmax in place of the product";
  EXPECT_EQ(outcome.replays, 0);
  expect_bits(outcome, fn);
}

TEST_F(Selection, must_recompute_holds_also_where_a_kept_operator_has_to_run_again_for_it) {
  const at::Tensor weight = square(3);
  const Function fn = [&](const at::Tensor& x) { return (x.mm(weight) * 0.5).softmax(-1).exp(); };
  CheckpointOptions options = CheckpointOptions::save_compute();
  options.rules.push_back({.op = "aten::_softmax", .policy = CheckpointPolicy::MustRecompute});
  const Outcome outcome = run(options, fn);
  EXPECT_EQ(outcome.kept, 0);
  EXPECT_EQ(outcome.replays, 3) << "the product, its half and softmax";
  expect_bits(outcome, fn);
}

TEST_F(Selection, a_tag_on_what_nobody_saved_keeps_what_was_made_from_it) {
  const at::Tensor weight = square(3);
  const Function fn = [&](const at::Tensor& x) {
    const at::Tensor product = set_checkpoint_policy(x.mm(weight), CheckpointPolicy::MustSave);
    return (product * 0.5).softmax(-1).exp();
  };
  const Outcome outcome = run(CheckpointOptions{}, fn);
  EXPECT_EQ(outcome.kept, 1) << "softmax in place of the product";
  EXPECT_EQ(outcome.replays, 0);
}

TEST_F(Selection, keeping_products_and_convolutions_never_takes_more_than_no_checkpoint) {
  torch::manual_seed(4);
  nn::TransformerBlock block(64, 4, 0.1, /*causal=*/true);
  nn::ResidualBlock residual(8, 0.1);
  const at::Tensor tokens = torch::randn({2, 32, 64}), pictures = torch::randn({2, 8, 16, 16});
  const auto peak_and_held = [&](const std::function<at::Tensor()>& forward) {
    memory::reset_peak();
    const std::int64_t before = live();
    at::Tensor y = forward();
    const std::int64_t held = live() - before;
    y.sum().backward();
    return std::pair(memory::usage().peak - before, held);
  };
  const CheckpointOptions compute = CheckpointOptions::save_compute();
  for (const bool transformer : {true, false}) {
    const auto plain = [&] {
      return transformer ? block->forward(tokens) : residual->forward(pictures);
    };
    plain().sum().backward();  // makes the gradients
    torch::manual_seed(5);
    const auto [plain_peak, plain_held] = peak_and_held(plain);
    torch::manual_seed(5);
    const Scope scope;
    const auto [peak, held] = peak_and_held([&] { return custom_checkpoint(compute, plain); });
    EXPECT_LE(held, plain_held);
    EXPECT_LE(peak, plain_peak);
    EXPECT_LT(held, plain_held) << "something can always go";
    EXPECT_GT(scope.stats().replays, 0);
  }
}

TEST_F(Selection, replays_no_product_and_no_convolution_that_it_keeps) {
  torch::manual_seed(4);
  nn::TransformerBlock block(64, 4, 0.1, /*causal=*/true);
  const at::Tensor tokens = torch::randn({2, 32, 64});
  const auto replays = [&](const CheckpointOptions& options) {
    Scope scope;
    custom_checkpoint(options, [&] { return block->forward(tokens); }).sum().backward();
    scope.end();
    return scope.stats().replays;
  };
  std::int64_t products = 0;
  CheckpointOptions count;
  count.policy = [&](const CheckpointCandidate& candidate) -> std::optional<CheckpointPolicy> {
    if (candidate.op == "aten::mm" || candidate.op == "aten::bmm") ++products;
    return std::nullopt;
  };
  const std::int64_t all = replays(count);
  EXPECT_EQ(products, 6) << "qkv, scores, mixed, project, up, down";
  // `down` is not replayed in either: nobody needs its result again.
  EXPECT_LE(replays(CheckpointOptions::save_compute()), all - (products - 1));
}

TEST_F(Selection, chooses_by_recompute_time_and_importance_what_fits_into_the_room) {
  Net net;
  name_layers(net);
  const Function fn = [&](const at::Tensor& x) { return net.forward(x); };
  for (int room = 0; room <= 3; ++room) {
    const Outcome outcome = run({.keep_at_most = Bytes(room * kTensor)}, fn);
    EXPECT_EQ(outcome.kept, room);
    EXPECT_EQ(outcome.replays, 2 * (3 - room));
  }
  EXPECT_EQ(run({.free_at_least = Bytes(kTensor)}, fn).kept, 2);
  EXPECT_EQ(run({.free_at_least = Bytes(kTensor + 1)}, fn).kept, 1);
  EXPECT_EQ(run({.free_at_least = Bytes(100 * kTensor)}, fn).kept, 0);
  // By weight alone one layer's result stays; the report tells which.
  for (const std::string wanted : {"layer0", "layer1", "layer2"}) {
    const CheckpointOptions options{.keep_at_most = Bytes(kTensor),
                                    .importance = {{wanted, 1000}, {"*", 1e-6}}};
    const at::Tensor x = square(1).requires_grad_();
    Scope scope({.observe = true});
    const at::Tensor y = custom_checkpoint(options, fn, x);
    for (const SavedStorage& storage : saved_report(y).storages) {
      if (storage.op != "aten::tanh") continue;
      EXPECT_EQ(storage.state == SavedStorage::State::Kept, storage.layer == wanted)
          << storage.layer;
    }
  }
  EXPECT_EQ(run({.keep_at_most = Bytes(3 * kTensor), .importance = {{"layer1", 0}}}, fn).kept, 2)
      << "what has no importance goes also where there is room";
}

// What a result costs is all that must run again for it, when what it was made from is gone too.
TEST_F(Selection, counts_what_must_run_again_before_a_result) {
  const at::Tensor weight = torch::eye(kSide);
  const Function fn = [&](const at::Tensor& x) {
    at::Tensor far = x;
    for (int i = 0; i < 200; ++i) far = far.mm(weight);  // saved by nobody
    return x.logcumsumexp(1) + far.reciprocal();
  };
  // What an operator costs is the least of three times: one alone may have been interrupted for
  // longer than all others take.
  for (int i = 0; i < 3; ++i) run({.keep_at_most = Bytes(kTensor)}, fn);
  const Outcome outcome = run({.keep_at_most = Bytes(kTensor)}, fn);
  EXPECT_EQ(outcome.kept, 1);
  EXPECT_EQ(outcome.replays, 1) << "logcumsumexp alone, which is dearer than reciprocal by itself";
  expect_bits(outcome, fn);
}

TEST_F(Selection, must_save_holds_against_a_budget_and_prefer_save_gives_way) {
  const at::Tensor x = square(1).requires_grad_();
  const auto kept_in_budget = [&](CheckpointPolicy policy) {
    memory::trim();
    Scope scope({.budget = Bytes(live() + 6 * kTensor), .policy = Online{}});
    at::Tensor a;
    const at::Tensor y = custom_checkpoint(
        CheckpointOptions{.rules = {{.op = "aten::tanh", .policy = policy}}},
        [&](const at::Tensor& in) {
          a = in.tanh();
          return a.exp();
        },
        x);
    std::vector<at::Tensor> more = {y};
    for (int i = 0; i < 12; ++i) more.push_back(more.back().sin());
    bool there = true;
    try {
      (void)a.const_data_ptr();
    } catch (const c10::Error&) {
      there = false;
    }
    more.clear();
    return there;
  };
  EXPECT_TRUE(kept_in_budget(CheckpointPolicy::MustSave));
  EXPECT_FALSE(kept_in_budget(CheckpointPolicy::PreferSave));
}

// What the short versions lose: gradients of captured weights when no input needs one, random
// numbers, arguments that are no tensors, results that are more than one.
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
