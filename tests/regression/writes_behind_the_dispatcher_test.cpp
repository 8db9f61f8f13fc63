// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Programs fill tensors through raw pointers: torch::tensor(vector), accessors, memcpy. No operator
// shows that. A replay of the `empty` that made such labels would give garbage. The loss would be
// silently wrong, in another way each time.
#include "regression/evicting.h"

#include <cstring>
#include <numeric>

namespace neap::test {
namespace {

constexpr std::int64_t kSide = 16;  // kSide x kSide floats are 1 KiB, above what is never evicted

std::vector<float> numbers() {
  std::vector<float> values(kSide * kSide);
  std::iota(values.begin(), values.end(), 1.0F);
  return values;
}

at::Tensor expected_square() { return torch::tensor(numbers()).view({kSide, kSide}) * 3; }

void fill_by_hand(const at::Tensor& tensor) {
  auto access = tensor.accessor<float, 2>();
  float value = 1;
  for (std::int64_t i = 0; i < kSide; ++i) {
    for (std::int64_t j = 0; j < kSide; ++j) access[i][j] = value++;
  }
}

// `make` returns a tensor that was filled by hand. It must stay, and what was made from it must be
// right when it comes back.
void expect_filled_by_hand_stays(const std::function<at::Tensor(const at::Tensor&)>& make) {
  const at::Tensor like = torch::rand({kSide, kSide});
  const Counts counts;
  at::Tensor filled;
  at::Tensor product;
  checkpoint([&] {
    filled = make(like);
    product = filled * 3;
  });
  EXPECT_FALSE(evicted(filled));
  EXPECT_TRUE(evicted(product));
  EXPECT_EQ(first_difference(bytes_of({expected_square()}), bytes_of({product})), std::nullopt);
  EXPECT_EQ(counts.replays(), 1);
}

TEST(WriteBehindTheDispatcher, of_a_vector_into_a_tensor_inside_a_region_stays) {
  expect_filled_by_hand_stays([](const at::Tensor&) {
    return torch::tensor(numbers()).view({kSide, kSide});
  });
}

TEST(WriteBehindTheDispatcher, of_an_accessor_into_empty_stays) {
  expect_filled_by_hand_stays([](const at::Tensor&) {
    at::Tensor made = torch::empty({kSide, kSide});
    fill_by_hand(made);
    return made;
  });
}

TEST(WriteBehindTheDispatcher, of_an_accessor_into_empty_like_stays) {
  expect_filled_by_hand_stays([](const at::Tensor& like) {
    at::Tensor made = torch::empty_like(like);
    fill_by_hand(made);
    return made;
  });
}

TEST(WriteBehindTheDispatcher, of_an_accessor_into_new_empty_stays) {
  expect_filled_by_hand_stays([](const at::Tensor& like) {
    at::Tensor made = like.new_empty({kSide, kSide});
    fill_by_hand(made);
    return made;
  });
}

TEST(WriteBehindTheDispatcher, of_an_accessor_into_zeros_stays) {
  expect_filled_by_hand_stays([](const at::Tensor&) {
    at::Tensor made = torch::zeros({kSide, kSide});
    fill_by_hand(made);
    return made;
  });
}

// Programs make masks like this: zeros_like, then ones here and there.
TEST(WriteBehindTheDispatcher, of_an_accessor_into_zeros_like_stays) {
  expect_filled_by_hand_stays([](const at::Tensor& like) {
    at::Tensor made = torch::zeros_like(like);
    fill_by_hand(made);
    return made;
  });
}

TEST(WriteBehindTheDispatcher, of_an_accessor_into_new_zeros_stays) {
  expect_filled_by_hand_stays([](const at::Tensor& like) {
    at::Tensor made = like.new_zeros({kSide, kSide});
    fill_by_hand(made);
    return made;
  });
}

// Zeros that were not written can be evicted. After they came back and were filled, they cannot be
// evicted again.
TEST(WriteBehindTheDispatcher, of_an_accessor_into_zeros_that_have_been_away_stays) {
  at::Tensor zeros;
  checkpoint([&] { zeros = torch::zeros({kSide, kSide}); });
  ASSERT_TRUE(evicted(zeros));
  at::Tensor product;
  checkpoint([&] {
    EXPECT_EQ(first_difference(bytes_of({torch::zeros({kSide, kSide})}), bytes_of({zeros})),
              std::nullopt);
    fill_by_hand(zeros);
    product = zeros * 3;
  });
  EXPECT_FALSE(evicted(zeros));
  EXPECT_EQ(first_difference(bytes_of({expected_square()}), bytes_of({product})), std::nullopt);
}

// Zeros are filled by hand, and then die or are overwritten by an operator. Their readers must see
// what was filled in.
TEST(WriteBehindTheDispatcher, of_an_accessor_into_zeros_that_die_is_kept_for_their_readers) {
  const Counts counts;
  at::Tensor product;
  checkpoint([&] {
    at::Tensor zeros = torch::zeros({kSide, kSide});
    fill_by_hand(zeros);
    product = zeros * 3;
  });
  EXPECT_TRUE(evicted(product));
  EXPECT_EQ(first_difference(bytes_of({expected_square()}), bytes_of({product})), std::nullopt);
  EXPECT_EQ(counts.replays(), 1);
}

TEST(WriteBehindTheDispatcher, of_an_accessor_into_zeros_is_kept_when_an_operator_adds_to_them) {
  at::Tensor zeros;
  at::Tensor product;
  checkpoint([&] {
    zeros = torch::zeros({kSide, kSide});
    fill_by_hand(zeros);
    product = zeros * 3;
    zeros.add_(1);
  });
  EXPECT_FALSE(evicted(zeros));
  EXPECT_EQ(first_difference(bytes_of({expected_square(), expected_square() / 3 + 1}),
                             bytes_of({product, zeros})),
            std::nullopt);
}

// Graph networks and mixtures of experts sum like this. The sum starts from zeros and can be made
// again.
TEST(WriteBehindTheDispatcher, did_not_happen_to_the_zeros_of_a_sum) {
  const at::Tensor source = torch::rand({kSide, kSide});
  const at::Tensor rows = torch::randint(0, kSide, {kSide});
  EXPECT_EQ(expect_same_bytes_when_back([&] {
              at::Tensor sum = torch::zeros_like(source);
              sum.index_add_(0, rows, source);
              return sum;
            }),
            2);
}

TEST(WriteBehindTheDispatcher, of_memcpy_into_a_pinned_result_stays) {
  expect_filled_by_hand_stays([](const at::Tensor& like) {
    at::Tensor made = like + 1;
    const auto values = numbers();
    std::memcpy(pin(made).data_ptr<float>(), values.data(), values.size() * sizeof(float));
    return made;
  });
}

// The opposite case: an operator writes the whole empty tensor, and from then on it can be evicted.
TEST(WriteBehindTheDispatcher, is_over_once_an_operator_has_overwritten_the_whole_tensor) {
  const at::Tensor source = torch::rand({kSide, kSide});
  const std::int64_t replays = expect_same_bytes_when_back([&] {
    at::Tensor made = torch::empty_like(source);
    fill_by_hand(made);
    made.copy_(source);
    return made;
  });
  EXPECT_EQ(replays, 1);
}

TEST(WriteBehindTheDispatcher, is_not_over_when_an_operator_has_overwritten_a_part) {
  at::Tensor made;
  const at::Tensor source = torch::rand({kSide, kSide});
  const Counts counts;
  checkpoint([&] {
    made = torch::empty_like(source);
    fill_by_hand(made);
    made.narrow(0, 0, 4).copy_(source.narrow(0, 0, 4));
    at::Tensor other = made * 2;
    other = other + 1;
  });
  EXPECT_FALSE(evicted(made));
  at::Tensor expected = torch::empty_like(source);
  fill_by_hand(expected);
  expected.narrow(0, 0, 4).copy_(source.narrow(0, 0, 4));
  EXPECT_EQ(first_difference(bytes_of({expected}), bytes_of({made})), std::nullopt);
  EXPECT_EQ(counts.replays(), 0);
}

// Labels made inside a scope, as a collate function makes them.
TEST(WriteBehindTheDispatcher, gives_the_labels_of_a_budgeted_step_their_values) {
  expect_same_bytes_under_budgets(
      [] {
        at::Tensor weight = torch::randn({64, 64}).mul_(0.1).requires_grad_();
        std::vector<std::int64_t> classes(64);
        std::iota(classes.begin(), classes.end(), 0);
        const at::Tensor labels = torch::tensor(classes);
        at::Tensor x = torch::ones({64, 64});
        for (int i = 0; i < 12; ++i) x = torch::tanh(x.mm(weight));
        torch::cross_entropy_loss(x, labels).backward();
        return std::vector<at::Tensor>{weight.grad(), labels};
      },
      {70, 50});
}

// `filled` has been written by an operator since `product` was made of it, and by hand after that.
// The current content stays, and the older one is made again for the product.
TEST(WriteBehindTheDispatcher, into_a_later_content_leaves_the_older_one_to_its_readers) {
  at::Tensor filled, product;
  checkpoint([&] {
    filled = torch::ones({kSide, kSide});
    product = filled * 3;
    filled.fill_(2);
    filled.mutable_data_ptr<float>()[0] = 9;
  });
  EXPECT_FALSE(evicted(filled));
  ASSERT_TRUE(evicted(product));
  EXPECT_EQ(product.view({-1})[0].item<float>(), 3);
  EXPECT_EQ(filled.view({-1})[0].item<float>(), 9);
}

// The hand's write is found while the product is restored: there is no room, so `filled` is to go.
TEST(WriteBehindTheDispatcher, that_is_found_during_a_replay_leaves_the_replay_whole) {
  constexpr std::int64_t kWide = 256, kBytes = kWide * kWide * 4;
  Scope scope({.budget = room_for(3, kBytes) + Bytes(32768), .policy = Online{}});
  at::Tensor filled = torch::ones({kWide, kWide});
  at::Tensor product = filled * 3;
  filled.fill_(2);
  filled.mutable_data_ptr<float>()[0] = 9;
  pin(filled);
  EXPECT_THROW((void)torch::empty({*memory::budget()}, torch::kInt8), BudgetExceeded);
  unpin(filled);
  ASSERT_TRUE(evicted(product));
  at::Tensor ballast = torch::empty({kWide, kWide});  // the program may fill it by hand: it stays
  EXPECT_THROW((void)product.sum(), BudgetExceeded);
  engine::Engine::instance().validate();
  ballast.reset();
  EXPECT_EQ(product.view({-1})[0].item<float>(), 3);
  EXPECT_EQ(filled.view({-1})[0].item<float>(), 9);
}

}  // namespace
}  // namespace neap::test
