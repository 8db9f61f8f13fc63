// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Rules that match nothing. It is easy to write aten::matmul, addmm, aten.addmm or a misspelt layer
// name. Such a rule keeps nothing, so the scope must say so.
#include "checkpoint/nearest_name.h"
#include "checkpoint/squares.h"
#include "support/message_of.h"

#include <neap/neap.h>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <algorithm>
#include <string>
#include <vector>

namespace neap {
namespace {

using namespace squares;

at::Tensor chain(const at::Tensor& x) { return x.tanh().exp().sigmoid(); }

std::string refusal(const CheckpointOptions& options) {
  const at::Tensor x = square(1);
  return test::message_of<InvalidArgument>([&] { custom_checkpoint(options, chain, x); });
}
std::string refusal_of_operator(const std::string& op) {
  return refusal({.rules = {{.op = "aten::tanh"}, {.op = op}}});
}
std::string refusal_of_layer(const std::string& layer) {
  return refusal({.rules = {{.layer = layer}}});
}

TEST(Rules, of_operators_as_they_are_spelled_elsewhere_are_refused_with_the_name_to_write) {
  for (const char* const op : {"addmm", "aten.addmm", "aten::addmm.default", "aten::addmm.out",
                               "aten.addmm.default", "torch.ops.aten.addmm"}) {
    EXPECT_EQ(refusal_of_operator(op),
              "CheckpointOptions: '" + std::string(op) +
                  "' is no operator's name; write aten::addmm: names have their namespace, and no "
                  "overload");
  }
  EXPECT_EQ(
      refusal_of_operator("addmm*"),
      "CheckpointOptions: 'addmm*' is no operator's name; write aten::addmm*: names have their "
      "namespace, and no overload");
}

TEST(Rules, of_operators_that_are_made_of_others_are_refused_with_where_the_names_are_shown) {
  const std::string rest =
      "an operator that is made of others, and it is those that are seen: a linear layer is "
      "aten::addmm, a product aten::mm or aten::bmm; neap::saved_report() and neap trace show the "
      "names";
  for (const char* const op : {"aten::linear", "aten::matmul", "aten::layer_nor?"}) {
    EXPECT_EQ(refusal_of_operator(op),
              "CheckpointOptions: '" + std::string(op) + "' names " + rest);
  }
  for (const char* const op : {"linear", "aten.linear", "torch.nn.functional.linear"}) {
    EXPECT_EQ(refusal_of_operator(op),
              "CheckpointOptions: '" + std::string(op) + "' names aten::linear, " + rest);
  }
}

TEST(Rules, that_no_operator_can_match_are_refused_with_the_nearest_name) {
  EXPECT_EQ(refusal_of_operator("aten::addmmm"),
            "CheckpointOptions: 'aten::addmmm' matches no operator; the nearest is aten::addmm");
  EXPECT_EQ(
      refusal_of_operator("aten::sigmiod*"),
      "CheckpointOptions: 'aten::sigmiod*' matches no operator; the nearest is aten::sigmoid");
  EXPECT_EQ(
      refusal_of_operator("my_ops::addmm").find("CheckpointOptions: 'my_ops::addmm' matches no"),
      0U);
  EXPECT_EQ(refusal_of_operator(""),
            "CheckpointOptions: '' is an empty pattern of operators and matches none; leave it out "
            "for all, or name some as aten::mm");
}

TEST(Rules, of_layers_that_have_no_name_are_refused_with_the_nearest) {
  torch::nn::Sequential net(torch::nn::Linear(kSide, kSide), torch::nn::Linear(kSide, kSide));
  name_layers(net, "rules_net.");
  EXPECT_EQ(
      refusal_of_layer("rules_nett.1"),
      "CheckpointOptions: 'rules_nett.1' matches no layer that neap::name_layers() was told; the "
      "nearest is 'rules_net.1'");
  EXPECT_EQ(
      refusal_of_layer(""),
      "CheckpointOptions: '' is an empty pattern of layers and matches none; leave it out for "
      "all");
  EXPECT_EQ(
      refusal(
          {.keep_at_most = Bytes(1), .importance = {{"rules_net.[01]", 2}, {"rules_net.2", 3}}}),
      "CheckpointOptions: 'rules_net.2' matches no layer that neap::name_layers() was told; the "
      "nearest is 'rules_net.0'");
  EXPECT_EQ(refusal_of_layer("rules_net.?"), "nothing was thrown");
}

TEST(Rules, that_something_can_match_are_taken) {
  for (const char* const op : {"*", "aten::*", "aten::*mm*", "*mm", "aten::addm?", "aten::[ab]*"}) {
    EXPECT_EQ(refusal_of_operator(op), "nothing was thrown");
  }
  EXPECT_EQ(refusal(CheckpointOptions::save_compute()), "nothing was thrown");
}

// What the scope's note says about the rules after a region that has them.
std::string note_of(const CheckpointOptions& options) {
  const at::Tensor x = square(1).requires_grad_();
  Scope scope;
  custom_checkpoint(options, chain, x).sum().backward();
  scope.end();
  return scope.stats().rule_note;
}

TEST(Rules, that_match_nothing_in_a_region_are_noted_with_the_nearest_name_there) {
  EXPECT_EQ(note_of({.rules = {{.op = "aten::tanh"}}}), "");
  EXPECT_EQ(note_of({.rules = {{.op = "aten::tan"}}}),
            "a region: the rule for operator aten::tan matched nothing; the nearest operator there "
            "is aten::tanh");
  EXPECT_EQ(note_of({.name = "middle",
                     .rules = {{.op = "aten::exp"}, {.op = "aten::expm1"}, {.op = "aten::mm"}}}),
            "region 'middle': the rule for operator aten::expm1 matched nothing; the nearest "
            "operator there is aten::exp\n"
            "region 'middle': the rule for operator aten::mm matched nothing; the nearest operator "
            "there is aten::exp");
}

TEST(Rules, behind_one_that_matches_the_same_are_no_rules_that_match_nothing) {
  EXPECT_EQ(note_of({.rules = {{.op = "aten::*"}, {.op = "aten::exp"}}}), "");
}

TEST(Rules, that_are_optional_are_not_noted) {
  EXPECT_EQ(note_of(CheckpointOptions::save_compute()), "");
  EXPECT_EQ(note_of({.rules = {{.op = "aten::mm", .optional = true}}}), "");
}

TEST(Rules, of_layers_that_match_nothing_in_a_region_are_noted) {
  torch::nn::Linear first(kSide, kSide);
  name_layers(torch::nn::Sequential(first, torch::nn::Tanh(), torch::nn::Linear(kSide, kSide)),
              "noted.");
  const at::Tensor x = square(1).requires_grad_();
  const auto note = [&](const CheckpointRule& rule) {
    Scope scope;
    const at::Tensor y = custom_checkpoint(
        CheckpointOptions{.rules = {rule}},
        [&](const at::Tensor& in) { return first->forward(in).tanh(); }, x);
    y.sum().backward();
    scope.end();
    return scope.stats().rule_note;
  };
  EXPECT_EQ(note({.layer = "noted.0"}), "");
  EXPECT_EQ(note({.layer = "noted.2"}),
            "a region: the rule for layer noted.2 matched nothing; the nearest layer there is "
            "noted.0");
  EXPECT_EQ(note({.op = "aten::tan", .layer = "noted.0"}),
            "a region: the rule for operator aten::tan in layer noted.0 matched nothing; the "
            "nearest operator there is aten::tanh");
}

TEST(Rules, are_noted_once_in_a_scope_and_forgotten_by_the_next) {
  const CheckpointOptions options{.rules = {{.op = "aten::tan"}}};
  const at::Tensor x = square(1).requires_grad_();
  std::string once;
  {
    Scope scope;
    for (int i = 0; i < 3; ++i) custom_checkpoint(options, chain, x).sum().backward();
    once = scope.stats().rule_note;
  }
  EXPECT_EQ(std::ranges::count(once, '\n'), 0) << once;
  Scope scope;
  EXPECT_EQ(scope.stats().rule_note, "");
}

TEST(NearestName, is_the_one_that_takes_the_fewest_letters) {
  const std::vector<std::string> names = {"aten::mm", "aten::bmm", "aten::tanh"};
  EXPECT_EQ(detail::nearest_name("aten::tanhh", names), "aten::tanh");
  EXPECT_EQ(detail::nearest_name("aten::mmm", names), "aten::mm") << "the first of two";
  EXPECT_EQ(detail::nearest_name("", names), "aten::mm");
  EXPECT_EQ(detail::nearest_name("x", {}), "");
}

}  // namespace
}  // namespace neap
