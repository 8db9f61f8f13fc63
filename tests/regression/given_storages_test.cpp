// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// The batch, a mask or a scalar dies while recipes still read it. A replay would read freed memory,
// and crash or train on what was written there since. So its bytes must stay and be counted, and
// must be freed as soon as nothing needs them.
#include "regression/evicting.h"

namespace neap::test {
namespace {

constexpr std::int64_t kSide = 32;
constexpr std::int64_t kBytes = kSide * kSide * 4;

TEST(GivenStorage, that_dies_after_its_region_is_kept_until_what_it_made_is_back) {
  memory::trim();
  const std::int64_t live = memory::usage().live;
  const Counts counts;
  at::Tensor made;
  {
    const at::Tensor batch = torch::full({kSide, kSide}, 3.0F);
    checkpoint([&] { made = batch * 2; });
  }
  ASSERT_TRUE(evicted(made));
  EXPECT_EQ(memory::usage().live, live + memory::footprint(kBytes)) << "the batch, counted";
  // Another tensor takes freed memory of the same size, if there is any.
  const at::Tensor other = torch::full({kSide, kSide}, -1.0F);
  EXPECT_EQ(made.sum().item<float>(), 6.0F * kSide * kSide);
  EXPECT_EQ(counts.replays(), 1);
  EXPECT_EQ(memory::usage().live, live + 2 * memory::footprint(kBytes)) << "`made` and `other`";
}

TEST(GivenStorage, that_dies_goes_when_the_last_that_reads_it_dies) {
  const std::int64_t live = memory::usage().live;
  at::Tensor first;
  at::Tensor second;
  {
    const at::Tensor batch = torch::full({kSide, kSide}, 3.0F);
    checkpoint([&] {
      first = batch * 2;
      second = batch * 5;
    });
  }
  ASSERT_TRUE(evicted(first) && evicted(second));
  first.reset();
  EXPECT_EQ(memory::usage().live, live + memory::footprint(kBytes));
  second.reset();
  EXPECT_EQ(memory::usage().live, live);
}

TEST(GivenStorage, of_a_scalar_that_dies_inside_the_region_is_kept) {
  const at::Tensor source = torch::rand({kSide, kSide});
  const std::int64_t replays = expect_same_bytes_when_back(
      [&] {
        const at::Tensor scale = torch::tensor(2.5F);
        return source * scale;
      },
      [] {
        for (int i = 0; i < 64; ++i) torch::tensor(-7.0F);  // takes freed memory of its size
      });
  EXPECT_EQ(replays, 1);
}

TEST(GivenStorage, that_dies_through_two_dead_ancestors_is_kept) {
  const Counts counts;
  at::Tensor made;
  {
    const at::Tensor batch = torch::full({kSide, kSide}, 3.0F);
    checkpoint([&] {
      const at::Tensor first = batch + 1;
      const at::Tensor second = first * 2;
      made = second - 1;
    });
  }
  const at::Tensor other = torch::full({kSide, kSide}, -1.0F);
  EXPECT_EQ(first_difference(bytes_of({torch::full({kSide, kSide}, 7.0F)}), bytes_of({made})),
            std::nullopt);
  EXPECT_EQ(counts.replays(), 3);
}

TEST(GivenStorage, that_is_overwritten_first_brings_back_what_was_made_from_it) {
  const Counts counts;
  at::Tensor batch = torch::full({kSide, kSide}, 3.0F);
  at::Tensor made;
  checkpoint([&] {
    const at::Tensor dead = batch + 1;
    made = dead * 2;
  });
  ASSERT_TRUE(evicted(made));
  batch.fill_(100);
  EXPECT_FALSE(evicted(made)) << "the last moment at which it could come back has passed";
  EXPECT_EQ(counts.replays(), 2);
  EXPECT_EQ(first_difference(bytes_of({torch::full({kSide, kSide}, 8.0F)}), bytes_of({made})),
            std::nullopt);
}

// Each batch is dead at the time of its backward, as in a loop over a loader.
TEST(GivenStorage, of_a_batch_may_die_before_the_backward_of_a_budgeted_step) {
  expect_same_bytes_under_budgets(
      [] {
        at::Tensor weight = torch::randn({64, 64}).mul_(0.1).requires_grad_();
        for (int step = 0; step < 3; ++step) {
          at::Tensor loss;
          {
            at::Tensor x = torch::rand({64, 64});
            const at::Tensor scale = torch::rand({64, 1});
            for (int i = 0; i < 10; ++i) x = torch::tanh((x * scale).mm(weight));
            loss = x.pow(2).sum();
          }
          loss.backward();
        }
        return std::vector<at::Tensor>{weight.grad()};
      },
      {70, 50});
}

}  // namespace
}  // namespace neap::test
