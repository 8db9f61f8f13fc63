// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Writes: through views, by out= operators, by operators that return one of their inputs. A replay
// that misses a write, or runs one twice, gives wrong numbers in exactly the part that was written.
#include "regression/evicting.h"

namespace neap::test {
namespace {

constexpr std::int64_t kSide = 32;

at::Tensor source() {
  return torch::arange(kSide * kSide).to(torch::kFloat).view({kSide, kSide}) * 0.01;
}

TEST(InPlace, writes_through_views_are_replayed_in_order) {
  const at::Tensor x = source();
  EXPECT_EQ(expect_same_bytes_when_back([&] {
              at::Tensor made = x * 2;
              made.narrow(0, 3, 5).fill_(0.25);
              made.t().select(0, 4).mul_(3);
              made.view({-1}).slice(0, 7, 900, 3).add_(1);
              made.diagonal().zero_();
              return made;
            }),
            5);
}

TEST(InPlace, values_read_between_two_writes_come_back_with_what_they_had_read) {
  const at::Tensor x = source();
  const Counts counts;
  at::Tensor made, first, second;
  checkpoint([&] {
    made = x * 2;
    first = made + 1;
    made.mul_(3);
    second = made + 1;
    made.narrow(1, 0, 4).sub_(5);
  });
  ASSERT_TRUE(evicted(made) && evicted(first) && evicted(second));
  at::Tensor expected = x * 6;
  expected.narrow(1, 0, 4).sub_(5);
  EXPECT_EQ(
      first_difference(bytes_of({x * 6 + 1, x * 2 + 1, expected}), bytes_of({second, first, made})),
      std::nullopt);
  EXPECT_GE(counts.replays(), 5);
}

// The operator writes row after row until it meets the index that is out of range. No recipe says
// where it stopped.
TEST(InPlace, what_a_failing_operator_has_written_stays) {
  const at::Tensor x = source();
  at::Tensor index = torch::arange(kSide, torch::kLong);
  index[kSide - 1] = kSide;
  const auto write = [&](at::Tensor made) {
    EXPECT_THROW(made.index_fill_(0, index, 0.25), c10::Error);
    return made;
  };
  at::Tensor made, beside;
  checkpoint([&] {
    made = write(x * 2);
    beside = x * 3;
  });
  EXPECT_FALSE(evicted(made));
  EXPECT_TRUE(evicted(beside));
  EXPECT_NE(first_difference(bytes_of({x * 2}), bytes_of({made})), std::nullopt);
  EXPECT_EQ(first_difference(bytes_of({write(x * 2), x * 3}), bytes_of({made, beside})),
            std::nullopt);
}

TEST(InPlace, a_write_into_an_evicted_tensor_brings_it_back_once_and_is_kept) {
  const at::Tensor x = source();
  const Counts counts;
  at::Tensor made = made_in_region([&] { return x * 2; });
  ASSERT_TRUE(evicted(made));
  made.narrow(0, 0, 4).add_(1);
  EXPECT_EQ(counts.replays(), 1);
  at::Tensor expected = x * 2;
  expected.narrow(0, 0, 4).add_(1);
  EXPECT_EQ(first_difference(bytes_of({expected}), bytes_of({made})), std::nullopt);
  EXPECT_EQ(counts.replays(), 1);
}

TEST(InPlace, overwriting_an_evicted_tensor_leaves_others_that_were_made_from_it_right) {
  const at::Tensor x = source();
  at::Tensor made, after;
  checkpoint([&] {
    made = x * 2;
    after = made + 1;
  });
  ASSERT_TRUE(evicted(made) && evicted(after));
  made.fill_(7);
  EXPECT_EQ(first_difference(bytes_of({torch::full({kSide, kSide}, 7.0F), x * 2 + 1}),
                             bytes_of({made, after})),
            std::nullopt);
}

TEST(InPlace, copies_between_parts_of_one_tensor_are_replayed) {
  const at::Tensor x = source();
  EXPECT_EQ(expect_same_bytes_when_back([&] {
              at::Tensor made = x * 2;
              made.narrow(0, 0, 8).copy_(made.narrow(0, 16, 8));
              made.select(1, 3).copy_(made.select(1, 9));
              return made;
            }),
            3);
}

TEST(InPlace, more_writes_than_a_recipe_may_hold_pin_the_tensor) {
  const at::Tensor x = source();
  const Counts counts;
  at::Tensor made, beside;
  checkpoint([&] {
    made = x * 2;
    for (int i = 0; i < 200; ++i) made.add_(1);
    beside = x * 3;
  });
  EXPECT_FALSE(evicted(made));
  EXPECT_TRUE(evicted(beside));
  at::Tensor expected = x * 2;
  for (int i = 0; i < 200; ++i) expected.add_(1);
  EXPECT_EQ(first_difference(bytes_of({expected, x * 3}), bytes_of({made, beside})), std::nullopt);
  EXPECT_EQ(counts.replays(), 1);
}

TEST(OutOperators, that_overwrite_are_replayed) {
  const at::Tensor x = source();
  EXPECT_GE(expect_same_bytes_when_back([&] {
              at::Tensor made = x * 2;
              torch::tanh_out(made, x);
              return made;
            }),
            1);
  EXPECT_GE(expect_same_bytes_when_back([&] {
              at::Tensor made = x * 2;
              at::Tensor part = made.narrow(0, 4, 8);
              torch::add_out(part, x.narrow(0, 0, 8), x.narrow(0, 8, 8));
              return made;
            }),
            2);
  EXPECT_GE(expect_same_bytes_when_back([&] {
              at::Tensor made = x * 2;
              torch::mm_out(made, x, x);
              torch::mul_out(made, made, made);
              return made;
            }),
            2);
}

TEST(OutOperators, that_resize_their_empty_output_leave_it_right) {
  const at::Tensor x = source();
  at::Tensor made, beside;
  const Counts counts;
  checkpoint([&] {
    made = torch::empty({0});
    torch::tanh_out(made, x);
    beside = made * 2;
  });
  EXPECT_TRUE(evicted(beside));
  EXPECT_EQ(
      first_difference(bytes_of({torch::tanh(x), torch::tanh(x) * 2}), bytes_of({made, beside})),
      std::nullopt);
  EXPECT_GT(counts.replays(), 0);
}

// One of the two outputs has memory already. A replay of the operator would write only that one,
// and find the other one empty.
TEST(OutOperators, of_which_one_is_empty_leave_both_right) {
  const at::Tensor x = source();
  at::Tensor values, indices;
  checkpoint([&] {
    values = torch::empty({0});
    indices = torch::zeros({kSide, kSide}, torch::kLong);
    torch::sort_out(values, indices, x, 1);
  });
  const auto [expected_values, expected_indices] = torch::sort(x, 1);
  EXPECT_EQ(
      first_difference(bytes_of({expected_values, expected_indices}), bytes_of({values, indices})),
      std::nullopt);
}

TEST(OutOperators, of_two_outputs_leave_both_right) {
  const at::Tensor x = source();
  at::Tensor values, indices, beside;
  const Counts counts;
  checkpoint([&] {
    values = torch::empty({kSide});
    indices = torch::empty({kSide}, torch::kLong);
    torch::max_out(values, indices, x, 1);
    beside = x * 2 + values;
  });
  EXPECT_TRUE(evicted(beside));
  const auto [expected_values, expected_indices] = torch::max(x, 1);
  EXPECT_EQ(first_difference(bytes_of({expected_values, expected_indices, x * 2 + expected_values}),
                             bytes_of({values, indices, beside})),
            std::nullopt);
  EXPECT_EQ(counts.replays(), 2);
}

TEST(OperatorsThatReturnAnInput, make_no_second_block_of_it) {
  const at::Tensor x = source();
  const std::vector<std::function<at::Tensor(const at::Tensor&)>> same{
      [](const at::Tensor& t) { return t.contiguous(); },
      [](const at::Tensor& t) { return t.to(torch::kFloat); },
      [](const at::Tensor& t) { return torch::dropout(t, 0.5, false); },
      [](const at::Tensor& t) { return t.resolve_conj(); },
      [](const at::Tensor& t) {
        return t.expand({kSide, kSide});
      },
      [](const at::Tensor& t) {
        return t.reshape({kSide, kSide});
      },
      [](const at::Tensor& t) { return t.detach(); },
      [](const at::Tensor& t) { return t.alias(); },
      [](const at::Tensor& t) { return torch::native_dropout(t, 0.0, false), t; },
  };
  for (std::size_t i = 0; i < same.size(); ++i) {
    SCOPED_TRACE(i);
    const Counts counts;
    at::Tensor made, result;
    checkpoint([&] {
      made = x * 2;
      result = same[i](made);
    });
    EXPECT_TRUE(result.is_alias_of(made));
    EXPECT_TRUE(evicted(made) && evicted(result));
    EXPECT_EQ(first_difference(bytes_of({x * 2, x * 2}), bytes_of({made, result})), std::nullopt);
    EXPECT_EQ(counts.replays(), 1);
  }
}

TEST(OperatorsThatReturnAnInput, keep_a_given_tensor_given) {
  const at::Tensor x = source();
  at::Tensor result, beside;
  const Counts counts;
  checkpoint([&] {
    result = x.contiguous().to(torch::kFloat);
    beside = x * 2;
  });
  EXPECT_TRUE(result.is_same(x));
  EXPECT_FALSE(evicted(result));
  EXPECT_TRUE(evicted(beside));
  EXPECT_EQ(counts.evictions(), 1);
}

TEST(InPlace, activations_written_in_place_under_budgets_give_the_same_gradients) {
  expect_same_bytes_under_budgets(
      [] {
        at::Tensor weight = torch::randn({64, 64}).mul_(0.2).requires_grad_();
        at::Tensor x = torch::rand({64, 64});
        for (int i = 0; i < 12; ++i) {
          at::Tensor y = x.mm(weight);
          y.narrow(0, 0, 32).mul_(0.5);
          x = y.add_(0.1).sigmoid_();
        }
        x.sum().backward();
        return std::vector<at::Tensor>{weight.grad()};
      },
      {75, 60});
}

}  // namespace
}  // namespace neap::test
