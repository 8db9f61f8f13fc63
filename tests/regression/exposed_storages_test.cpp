// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Another library has the address of a tensor: numpy's view of it, a DLPack capsule. It reads while
// the tensor would be evicted, and it writes between a forward and its backward. Both were wrong in
// silence: the view read garbage, and what was made from the tensor came back from the new bytes.
#include "regression/evicting.h"

#include <neap/engine.h>

#include <thread>

namespace neap::test {
namespace {

constexpr std::int64_t kSide = 64;
constexpr std::int64_t kBytes = kSide * kSide * 4;

at::Tensor batch() { return torch::arange(kSide * kSide, torch::kFloat).view({kSide, kSide}); }

// What numpy's view of the tensor would do.
class Alias {
 public:
  explicit Alias(const at::Tensor& tensor) : data_(tensor.data_ptr<float>()) {}
  [[nodiscard]] float first() const { return *data_; }
  void write(float value) const { std::fill_n(data_, kSide * kSide, value); }

 private:
  float* data_;
};

// Fills the budget with tensors that cannot be evicted.
void evict_what_can_go() {
  std::vector<at::Tensor> filling;
  EXPECT_THROW(for (int i = 0; i < 64; ++i) filling.push_back(torch::empty({kSide, kSide})),
               BudgetExceeded);
}

TEST(ExposedStorages, stay_where_their_address_says) {
  const at::Tensor x = batch();
  Scope scope({.budget = room_for(6, kBytes), .policy = Online{}});
  const at::Tensor y = x + 1;
  evict_what_can_go();
  ASSERT_TRUE(evicted(y));
  expose(y);
  ASSERT_FALSE(evicted(y));
  const Alias alias(y);
  evict_what_can_go();
  EXPECT_FALSE(evicted(y));
  EXPECT_EQ(alias.first(), 1);
  engine::Engine::instance().validate();
}

// z = y * 3 is away when the address of y goes out. It comes back before, and stays.
TEST(ExposedStorages, may_be_written_after_what_was_made_from_them) {
  const at::Tensor x = batch();
  Scope scope({.budget = room_for(6, kBytes), .policy = Online{}});
  const at::Tensor y = x + 1;
  const at::Tensor z = y * 3;
  evict_what_can_go();
  ASSERT_TRUE(evicted(z));
  expose(y);
  EXPECT_FALSE(evicted(z));
  Alias(y).write(7);
  evict_what_can_go();
  EXPECT_FALSE(evicted(z));
  scope.end();
  EXPECT_EQ(first_difference(bytes_of({(x + 1) * 3}), bytes_of({z})), std::nullopt);
}

TEST(ExposedStorages, are_in_no_recipe_of_what_is_made_from_them_later) {
  const at::Tensor x = batch();
  Scope scope({.budget = room_for(7, kBytes), .policy = Online{}});
  const at::Tensor y = x + 1;
  expose(y);
  const at::Tensor z = y * 3;
  const at::Tensor above = z + 1;
  evict_what_can_go();
  EXPECT_FALSE(evicted(z));
  EXPECT_TRUE(evicted(above)) << "only what reads the exposed storage itself stays";
  Alias(y).write(7);
  EXPECT_EQ(first_difference(bytes_of({(x + 1) * 3 + 1}), bytes_of({above})), std::nullopt);
}

// The operator that writes y and reads z would be run again with z as it is then.
TEST(ExposedStorages, are_in_no_recipe_of_what_is_written_from_them_later) {
  const at::Tensor x = batch();
  Scope scope({.budget = room_for(7, kBytes), .policy = Online{}});
  const at::Tensor z = x + 1;
  expose(z);
  const at::Tensor y = x * 2;
  y.add_(z);
  Alias(z).write(7);
  evict_what_can_go();
  EXPECT_EQ(first_difference(bytes_of({x * 2 + (x + 1)}), bytes_of({y})), std::nullopt);
  engine::Engine::instance().validate();
}

TEST(ExposedStorages, inside_a_region_of_no_budget_too) {
  const at::Tensor x = batch();
  at::Tensor y;
  at::Tensor z;
  checkpoint([&] {
    y = x + 1;
    z = y * 3;
    expose(y);
  });
  EXPECT_FALSE(evicted(y));
  EXPECT_FALSE(evicted(z));
}

TEST(ExposedStorages, that_a_budget_cannot_hold_are_refused_and_stay_as_they_were) {
  const at::Tensor x = torch::randn({kSide, kSide});
  Scope scope({.budget = room_for(4, kBytes), .policy = Online{}});
  const at::Tensor y = x + 1;
  const std::vector<at::Tensor> made{y.sin(), y.cos(), y.exp(), y.tanh(), y.abs()};
  EXPECT_THROW(expose(y), BudgetExceeded);
  engine::Engine::instance().validate();
  EXPECT_EQ(first_difference(bytes_of({(x + 1).cos()}), bytes_of({made[1]})), std::nullopt);
}

TEST(ExposedStorages, outside_of_a_scope_are_left_alone_and_refused_in_another_thread) {
  const at::Tensor x = batch();
  expose(x);
  watch(x);
  expose(at::Tensor());
  Scope scope({.budget = room_for(6, kBytes), .policy = Online{}});
  const at::Tensor y = x + 1;
  std::thread([&] {
    EXPECT_THROW(expose(y), ScopeConflict);
    EXPECT_THROW(watch(y), ScopeConflict);
    expose(x);  // is never evicted
  }).join();
  evict_what_can_go();
  EXPECT_TRUE(evicted(y));
}

// ---- Watched storages ----

// A parameter whose address somebody compares or saves: what is made from it is still evicted.
TEST(WatchedStorages, that_nobody_writes_stay_in_recipes) {
  const at::Tensor x = batch();
  Scope scope({.budget = room_for(6, kBytes), .policy = Online{}});
  watch(x);
  const at::Tensor y = x + 1;
  evict_what_can_go();
  EXPECT_TRUE(evicted(y));
  EXPECT_EQ(first_difference(bytes_of({x + 1}), bytes_of({y})), std::nullopt);
}

TEST(WatchedStorages, may_be_written_before_an_operator_reads_them) {
  const at::Tensor x = batch();
  Scope scope({.budget = room_for(6, kBytes), .policy = Online{}});
  watch(x);
  Alias(x).write(5);
  const at::Tensor y = x + 1;
  evict_what_can_go();
  ASSERT_TRUE(evicted(y));
  EXPECT_EQ(first_difference(bytes_of({torch::full({kSide, kSide}, 6.F)}), bytes_of({y})),
            std::nullopt);
}

// y is in memory when the next operator shows the write. So it stays there.
TEST(WatchedStorages, may_be_written_while_what_was_made_from_them_is_in_memory) {
  const at::Tensor x = batch();
  const at::Tensor before = x + 1;
  Scope scope({.budget = room_for(8, kBytes), .policy = Online{}});
  watch(x);
  const at::Tensor y = x + 1;
  Alias(x).write(5);
  const at::Tensor z = x + 2;
  evict_what_can_go();
  EXPECT_FALSE(evicted(y));
  EXPECT_EQ(first_difference(bytes_of({before}), bytes_of({y})), std::nullopt);
  EXPECT_EQ(first_difference(bytes_of({torch::full({kSide, kSide}, 7.F)}), bytes_of({z})),
            std::nullopt);
  engine::Engine::instance().validate();
}

// Nothing can be done any more, so it is said. The replay finds it, and so does the next reader.
TEST(WatchedStorages, that_were_written_after_an_eviction_are_never_used_in_silence) {
  const at::Tensor x = batch();
  Scope scope({.budget = room_for(6, kBytes), .policy = Online{}});
  watch(x);
  const at::Tensor y = x + 1;
  evict_what_can_go();
  ASSERT_TRUE(evicted(y));
  Alias(x).write(5);
  EXPECT_THROW(static_cast<void>(y * 2), HandWritten);
  EXPECT_THROW(static_cast<void>(x * 2), HandWritten);
  engine::Engine::instance().validate();
  scope.abandon();
  EXPECT_THROW(static_cast<void>(y.data_ptr()), c10::Error);
}

// The hash is of an older version when an operator has written since.
TEST(WatchedStorages, may_be_written_by_operators) {
  const at::Tensor x = batch();
  Scope scope({.budget = room_for(6, kBytes), .policy = Online{}});
  watch(x);
  const at::Tensor y = x + 1;
  evict_what_can_go();
  ASSERT_TRUE(evicted(y));
  x.mul_(2);
  const at::Tensor z = x + 1;
  evict_what_can_go();
  EXPECT_EQ(first_difference(bytes_of({batch() + 1}), bytes_of({y})), std::nullopt);
  EXPECT_EQ(first_difference(bytes_of({batch() * 2 + 1}), bytes_of({z})), std::nullopt);
}

// What the scope made is no source: it is exposed.
TEST(WatchedStorages, of_the_scope_are_exposed) {
  const at::Tensor x = batch();
  Scope scope({.budget = room_for(7, kBytes), .policy = Online{}});
  const at::Tensor y = x + 1;
  watch(y);
  const at::Tensor z = y * 3;
  evict_what_can_go();
  EXPECT_FALSE(evicted(y));
  EXPECT_FALSE(evicted(z));
}

}  // namespace
}  // namespace neap::test
