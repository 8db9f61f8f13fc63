// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// A tensor can change its storage: resize_ frees the memory while the StorageImpl lives, set_data
// and set_ exchange it, and _lazy_clone shares it until one side writes. Mistaking these for deaths
// would free memory that is in use (crash). Not noticing them would evict or restore the wrong
// bytes.
#include "regression/evicting.h"

namespace neap::test {
namespace {

constexpr std::int64_t kSide = 32;

at::Tensor source() { return torch::arange(kSide * kSide).to(torch::kFloat).view({kSide, kSide}); }

TEST(StorageExchange, resize_of_an_evicted_tensor_brings_it_back_first) {
  const at::Tensor x = source();
  const Counts counts;
  at::Tensor made = made_in_region([&] { return x * 2; });
  ASSERT_TRUE(evicted(made));
  made.resize_({2 * kSide, kSide});
  EXPECT_EQ(first_difference(bytes_of({source() * 2}), bytes_of({made.narrow(0, 0, kSide)})),
            std::nullopt);
  EXPECT_EQ(counts.replays(), 1);
}

TEST(StorageExchange, resize_inside_a_region_runs_the_deleter_and_the_tensor_stays_alive) {
  const at::Tensor x = source();
  const Counts counts;
  at::Tensor made;
  at::Tensor beside;
  checkpoint([&] {
    made = x * 2;
    beside = made + 1;  // reads the storage that resize_ frees
    made.resize_({2 * kSide, kSide});
    made.narrow(0, kSide, kSide).fill_(4);
  });
  EXPECT_FALSE(evicted(made)) << "no recipe leads to what resize_ made";
  EXPECT_TRUE(evicted(beside));
  const at::Tensor expected = torch::cat({source() * 2, torch::full({kSide, kSide}, 4.0F)});
  EXPECT_EQ(first_difference(bytes_of({expected, source() * 2 + 1}), bytes_of({made, beside})),
            std::nullopt);
  EXPECT_EQ(counts.replays(), 2);
}

TEST(StorageExchange, resize_of_what_evicted_tensors_are_made_from_leaves_them_right) {
  at::Tensor x = source();
  at::Tensor made = made_in_region([&] { return x * 2; });
  ASSERT_TRUE(evicted(made));
  x.resize_({4 * kSide, kSide});
  x.fill_(-1);
  EXPECT_EQ(first_difference(bytes_of({source() * 2}), bytes_of({made})), std::nullopt);
}

TEST(StorageExchange, set_data_leaves_both_evicted_storages_right) {
  const at::Tensor x = source();
  const Counts counts;
  at::Tensor first;
  at::Tensor second;
  checkpoint([&] {
    first = x * 2;
    second = x * 3;
  });
  at::Tensor alias = first.view({-1});
  ASSERT_TRUE(evicted(first) && evicted(second));
  first.set_data(second);
  EXPECT_EQ(first_difference(bytes_of({source() * 3, source() * 3, (source() * 2).view({-1})}),
                             bytes_of({first, second, alias})),
            std::nullopt);
  EXPECT_EQ(counts.replays(), 2);
}

TEST(StorageExchange, set_data_inside_a_region_is_no_write_into_the_storage) {
  const at::Tensor x = source();
  const Counts counts;
  at::Tensor made;
  at::Tensor old;
  checkpoint([&] {
    made = x * 2;
    old = made.detach();
    made.set_data(x * 3);
    made.add_(1);
  });
  EXPECT_TRUE(evicted(made) && evicted(old));
  EXPECT_EQ(first_difference(bytes_of({source() * 3 + 1, source() * 2}), bytes_of({made, old})),
            std::nullopt);
  EXPECT_EQ(counts.replays(), 3);
}

TEST(StorageExchange, set_to_another_tensor_inside_a_region_is_no_write_into_the_storage) {
  const at::Tensor x = source();
  const Counts counts;
  at::Tensor made;
  at::Tensor old;
  checkpoint([&] {
    made = x * 2;
    old = made.view({-1});
    const at::Tensor other = x * 3;
    made.set_(other);
    made.mul_(2);
  });
  EXPECT_TRUE(evicted(made) && evicted(old));
  EXPECT_EQ(
      first_difference(bytes_of({source() * 6, (source() * 2).view({-1})}), bytes_of({made, old})),
      std::nullopt);
  EXPECT_EQ(counts.replays(), 3);
}

TEST(StorageExchange, two_tensors_that_swap_their_storages_keep_their_bytes) {
  const at::Tensor x = source();
  const Counts counts;
  at::Tensor first;
  at::Tensor second;
  checkpoint([&] {
    first = x * 2;
    second = x * 3;
    const at::Tensor kept = first.detach();
    first.set_data(second.detach());
    second.set_data(kept);
    first.add_(1);
    second.add_(2);
  });
  EXPECT_TRUE(evicted(first) && evicted(second));
  EXPECT_EQ(
      first_difference(bytes_of({source() * 3 + 1, source() * 2 + 2}), bytes_of({first, second})),
      std::nullopt);
  EXPECT_EQ(counts.replays(), 4);
}

// The memory itself moves from one StorageImpl to the other, below all operators.
TEST(StorageExchange, memory_that_moves_between_storages_is_not_evicted_from_the_wrong_one) {
  const at::Tensor x = source();
  at::Tensor first;
  at::Tensor second;
  checkpoint([&] {
    first = x * 2;
    second = x * 3;
    c10::StorageImpl& one = *first.storage().unsafeGetStorageImpl();
    c10::StorageImpl& two = *second.storage().unsafeGetStorageImpl();
    c10::DataPtr memory = one.set_data_ptr(c10::DataPtr());
    memory = two.set_data_ptr(std::move(memory));
    one.set_data_ptr_noswap(std::move(memory));
  });
  EXPECT_EQ(first_difference(bytes_of({source() * 3, source() * 2}), bytes_of({first, second})),
            std::nullopt);
}

TEST(StorageExchange, a_lazy_clone_keeps_its_memory_shared_and_resident) {
  const at::Tensor x = source();
  const Counts counts;
  at::Tensor made;
  at::Tensor lazy;
  checkpoint([&] {
    made = x * 2;
    lazy = made._lazy_clone();
  });
  EXPECT_FALSE(evicted(made) || evicted(lazy));
  EXPECT_EQ(made.const_data_ptr(), lazy.const_data_ptr());
  EXPECT_EQ(counts.evictions(), 0);
  lazy.add_(1);
  EXPECT_EQ(first_difference(bytes_of({source() * 2, source() * 2 + 1}), bytes_of({made, lazy})),
            std::nullopt);
}

TEST(StorageExchange, a_lazy_clone_of_an_evicted_tensor_has_its_bytes) {
  const at::Tensor x = source();
  const Counts counts;
  const at::Tensor made = made_in_region([&] { return x * 2; });
  ASSERT_TRUE(evicted(made));
  at::Tensor lazy = made._lazy_clone();
  lazy.add_(1);
  EXPECT_EQ(first_difference(bytes_of({source() * 2, source() * 2 + 1}), bytes_of({made, lazy})),
            std::nullopt);
  EXPECT_EQ(counts.replays(), 1);
}

TEST(StorageExchange, a_write_into_the_clone_inside_the_region_does_not_reach_the_source) {
  const at::Tensor x = source();
  at::Tensor made;
  at::Tensor lazy;
  checkpoint([&] {
    made = x * 2;
    lazy = made._lazy_clone();
    lazy.add_(1);
  });
  EXPECT_EQ(first_difference(bytes_of({source() * 2, source() * 2 + 1}), bytes_of({made, lazy})),
            std::nullopt);
}

TEST(StorageExchange, a_write_into_the_source_inside_the_region_is_kept) {
  const at::Tensor x = source();
  at::Tensor made;
  at::Tensor lazy;
  checkpoint([&] {
    made = x * 2;
    lazy = made._lazy_clone();
    made.add_(1);
  });
  EXPECT_EQ(first_difference(bytes_of({source() * 2 + 1, source() * 2}), bytes_of({made, lazy})),
            std::nullopt);
}

// The clone is dead, so the write takes back the old memory and writes into it.
TEST(StorageExchange, a_write_after_the_lazy_clone_has_died_is_kept) {
  const at::Tensor x = source();
  at::Tensor made;
  checkpoint([&] {
    made = x * 2;
    { const at::Tensor lazy = made._lazy_clone(); }
    made.add_(1);
  });
  EXPECT_EQ(first_difference(bytes_of({source() * 2 + 1}), bytes_of({made})), std::nullopt);
}

TEST(StorageExchange, a_write_into_the_clone_after_the_source_has_died_is_kept) {
  const at::Tensor x = source();
  at::Tensor lazy;
  checkpoint([&] {
    {
      const at::Tensor made = x * 2;
      lazy = made._lazy_clone();
    }
    lazy.add_(1);
  });
  EXPECT_EQ(first_difference(bytes_of({source() * 2 + 1}), bytes_of({lazy})), std::nullopt);
}

int materialized = 0;

// A template, because LibTorch 2.11 has no materializers.
template <class Storage>
bool set_materializer(Storage& storage) {
  if constexpr (requires { storage.set_materializer([](c10::StorageImpl*) { ++materialized; }); }) {
    storage.set_materializer([](c10::StorageImpl*) { ++materialized; });
    return true;
  } else {
    return false;
  }
}

// The materializer fills the storage at the first access, so neap must not evict it.
TEST(StorageExchange, a_storage_with_a_materializer_stays) {
  const at::Tensor x = source();
  at::Tensor made;
  at::Tensor beside;
  bool set = false;
  materialized = 0;
  checkpoint([&] {
    made = x * 2;
    beside = x * 3;
    set = set_materializer(*made.storage().unsafeGetStorageImpl());
  });
  if (!set) GTEST_SKIP() << "this LibTorch has no materializers";
  EXPECT_FALSE(evicted(made));
  EXPECT_TRUE(evicted(beside));
  made.mutable_data_ptr();
  EXPECT_EQ(materialized, 1);
  EXPECT_EQ(first_difference(bytes_of({source() * 2, source() * 3}), bytes_of({made, beside})),
            std::nullopt);
}

TEST(StorageExchange, all_of_it_under_a_budget_leaves_the_same_bytes) {
  expect_same_bytes_under_budgets(
      [] {
        at::Tensor x = torch::rand({64, 64});
        std::vector<at::Tensor> left;
        for (int i = 0; i < 16; ++i) {
          x = torch::tanh(x + 0.1);
          left.push_back(x * 2);
          if (i % 8 == 1) left.back().set_data(x * 3);
          if (i % 8 == 2) {
            left.back().resize_({80, 64});
            left.back().narrow(0, 64, 16).zero_();
          }
          if (i % 8 == 3) left.push_back(left.back()._lazy_clone());
        }
        at::Tensor sum = torch::zeros({64, 64});
        for (const at::Tensor& one : left) sum = sum + one.narrow(0, 0, 64);
        left.clear();
        return std::vector<at::Tensor>{sum, x};
      },
      {80});
}

}  // namespace
}  // namespace neap::test
