// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Which operators run again to bring storages back, in which order, how often, and how many bytes
// that takes. An observer notes each replay. The bytes of the results are compared too.
#include "engine/materialization.h"

#include "regression/evicting.h"

#include <gmock/gmock.h>
#include <torch/library.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

namespace neap::test {
namespace {

using testing::ElementsAre;

constexpr std::int64_t kSide = 64;
const std::int64_t kTensor = memory::footprint(kSide * kSide * 4);

class Replays final : public engine::Observer {
 public:
  void ran(const engine::OperatorRun& /*run*/) noexcept override {}
  void replayed(const engine::Node& node) noexcept override {
    names.push_back(node.traits->op.schema().name());
    sequences.push_back(node.operator_sequence);
  }
  void not_replayable(const engine::Block& /*block*/) noexcept override {}
  void released(const engine::Block& /*block*/) noexcept override {}

  std::vector<std::string> names;
  std::vector<std::uint64_t> sequences;
};

// A scope with room for some tensors, whose replays are noted.
class Materialization : public testing::Test {
 protected:
  Materialization() { torch::manual_seed(4); }
  ~Materialization() override {
    if (scope_) engine::Engine::instance().set_observer(nullptr);
  }

  void open(std::int64_t tensors) {
    memory::trim();
    // Some bytes more, for the rest of a slab.
    const Bytes budget(memory::usage().live + tensors * kTensor + 32768);
    scope_ = std::make_unique<Scope>(Options{.budget = budget, .policy = Online{}});
    engine::Engine::instance().set_observer(&replays_);
  }
  // Asks for more than the whole budget. Before it refuses that, the engine evicts everything it
  // can.
  static void evict_all() {
    EXPECT_THROW((void)torch::empty({*memory::budget()}, torch::kInt8), BudgetExceeded);
    engine::Engine::instance().validate();
  }
  // Brings the tensor back, and returns the operators that ran for it.
  std::vector<std::string> bring(const at::Tensor& tensor) {
    replays_.names.clear();
    replays_.sequences.clear();
    EXPECT_TRUE(evicted(tensor)) << "nothing was evicted, so nothing is tested";
    (void)tensor.narrow(0, 0, 1).exp2();  // an operator that reads it
    EXPECT_FALSE(evicted(tensor));
    EXPECT_TRUE(std::ranges::is_sorted(replays_.sequences)) << "the original order";
    engine::Engine::instance().validate();
    return replays_.names;
  }

