// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Raw access to an evicted tensor. A null pointer would crash far away or be read as zeros. So the
// user gets an error that says what to do. Operators, item() among them, just work.
#include "regression/evicting.h"

#include <optional>
#include <thread>
#include <utility>

namespace neap::test {
namespace {

constexpr std::int64_t kSide = 32;

struct Access : testing::Test {
  at::Tensor x = torch::rand({kSide, kSide});
  at::Tensor made = made_in_region([this] { return x * 2; });
  Counts counts;

  template <class Read>
  void expect_throws_and_says_pin(Read read) {
    ASSERT_TRUE(evicted(made));
    try {
      read();
      FAIL() << "raw access to an evicted tensor did not throw";
    } catch (const std::exception& error) {
      EXPECT_NE(std::string(error.what()).find("neap::pin"), std::string::npos) << error.what();
      EXPECT_NE(std::string(error.what()).find("aten::mul"), std::string::npos)
          << "what made it: " << error.what();
    }
    EXPECT_TRUE(evicted(made));
    EXPECT_EQ(counts.replays(), 0);
    expect_right();
  }
  void expect_right() {
    EXPECT_EQ(first_difference(bytes_of({x * 2}), bytes_of({made})), std::nullopt);
    EXPECT_EQ(counts.replays(), 1);
  }
};

TEST_F(Access, with_data_ptr_throws_and_says_pin) {
  expect_throws_and_says_pin([&] { made.data_ptr(); });
}
TEST_F(Access, with_a_typed_data_ptr_throws_and_says_pin) {
  expect_throws_and_says_pin([&] { made.data_ptr<float>(); });
}
TEST_F(Access, with_const_data_ptr_throws_and_says_pin) {
  expect_throws_and_says_pin([&] { made.const_data_ptr(); });
}
TEST_F(Access, with_mutable_data_ptr_throws_and_says_pin) {
  expect_throws_and_says_pin([&] { made.mutable_data_ptr<float>(); });
}
TEST_F(Access, with_an_accessor_throws_and_says_pin) {
  expect_throws_and_says_pin([&] { made.accessor<float, 2>(); });
}
TEST_F(Access, with_the_storages_mutable_data_throws_and_says_pin) {
  expect_throws_and_says_pin([&] { made.storage().mutable_data(); });
}
TEST_F(Access, through_a_view_throws_and_says_pin) {
  expect_throws_and_says_pin([&] { made.t().narrow(0, 3, 4).data_ptr(); });
}

TEST_F(Access, by_an_operator_of_another_thread_throws_and_names_the_thread_that_can) {
  ASSERT_TRUE(evicted(made));
  std::string text;
  std::thread([&] {
    try {
      static_cast<void>(made.sum());
    } catch (const c10::Error& error) {
      text = error.what_without_backtrace();
    }
  }).join();
  EXPECT_NE(text.find("An operator in the thread of the scope brings it back"), std::string::npos)
      << text;
  EXPECT_NE(text.find("neap::pin(tensor), called in the thread of the scope"), std::string::npos)
      << text;
  expect_right();
}

TEST_F(Access, with_item_brings_it_back) {
  ASSERT_TRUE(evicted(made));
  EXPECT_EQ(made[3][4].item<float>(), x[3][4].item<float>() * 2);
  expect_right();
}

TEST_F(Access, with_equal_print_and_copy_brings_it_back) {
  ASSERT_TRUE(evicted(made));
  EXPECT_TRUE(torch::equal(made, x * 2));
  std::ostringstream text;
  text << made;
  EXPECT_NE(text.str().find("CPUFloatType{32,32}"), std::string::npos);
  expect_right();
}

TEST_F(Access, to_shape_strides_aliasing_and_views_replays_nothing) {
  ASSERT_TRUE(evicted(made));
  EXPECT_EQ(made.numel(), kSide * kSide);
  EXPECT_EQ(made.t().stride(0), 1);
  EXPECT_TRUE(made.view({-1}).is_alias_of(made));
  EXPECT_TRUE(made.has_storage());
  EXPECT_EQ(made.storage().nbytes(), static_cast<std::size_t>(kSide * kSide) * 4);
  EXPECT_TRUE(evicted(made));
  expect_right();
}

TEST_F(Access, after_pin_works_and_stays_until_the_last_unpin) {
  ASSERT_TRUE(evicted(made));
  const float* const raw = pin(made).const_data_ptr<float>();
  EXPECT_EQ(counts.replays(), 1);
  EXPECT_EQ(raw[5], x[0][5].item<float>() * 2);
  unpin(made);
  expect_right();
}

TEST(Pin, keeps_a_tensor_in_memory_when_its_region_closes_and_counts) {
  const at::Tensor x = torch::rand({kSide, kSide});
  at::Tensor once, twice, not_any_more;
  const Counts counts;
  checkpoint([&] {
    once = x * 2;
    twice = x * 3;
    not_any_more = x * 4;
    pin(once);
    pin(twice);
    pin(twice);
    unpin(twice);
    pin(not_any_more);
    unpin(not_any_more);
  });
  EXPECT_FALSE(evicted(once));
  EXPECT_FALSE(evicted(twice));
  EXPECT_TRUE(evicted(not_any_more));
  EXPECT_EQ(counts.evictions(), 1);
}

TEST(Pin, keeps_a_pointer_good_under_a_tight_budget_and_unpin_lets_go_again) {
  constexpr std::int64_t kBytes = 64 * 64 * 4;
  const at::Tensor x = torch::rand({64, 64});
  memory::trim();
  Scope scope(
      {.budget = Bytes(memory::usage().live + 6 * memory::footprint(kBytes)), .policy = Online{}});
  at::Tensor made = x * 2;
  const float* const raw = pin(made).const_data_ptr<float>();
  const float expected = raw[77];
  const auto press = [&] {
    std::vector<at::Tensor> many;
    for (int i = 0; i < 12; ++i) many.push_back(torch::tanh(x + i));
  };
  press();
  EXPECT_FALSE(evicted(made));
  EXPECT_EQ(made.const_data_ptr<float>(), raw);
  EXPECT_EQ(raw[77], expected);
  unpin(made);
  press();
  EXPECT_TRUE(evicted(made));
  EXPECT_GE(scope.stats().evictions, 12);
  scope.end();
  EXPECT_EQ(first_difference(bytes_of({x * 2}), bytes_of({made})), std::nullopt);
}

TEST(Pin, of_an_undefined_tensor_a_foreign_or_a_given_one_does_nothing) {
  std::vector<float> buffer(1024);
  const Scope scope;
  for (const at::Tensor& tensor :
       {at::Tensor(), torch::from_blob(buffer.data(), {1024}), torch::rand({1024}),
        torch::empty({0}), torch::eye(4).to_sparse()}) {
    EXPECT_NO_THROW(unpin(pin(tensor)));
    EXPECT_NO_THROW(unpin(tensor));
  }
}

TEST(Pinned, keeps_its_storage_in_memory_while_it_lives) {
  const at::Tensor x = torch::rand({kSide, kSide});
  at::Tensor pinned, moved, let_go;
  std::optional<Pinned> first, second;
  checkpoint([&] {
    pinned = x * 2;
    moved = x * 3;
    let_go = x * 4;
    first.emplace(pinned);
    Pinned other(moved);
    second.emplace(std::move(other));
    const Pinned brief(let_go);
  });
  EXPECT_FALSE(evicted(pinned));
  EXPECT_FALSE(evicted(moved));
  EXPECT_TRUE(evicted(let_go));
  EXPECT_EQ(first->tensor().data_ptr(), pinned.data_ptr());
}

TEST(Pinned, lets_go_of_the_storage_that_it_pinned_also_when_the_tensor_has_another_by_then) {
  const at::Tensor x = torch::rand({kSide, kSide});
  at::Tensor view, other;
  checkpoint([&] {
    at::Tensor made = x * 2;
    view = made.view({-1});
    other = x * 3;
    pin(other);
    std::optional<Pinned> pinned(made);
    made.set_data(other);
    pinned.reset();
  });
  EXPECT_TRUE(evicted(view));
  EXPECT_FALSE(evicted(other)) << "its pin is not the other one's to end";
}

TEST(Pinned, of_a_scope_that_is_over_ends_no_pin_of_the_next) {
  const at::Tensor x = torch::rand({kSide, kSide});
  at::Tensor made;
  std::optional<Pinned> old;
  {
    Scope scope({.budget = Bytes(memory::usage().live + (1 << 24)), .policy = Online{}});
    made = x * 2;
    old.emplace(made);
  }
  Scope scope({.budget = Bytes(memory::usage().live + (1 << 24)), .policy = Online{}});
  pin(made);
  old.reset();
  const at::Tensor loss = (made * torch::ones({1}).requires_grad_()).sum();
  bool says_pin = false;
  for (const SavedStorage& row : saved_report(loss).storages) {
    says_pin = says_pin || row.reason == "neap::pin";
  }
  EXPECT_TRUE(says_pin);
}

}  // namespace
}  // namespace neap::test
