// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// What schema and tags say about operators, and what the table of exceptions says, for one operator
// of each kind. tests/operators runs all operators to see whether the answers are right.
#include "intercept/operators.h"

#include <neap/intercept.h>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <torch/library.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

namespace neap::intercept {
namespace {

c10::OperatorHandle op_named(const char* name, const char* overload = "") {
  return c10::Dispatcher::singleton().findSchemaOrThrow(name, overload);
}
const OperatorTraits& traits(const char* name, const char* overload = "") {
  return traits_of(op_named(name, overload));
}
// Bit i stands for argument i.
std::uint64_t bits(std::initializer_list<int> arguments) {
  std::uint64_t mask = 0;
  for (const int argument : arguments) mask |= std::uint64_t{1} << argument;
  return mask;
}

TEST(Operators, a_name_has_the_same_hash_in_every_process) {
  EXPECT_EQ(traits("aten::add", "Tensor").name_hash, 0xbbc934900e4cb971U);
  EXPECT_EQ(traits("aten::relu").name_hash, 0xe0536ea8a831d915U);
}

TEST(Operators, what_is_written_is_known_by_the_schema) {
  EXPECT_EQ(traits("aten::add", "Tensor").writes, 0U);
  EXPECT_EQ(traits("aten::add_", "Tensor").writes, bits({0}));
  EXPECT_EQ(traits("aten::add", "out").writes, bits({3}));
  EXPECT_TRUE(traits("aten::add", "out").overwrites);
  EXPECT_FALSE(traits("aten::add_", "Tensor").overwrites) << "it reads what it writes";
  for (const char* const name : {"aten::fill_", "aten::zero_", "aten::copy_", "aten::normal_"}) {
    const bool has_scalar = std::string(name) == "aten::fill_";
    EXPECT_TRUE(traits(name, has_scalar ? "Scalar" : "").overwrites) << name;
  }
}

TEST(Operators, views_touch_no_data_and_what_may_move_memory_is_none) {
  for (const auto& [name, overload] :
       std::vector<std::pair<const char*, const char*>>{{"aten::view", ""},
                                                        {"aten::slice", "Tensor"},
                                                        {"aten::t_", ""},
                                                        {"aten::_unsafe_view", ""}}) {
    EXPECT_TRUE(traits(name, overload).view) << name;
  }
  EXPECT_FALSE(traits("aten::add", "Tensor").view);
  const OperatorTraits& resize = traits("aten::resize_");
  EXPECT_FALSE(resize.view);
  EXPECT_FALSE(resize.replayable);
  EXPECT_STREQ(resize.reason, "may put other memory below its argument");
  EXPECT_FALSE(traits("aten::_lazy_clone").replayable);
  EXPECT_EQ(traits("aten::_lazy_clone").writes, bits({0}))
      << "nobody sees who writes into it later";
}

TEST(Operators, factories_zeros_and_empty_ones_are_told_apart) {
  EXPECT_TRUE(traits("aten::ones").factory);
  EXPECT_FALSE(traits("aten::ones").zeros);
  EXPECT_TRUE(traits("aten::zeros").factory && traits("aten::zeros").zeros);
  const OperatorTraits& like = traits("aten::zeros_like");
  EXPECT_TRUE(like.factory && like.zeros);
  EXPECT_EQ(like.unread, bits({0})) << "it looks at the shape only";
  EXPECT_TRUE(traits("aten::empty", "memory_format").empty);
  EXPECT_TRUE(traits("aten::empty_like").empty);
  EXPECT_FALSE(traits("aten::zeros").empty);
  EXPECT_TRUE(traits("aten::randn_like").factory) << "it hangs on the generator alone";
  EXPECT_EQ(traits("aten::randn_like").unread, bits({0}));
  EXPECT_FALSE(traits("aten::add", "Tensor").factory);
}

TEST(Operators, what_draws_numbers_is_random_and_replayable) {
  for (const auto& [name, overload] : std::vector<std::pair<const char*, const char*>>{
           {"aten::randn", ""}, {"aten::bernoulli", ""}, {"aten::native_dropout", ""}}) {
    EXPECT_TRUE(traits(name, overload).random) << name;
    EXPECT_TRUE(traits(name, overload).replayable) << name;
  }
  EXPECT_FALSE(traits("aten::mm").random);
}

TEST(Operators, what_works_number_by_number_is_told_from_products) {
  EXPECT_TRUE(traits("aten::exp").pointwise);
  EXPECT_FALSE(traits("aten::mm").pointwise);
  EXPECT_FALSE(traits("aten::convolution").pointwise);
}

TEST(Operators, what_only_calls_others_is_decomposed) {
  EXPECT_TRUE(traits("aten::matmul").decompose);
  EXPECT_FALSE(traits("aten::mm").decompose);
}

TEST(Operators, a_batch_norm_updates_its_statistics_once_and_only_in_training) {
  const OperatorTraits& norm = traits("aten::native_batch_norm");
  EXPECT_EQ(norm.once, bits({3, 4})) << "running_mean, running_var";
  EXPECT_EQ(norm.writes & norm.once, 0U);
  EXPECT_TRUE(norm.replayable);
  const auto updates = [&](bool training) {
    std::vector<c10::IValue> arguments(norm.arguments);
    arguments[5] = training;
    return updates_once(norm, arguments);
  };
  EXPECT_TRUE(updates(true));
  EXPECT_FALSE(updates(false));
  EXPECT_FALSE(updates_once(traits("aten::exp"), std::vector<c10::IValue>(1)));
}

at::Tensor twice(const at::Tensor& x) { return x * 2; }

TEST(Operators, of_a_program_are_replayable_once_they_are_declared) {
  torch::Library library(torch::Library::FRAGMENT, "intercept_test", std::nullopt, __FILE__,
                         __LINE__);
  library.def("twice(Tensor x) -> Tensor", &twice);
  EXPECT_FALSE(traits("intercept_test::twice").replayable);
  EXPECT_NE(std::string(traits("intercept_test::twice").reason).find("declare_replayable"),
            std::string::npos);
  neap::declare_replayable("intercept_test::twice");
  EXPECT_TRUE(traits("intercept_test::twice").replayable);
  EXPECT_STREQ(traits("intercept_test::twice").reason, "");
  EXPECT_THROW(neap::declare_replayable("twice"), InvalidArgument);
  const auto rules = operator_rules();
  const auto rule = std::ranges::find(rules, "intercept_test::twice", &OperatorRule::name);
  ASSERT_NE(rule, rules.end());
  EXPECT_TRUE(rule->replayable);
}

// A new schema may have the address of a destroyed one.
TEST(Operators, that_are_defined_anew_are_looked_at_anew) {
  std::uint64_t hash = 0;
  {
    torch::Library library(torch::Library::FRAGMENT, "intercept_test", std::nullopt, __FILE__,
                           __LINE__);
    library.def("changes(Tensor x) -> Tensor");
    hash = traits("intercept_test::changes").name_hash;
    EXPECT_EQ(traits("intercept_test::changes").writes, 0U);
  }
  torch::Library library(torch::Library::FRAGMENT, "intercept_test", std::nullopt, __FILE__,
                         __LINE__);
  library.def("changes(Tensor(a!) x, Tensor y) -> Tensor(a!)");
  EXPECT_EQ(traits("intercept_test::changes").writes, bits({0}));
  EXPECT_EQ(traits("intercept_test::changes").arguments, 2U);
  EXPECT_EQ(traits("intercept_test::changes").name_hash, hash);
}

}  // namespace
}  // namespace neap::intercept