  at::Tensor x_ = torch::randn({kSide, kSide});
  Replays replays_;
  std::unique_ptr<Scope> scope_;
};

// Two ways lead from `a` to the result, and the program holds nothing on them.
at::Tensor diamond(const at::Tensor& x) {
  const at::Tensor a = x.sin();
  const at::Tensor b = a.cos();  // first, because C++ leaves the order of operands open
  return b + a.exp();
}

TEST_F(Materialization, runs_each_operator_once_in_the_original_order) {
  const ByteLists expected = bytes_of({diamond(x_)});
  open(8);
  const at::Tensor made = diamond(x_);
  evict_all();
  EXPECT_THAT(bring(made), ElementsAre("aten::sin", "aten::cos", "aten::exp", "aten::add"));
  EXPECT_EQ(first_difference(expected, bytes_of({made})), std::nullopt);
}

TEST_F(Materialization, frees_what_it_made_on_the_way_as_soon_as_nothing_reads_it) {
  open(8);
  const at::Tensor made = diamond(x_);
  evict_all();
  memory::trim();
  const std::int64_t live = memory::usage().live;
  memory::reset_peak();
  (void)made.relu_();  // in place: takes no memory of its own
  // The peak is sin, cos and exp. Then sin is freed before the sum is made.
  EXPECT_EQ(memory::usage().peak - live, 3 * kTensor);
  EXPECT_EQ(memory::usage().live - live, kTensor) << "the result alone stays";
}

TEST_F(Materialization, of_two_operands_runs_what_they_share_once) {
  open(8);
  at::Tensor a = x_.sin();
  const at::Tensor b = a.cos(), c = a.exp();
  a.reset();
  evict_all();
  ASSERT_TRUE(evicted(b) && evicted(c));
  replays_.names.clear();
  (void)at::mul(b, c);
  EXPECT_THAT(replays_.names, ElementsAre("aten::sin", "aten::cos", "aten::exp"));
}

TEST_F(Materialization, takes_along_what_the_same_operator_makes) {
  open(12);
  const auto [values, places] = x_.sort();
  const ByteLists expected = bytes_of({values, places});
  evict_all();
  ASSERT_TRUE(evicted(values) && evicted(places));
  EXPECT_THAT(bring(values), ElementsAre("aten::sort"));
  EXPECT_FALSE(evicted(places)) << "it costs no more, and saves a replay later";
  EXPECT_EQ(first_difference(expected, bytes_of({values, places})), std::nullopt);
}

TEST_F(Materialization, makes_an_older_version_beside_the_newer_one_that_is_there) {
  open(8);
  const at::Tensor y = x_.sin();
  const at::Tensor z = y.exp();  // made from the sine
  y.add_(1);
  const ByteLists expected = bytes_of({y, z});
  evict_all();
  EXPECT_THAT(bring(y), ElementsAre("aten::sin", "aten::add_"));
  const void* const place = y.const_data_ptr();
  const std::int64_t live = memory::usage().live;
  EXPECT_THAT(bring(z), ElementsAre("aten::sin", "aten::exp"));
  EXPECT_EQ(y.const_data_ptr(), place);
  EXPECT_EQ(memory::usage().live - live, kTensor) << "the older version went";
  EXPECT_EQ(first_difference(expected, bytes_of({y, z})), std::nullopt);
}

TEST_F(Materialization, begins_at_what_is_there) {
  open(8);
  const at::Tensor a = x_.sin();
  const at::Tensor b = a.cos();
  const at::Tensor c = b.exp();
  evict_all();
  EXPECT_THAT(bring(b), ElementsAre("aten::sin", "aten::cos"));
  EXPECT_FALSE(evicted(a)) << "the program holds it, and it came on the way";
  EXPECT_THAT(bring(c), ElementsAre("aten::exp"));
}

// Each allocation of a materialization fails once.
TEST_F(Materialization, that_fails_leaves_all_as_it_was_and_the_next_one_brings_the_same_bytes) {
  const ByteLists expected = bytes_of({diamond(x_)});
  open(8);
  const at::Tensor made = diamond(x_);
  int failed = 0;
  for (bool fails = true; fails; ++failed) {
    evict_all();
    ASSERT_TRUE(evicted(made));
    memory::trim();
    const std::int64_t live = memory::usage().live;
    memory::fail_allocation(failed + 1, false);
    try {
      (void)made.relu_();
      fails = false;
    } catch (const OutOfMemory&) {
      EXPECT_TRUE(evicted(made));
      EXPECT_EQ(memory::usage().live, live) << "failure " << failed;
    }
    memory::fail_allocation(0, false);
    engine::Engine::instance().validate();
    if (!fails) break;
    EXPECT_EQ(first_difference(expected, bytes_of({made})), std::nullopt) << "failure " << failed;
  }
  EXPECT_EQ(failed, 4) << "one for each of the four operators";
}

std::int64_t rows = kSide;
at::Tensor some_rows(const at::Tensor& x) { return x.narrow(0, 0, rows).clone(); }

TEST_F(Materialization, refuses_a_result_of_another_size_and_names_the_operator) {
  torch::Library library(torch::Library::FRAGMENT, "materialization_test", std::nullopt, __FILE__,
                         __LINE__);
  library.def("some_rows(Tensor x) -> Tensor");
  library.impl("some_rows", c10::DispatchKey::CPU, TORCH_FN(some_rows));
  declare_replayable("materialization_test::some_rows");
  const auto op = c10::Dispatcher::singleton()
                      .findSchemaOrThrow("materialization_test::some_rows", "")
                      .typed<at::Tensor(const at::Tensor&)>();
  open(8);
  at::Tensor made = op.call(x_);
  const at::Tensor other = x_.sin();
  const ByteLists expected = bytes_of({other});
  evict_all();
  ASSERT_TRUE(evicted(made));
  rows = kSide / 2;
  try {
    (void)made.relu_();
    ADD_FAILURE() << "it was taken";
  } catch (const ReplayError& error) {
    EXPECT_STREQ(
        error.what(),
        "materialization_test::some_rows: replayed, result 0 has 8192 bytes, recorded were "
        "16384; an operator that is declared replayable must do the same each time");
  }
  rows = kSide;
  EXPECT_TRUE(evicted(made));
  engine::Engine::instance().validate();
  EXPECT_EQ(first_difference(expected, bytes_of({other})), std::nullopt) << "others come back";
  EXPECT_THAT(bring(made), ElementsAre("materialization_test::some_rows"));
  made.reset();
}

}  // namespace
}  // namespace neap::test
