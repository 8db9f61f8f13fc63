// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Where batches live: inside the budget and the bytes for loading ahead. They are never
// overwritten, and are freed when the loader is.
#include "data/loading.h"
#include "engine/engine.h"
#include "memory/allocator.h"
#include "regression/evicting.h"

#include <ATen/Context.h>

namespace neap::data {
namespace {

constexpr std::int64_t kSide = 128;
constexpr std::int64_t kBatch = 4;

// What a batch of 4 takes.
std::int64_t batch_bytes() { return memory::footprint(kBatch * kSide * kSide * 4); }

// Sample i is (128, 128) float, as a view, so loading takes no memory but the batch's.
std::shared_ptr<Dataset> squares(std::int64_t size) {
  torch::manual_seed(8);
  return from_tensors({torch::randn({size, kSide, kSide})});
}

TEST(LoaderMemory, queued_batches_stay_inside_the_bytes_for_loading_ahead) {
  const auto dataset = std::make_shared<Counted>(squares(kBatch * 12));
  for (const std::int64_t ahead : {1, 3}) {
    SCOPED_TRACE(ahead);
    const std::int64_t before = dataset->count();
    memory::reset_peak();
    const std::int64_t live = memory::usage().live;
    MemoryEfficientDataLoader loader(
        dataset, kBatch, {.workers = 2, .prefetch_bytes = Bytes(ahead * batch_bytes())});
    std::optional<Batch> held = loader.next();
    // With two workers there are the batch that was handed out, the batches ahead, and the first
    // sample of a batch that must wait.
    dataset->wait_for(before + (1 + ahead) * kBatch + 1);
    EXPECT_EQ(memory::usage().live, live + (1 + ahead) * batch_bytes());
    while (held) {
      held.reset();
      held = loader.next();
    }
    EXPECT_EQ(memory::usage().peak, live + (1 + ahead) * batch_bytes());
    EXPECT_EQ(memory::usage().live, live);
  }
}

TEST(LoaderMemory, one_batch_is_loaded_ahead_however_small_the_limit) {
  memory::reset_peak();
  const auto dataset = squares(kBatch * 5);
  const std::int64_t live = memory::usage().live;
  MemoryEfficientDataLoader loader(dataset, kBatch, {.workers = 4, .prefetch_bytes = Bytes(0)});
  memory::reset_peak();
  EXPECT_EQ(epoch_of(loader).size(), 5U);
  EXPECT_LE(memory::usage().peak, live + 3 * batch_bytes());  // ahead, handed out, epoch_of's copy
}

// Otherwise later batches could fill the queue, while the one that the program waits for has no
// room.
TEST(LoaderMemory, memory_is_given_to_batches_in_their_order) {
  std::atomic<bool> first{true};
  std::atomic<bool> overtaken{false};
  const auto dataset = from_function(4, [&](std::int64_t index) -> Sample {
    if (index == 3) overtaken = first.load();
    if (index == 0) {
      for (int tries = 0; tries < 10'000 && !overtaken; ++tries) std::this_thread::yield();
      first = false;
    }
    return {torch::full({2}, index)};
  });
  MemoryEfficientDataLoader loader(dataset, 2, {.workers = 2});
  EXPECT_EQ(epoch_of(loader).size(), 2U);
  EXPECT_FALSE(overtaken) << "the second batch was loaded before the first had its memory";
}

TEST(LoaderMemory, at_most_two_batches_a_worker_are_loaded_ahead) {
  const auto dataset = std::make_shared<Counted>(squares(kBatch * 12));
  MemoryEfficientDataLoader loader(dataset, kBatch, {.workers = 2});
  loader.next();
  dataset->wait_for((1 + 4) * kBatch);
  for (std::int64_t out = 1; out < 12; ++out) {
    EXPECT_LE(dataset->count(), (out + 4) * kBatch);
    loader.next();
  }
}

TEST(LoaderMemory, memory_of_batches_that_were_let_go_is_used_again) {
  const auto dataset = squares(kBatch * 20);
  memory::trim();
  memory::reset_peak();
  const std::int64_t reserved = memory::usage().reserved;
  MemoryEfficientDataLoader loader(dataset, kBatch,
                                   {.workers = 2, .prefetch_bytes = Bytes(2 * batch_bytes())});
  for (int epoch = 0; epoch < 5; ++epoch) {
    for (const Batch& batch : loader) ASSERT_EQ(batch.samples.size(), 4U);
  }
  // A hundred batches use the pages of three: two ahead, and one handed out.
  EXPECT_LE(memory::usage().peak_reserved, reserved + 3 * batch_bytes());
}

TEST(LoaderMemory, batches_that_are_kept_are_never_written_again) {
  const auto dataset = squares(kBatch * 6);
  MemoryEfficientDataLoader loader(dataset, kBatch, {.workers = 3, .shuffle = true});
  std::vector<Batch> kept;
  std::vector<at::Tensor> views;
  for (int epoch = 0; epoch < 3; ++epoch) {
    for (const Batch& batch : loader) {
      if (batch.samples[0] % 2 == 0) {
        kept.push_back(batch);
      } else {
        views.push_back(batch.tensors[0][3]);  // only a view of it stays alive
        kept.push_back({{}, {batch.samples[3]}});
      }
    }
  }
  auto view = views.begin();
  for (const Batch& batch : kept) {
    std::vector<at::Tensor> expected;
    for (const std::int64_t sample : batch.samples) expected.push_back(dataset->get(sample)[0]);
    const at::Tensor actual = batch.tensors.empty() ? (view++)->unsqueeze(0) : batch.tensors[0];
    EXPECT_EQ(
        test::first_difference(test::bytes_of({torch::stack(expected)}), test::bytes_of({actual})),
        std::nullopt);
  }
}

TEST(LoaderMemory, a_thousand_abandoned_iterations_leave_no_thread_and_no_byte) {
  const auto dataset = squares(kBatch * 8);
  const auto failing = from_function(kBatch * 8, [dataset](std::int64_t index) {
    if (index % 9 == 5) throw DataError("unreadable");
    return dataset->get(index);
  });
  {
    MemoryEfficientDataLoader warm_up(dataset, kBatch, {.workers = 4});
    warm_up.next();
  }
  const std::int64_t live = memory::usage().live;
  const std::int64_t threads = threads_now();
  for (int round = 0; round < 1000; ++round) {
    const LoaderOptions options{.workers = 1 + round % 4,
                                .prefetch_bytes = Bytes(round % 3 * batch_bytes()),
                                .shuffle = true};
    MemoryEfficientDataLoader loader(round % 5 == 4 ? failing : dataset, kBatch, options);
    try {
      switch (round % 4) {
        case 0:  // the program leaves a loop
          for (const Batch& batch : loader) {
            if (!batch.samples.empty()) break;
          }
          // The loader still exists.
          ASSERT_EQ(memory::usage().live, live);
          break;
        case 1:  // the loader dies in mid-epoch
          loader.next();
          break;
        case 2:  // an epoch and a restore in mid-epoch
          loader.next();
          loader.begin();
          loader.next();
          loader.restore({.epoch = 3, .position = kBatch});
          loader.next();
          break;
        default:  // the body of the loop throws
          for (const Batch& batch : loader) throw DataError(std::to_string(batch.samples[0]));
      }
    } catch (const DataError&) {
      continue;
    }
  }
  EXPECT_EQ(memory::usage().live, live);
  EXPECT_TRUE(threads_become(threads)) << threads_now() << " threads, before " << threads;
}

TEST(LoaderMemory, pinned_memory_is_ordinary_where_no_gpu_is) {
  if (at::globalContext().hasCUDA()) GTEST_SKIP() << "there is a GPU";
  MemoryEfficientDataLoader loader(squares(kBatch), kBatch, {.pin_memory = true});
  const std::int64_t live = memory::usage().live;
  const std::optional<Batch> batch = loader.next();
  EXPECT_FALSE(batch->tensors[0].is_pinned());
  EXPECT_EQ(memory::usage().live, live + batch_bytes());
}

// ---- With a budget ----

// Three batches in one graph. x * 2 saves nothing for the backward, so each batch dies when the
// loop goes on. But what was made from it and evicted still needs it. A loader that filled its
// buffer again would give other gradients.
test::ByteLists train(const std::function<at::Tensor()>& next) {
  torch::manual_seed(2);
  const at::Tensor weight = torch::randn({kSide, kSide}).mul_(0.1).requires_grad_();
  at::Tensor loss;
  for (int batch = 0; batch < 3; ++batch) {
    at::Tensor x = next() * 2;
    for (int layer = 0; layer < 4; ++layer) x = torch::tanh(x.matmul(weight));
    loss = loss.defined() ? loss + x.sum() : x.sum();
  }
  loss.backward();
  return test::bytes_of({weight.grad()});
}

class TightBudget : public testing::TestWithParam<std::int64_t> {};

TEST_P(TightBudget, gives_the_bits_of_plain_batches_also_when_dead_ones_are_needed_again) {
  const auto dataset = squares(kBatch * 30);
  std::int64_t taken = 0;
  const auto plain_next = [&] {
    std::vector<at::Tensor> rows;
    for (int i = 0; i < kBatch; ++i) rows.push_back(dataset->get(taken++)[0]);
    return torch::stack(rows);
  };
  MemoryEfficientDataLoader loader(dataset, kBatch,
                                   {.workers = GetParam(), .prefetch_bytes = Bytes(batch_bytes())});
  std::int64_t replays = 0;
  for (int step = 0; step < 10; ++step) {
    SCOPED_TRACE(step);
    const test::ByteLists expected = train(plain_next);
    // There are 12 activations of a batch's size and 3 batches. The budget has room for 11 of them
    // and the batch ahead.
    const Bytes budget = test::room_for(12, kBatch * kSide * kSide * 4);
    Scope scope({.budget = budget});
    const test::ByteLists actual = train([&] { return loader.next()->tensors[0]; });
    scope.end();
    EXPECT_EQ(test::first_difference(expected, actual), std::nullopt);
    EXPECT_LE(scope.stats().peak_bytes, budget.count());
    replays += scope.stats().replays;
  }
  EXPECT_GT(replays, 0) << "the budget was not tight, so nothing was tested";
}

INSTANTIATE_TEST_SUITE_P(Loader, TightBudget, testing::Values(0, 1, 3));

// The scope's thread waits for the batch, so it runs no operator at which others could evict.
TEST(LoaderMemory, a_worker_evicts_what_the_waiting_scope_made) {
  const auto dataset = std::make_shared<Counted>(squares(kBatch * 4));
  const at::Tensor x = torch::randn({kBatch, kSide, kSide});
  const std::int64_t slab = 4096;  // for the numbers in x * i
  const Bytes budget = test::room_for(6, kBatch * kSide * kSide * 4) + Bytes(slab);
  Scope scope({.budget = budget});
  std::vector<at::Tensor> made;
  for (int i = 0; i < 6; ++i) made.push_back(x * i);
  ASSERT_EQ(scope.stats().evictions, 0);
  MemoryEfficientDataLoader loader(dataset, kBatch, {.workers = 1});
  for (const Batch& batch : loader) {
    EXPECT_EQ(
        test::first_difference(test::bytes_of({torch::stack({dataset->get(batch.samples[0])[0]})}),
                               test::bytes_of({batch.tensors[0].narrow(0, 0, 1)})),
        std::nullopt);
  }
  EXPECT_EQ(dataset->in_maker(), 4) << "batches were loaded by the scope's thread";
  EXPECT_GT(scope.stats().evictions, 0);
  engine::Engine::instance().validate();
  made.clear();
  scope.end();
  EXPECT_LE(scope.stats().peak_bytes, budget.count());
}

// Evicting frees nothing of what the workers wait for here, so they are refused at once, every
// time.
TEST(LoaderMemory, the_calling_thread_loads_what_workers_have_no_memory_for) {
  const std::thread::id here = std::this_thread::get_id();
  const auto dataset = from_function(10, [&](std::int64_t index) -> Sample {
    if (std::this_thread::get_id() != here) {
      throw BudgetExceeded("a worker has no memory", Bytes(1), Bytes(1), Bytes(1), Bytes(0));
    }
    return {torch::full({2}, index)};
  });
  MemoryEfficientDataLoader loader(dataset, 4, {.workers = 3});
  EXPECT_EQ(samples_of(epoch_of(loader)),
            (std::vector<std::vector<std::int64_t>>{{0, 1, 2, 3}, {4, 5, 6, 7}, {8, 9}}));
}

TEST(LoaderMemory, a_batch_that_does_not_fit_is_refused_and_comes_under_a_larger_budget) {
  for (const std::int64_t workers : {0, 2}) {
    SCOPED_TRACE(workers);
    MemoryEfficientDataLoader loader(squares(kBatch * 2), kBatch, {.workers = workers});
    {
      Scope scope({.budget = test::room_for(1, kSide * kSide)});
      EXPECT_THROW(loader.next(), BudgetExceeded);
      EXPECT_THROW(loader.next(), BudgetExceeded);
    }
    EXPECT_EQ(loader.state().position, 0);
    EXPECT_EQ(loader.next()->samples[0], 0);
    EXPECT_EQ(loader.next()->samples[0], 4);
  }
}

// In the thread of a scope, making room for a batch may evict the sample that is copied into it.
// Here it must: beside the two tensors of a batch there is room for only one of the sample's two.
TEST(LoaderMemory, samples_that_are_evicted_before_they_are_copied_come_back) {
  const at::Tensor x = torch::randn({kSide, kSide});
  const auto dataset = from_function(2, [&](std::int64_t index) -> Sample {
    const auto factor = static_cast<double>(index + 1);
    return {x * factor, x * -factor};
  });
  const test::ByteLists expected =
      test::bytes_of({torch::stack({x * 1.0, x * 2.0}), torch::stack({x * -1.0, x * -2.0})});
  MemoryEfficientDataLoader loader(dataset, 2, {.workers = 0});
  const std::int64_t bytes = kSide * kSide * 4;
  const std::int64_t slab = 4096;
  memory::trim();
  Scope scope({.budget = Bytes(memory::usage().live + 2 * memory::footprint(2 * bytes) +
                               memory::footprint(bytes) + slab)});
  const std::optional<Batch> batch = loader.next();
  EXPECT_GT(scope.stats().replays, 0) << "nothing was evicted, so nothing was tested";
  for (std::size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(
        std::memcmp(batch->tensors[i].const_data_ptr(), expected[i].data(), expected[i].size()), 0);
  }
}

}  // namespace
}  // namespace neap::data
