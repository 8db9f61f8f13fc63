// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Which batches come, in which order, and how a loader goes on after restore(). No loss curve shows
// a sequence that depends on the number of workers, or that a restored loader continues a little
// differently. Only a comparison shows it.
#include "data/loading.h"

#include <algorithm>
#include <ranges>
#include <set>

namespace neap::data {
namespace {

static_assert(std::ranges::input_range<MemoryEfficientDataLoader>);

std::vector<Seen> epochs(std::shared_ptr<const Dataset> dataset, const LoaderOptions& options,
                         int count) {
  MemoryEfficientDataLoader loader(std::move(dataset), 4, options);
  std::vector<Seen> all;
  for (int epoch = 0; epoch < count; ++epoch) {
    const std::vector<Seen> one = epoch_of(loader);
    EXPECT_EQ(static_cast<std::int64_t>(one.size()), loader.batches());
    all.insert(all.end(), one.begin(), one.end());
  }
  return all;
}

TEST(Loader, gives_each_sample_once_an_epoch_with_the_rest_in_a_shorter_last_batch) {
  MemoryEfficientDataLoader loader(numbers(10), 4);
  EXPECT_EQ(loader.batches(), 3);
  const std::vector<Seen> epoch = epoch_of(loader);
  EXPECT_EQ(samples_of(epoch),
            (std::vector<std::vector<std::int64_t>>{{0, 1, 2, 3}, {4, 5, 6, 7}, {8, 9}}));
  EXPECT_EQ(epoch[2].bytes, test::bytes_of({torch::arange(24, 30, torch::kFloat).view({2, 3}),
                                            torch::arange(8, 10, torch::kLong)}));
}

TEST(Loader, drop_last_leaves_the_shorter_batch_out) {
  MemoryEfficientDataLoader loader(numbers(10), 4, {.drop_last = true});
  EXPECT_EQ(loader.batches(), 2);
  EXPECT_EQ(samples_of(epoch_of(loader)),
            (std::vector<std::vector<std::int64_t>>{{0, 1, 2, 3}, {4, 5, 6, 7}}));
  MemoryEfficientDataLoader whole(numbers(8), 4, {.drop_last = true});
  EXPECT_EQ(whole.batches(), 2);
  EXPECT_EQ(epoch_of(whole).size(), 2U);
}

TEST(Loader, gives_the_same_sequence_for_any_number_of_workers) {
  for (const bool shuffle : {false, true}) {
    for (const bool drop_last : {false, true}) {
      for (const std::int64_t prefetch : {0, 100, 1 << 20}) {
        SCOPED_TRACE(testing::Message() << shuffle << drop_last << ' ' << prefetch);
        LoaderOptions options{.workers = 0,
                              .prefetch_bytes = Bytes(prefetch),
                              .shuffle = shuffle,
                              .seed = 5,
                              .drop_last = drop_last};
        const std::vector<Seen> expected = epochs(numbers(31), options, 3);
        for (const std::int64_t workers : {1, 2, 4, 9}) {
          SCOPED_TRACE(workers);
          options.workers = workers;
          EXPECT_EQ(epochs(numbers(31), options, 3), expected);
        }
      }
    }
  }
}

// The worker with batch 0 waits until another worker has loaded batch 1.
TEST(Loader, gives_batches_in_order_when_later_ones_are_ready_first) {
  std::mutex mutex;
  std::condition_variable changed;
  bool later_loaded = false;
  const auto dataset = from_function(6, [&](std::int64_t index) -> Sample {
    std::unique_lock lock(mutex);
    if (index == 1) changed.wait(lock, [&] { return later_loaded; });
    if (index == 3) later_loaded = true;
    changed.notify_all();
    return {torch::full({2}, index)};
  });
  MemoryEfficientDataLoader loader(dataset, 2, {.workers = 2});
  EXPECT_EQ(samples_of(epoch_of(loader)),
            (std::vector<std::vector<std::int64_t>>{{0, 1}, {2, 3}, {4, 5}}));
}

TEST(Loader, shuffles_each_epoch_anew_by_its_seed) {
  std::set<std::vector<std::int64_t>> orders;
  for (const std::uint64_t seed : {1U, 2U}) {
    MemoryEfficientDataLoader loader(numbers(50), 50, {.shuffle = true, .seed = seed});
    for (int epoch = 0; epoch < 5; ++epoch) {
      const std::vector<std::int64_t> order = epoch_of(loader)[0].samples;
      orders.insert(order);
      EXPECT_EQ(std::set<std::int64_t>(order.begin(), order.end()).size(), 50U);
    }
  }
  EXPECT_EQ(orders.size(), 10U);
}

// A change of this order would disturb everybody who resumes a training. So it must not depend on
// the compiler.
TEST(Loader, shuffles_the_same_way_for_ever) {
  MemoryEfficientDataLoader loader(numbers(12), 12, {.shuffle = true, .seed = 1});
  EXPECT_EQ(epoch_of(loader)[0].samples,
            (std::vector<std::int64_t>{11, 0, 9, 1, 2, 3, 6, 10, 8, 5, 7, 4}));
  EXPECT_EQ(epoch_of(loader)[0].samples,
            (std::vector<std::int64_t>{1, 9, 2, 0, 10, 6, 7, 3, 8, 11, 4, 5}));
}

TEST(Loader, never_draws_from_the_default_generator) {
  torch::manual_seed(3);
  const auto state = [] {
    return test::bytes_of({at::detail::getDefaultCPUGenerator().get_state()});
  };
  const test::ByteLists before = state();
  for (const std::int64_t workers : {0, 2}) {
    MemoryEfficientDataLoader loader(synthetic({3, 4}, 10, 20), 4,
                                     {.workers = workers, .shuffle = true, .seed = 9});
    epoch_of(loader);
    epoch_of(loader);
  }
  EXPECT_EQ(test::first_difference(before, state()), std::nullopt);
}

TEST(Loader, next_gives_none_once_at_the_end_of_an_epoch) {
  for (const std::int64_t workers : {0, 2}) {
    MemoryEfficientDataLoader loader(numbers(4), 2, {.workers = workers});
    for (int epoch = 0; epoch < 3; ++epoch) {
      EXPECT_EQ(loader.state().epoch, epoch);
      EXPECT_EQ(loader.next()->samples, (std::vector<std::int64_t>{0, 1}));
      EXPECT_EQ(loader.next()->samples, (std::vector<std::int64_t>{2, 3}));
      EXPECT_EQ(loader.state().epoch, epoch);
      EXPECT_FALSE(loader.next().has_value());
    }
  }
}

TEST(Loader, begins_the_next_epoch_after_an_abandoned_one) {
  for (const std::int64_t workers : {0, 2}) {
    MemoryEfficientDataLoader loader(numbers(8), 2, {.workers = workers});
    for (const Batch& batch : loader) {
      if (batch.samples[0] == 2) break;
    }
    EXPECT_EQ(loader.state().epoch, 0);
    EXPECT_EQ(loader.state().position, 4);
    EXPECT_EQ(loader.next()->samples[0], 4) << "next() goes on where the loop stopped";
    EXPECT_EQ(epoch_of(loader).size(), 4U);
    EXPECT_EQ(loader.state().epoch, 2);
    EXPECT_EQ(loader.state().position, 0);
  }
}

TEST(Loader, goes_on_exactly_after_each_batch_when_its_state_is_restored) {
  const auto make = [](std::uint64_t seed) {
    return MemoryEfficientDataLoader(numbers(11), 3, {.workers = 2, .shuffle = true, .seed = seed});
  };
  std::vector<std::optional<Seen>> expected;
  std::vector<LoaderState> states;
  auto loader = make(4);
  for (int call = 0; call < 15; ++call) {
    states.push_back(loader.state());
    const std::optional<Batch> batch = loader.next();
    expected.push_back(batch ? std::optional(seen(*batch)) : std::nullopt);
  }
  for (std::size_t from = 0; from < states.size(); ++from) {
    SCOPED_TRACE(from);
    auto other = make(/*seed=*/99);  // the seed of the state counts
    other.next();
    other.restore(states[from]);
    for (std::size_t call = from; call < expected.size(); ++call) {
      const std::optional<Batch> batch = other.next();
      EXPECT_EQ(batch ? std::optional(seen(*batch)) : std::nullopt, expected[call]) << call;
    }
  }
}

TEST(Loader, a_loop_over_a_restored_loader_gives_the_rest_of_the_epoch) {
  MemoryEfficientDataLoader loader(numbers(8), 2, {.shuffle = true});
  std::vector<Seen> expected;
  LoaderState middle, last;
  for (const Batch& batch : loader) {
    if (loader.state().position > 4) expected.push_back(seen(batch));
    if (loader.state().position == 4) middle = loader.state();
    last = loader.state();
  }
  const std::vector<Seen> second = epoch_of(loader);

  MemoryEfficientDataLoader resumed(numbers(8), 2, {.shuffle = true});
  resumed.restore(middle);
  EXPECT_EQ(epoch_of(resumed), expected);
  EXPECT_EQ(epoch_of(resumed), second);
  resumed.restore(last);
  EXPECT_TRUE(epoch_of(resumed).empty()) << "nothing is left of that epoch";
  EXPECT_EQ(epoch_of(resumed), second);
}

TEST(Loader, counts_batches_and_does_not_wait_for_what_is_ready) {
  const auto dataset = std::make_shared<Counted>(numbers(8));
  MemoryEfficientDataLoader loader(dataset, 1, {.workers = 1});
  loader.next();
  const std::int64_t waited = loader.counters().waited_ns;
  EXPECT_GT(waited, 0) << "the first batch cannot be there before it is asked for";
  EXPECT_EQ(loader.counters().batches, 1);
  dataset->wait_for(3);  // the only worker is one batch further
  loader.next();
  EXPECT_EQ(loader.counters().batches, 2);
  EXPECT_EQ(loader.counters().waited_ns, waited);

  MemoryEfficientDataLoader here(numbers(8), 4, {.workers = 0});
  here.next();
  const std::int64_t first = here.counters().waited_ns;
  here.next();
  EXPECT_GT(here.counters().waited_ns, first) << "who loads itself waits each time";
}

TEST(Loader, takes_at_most_four_workers_unless_told_otherwise) {
  EXPECT_EQ(default_workers(), std::clamp<std::int64_t>(std::thread::hardware_concurrency(), 1, 4));
  EXPECT_EQ(LoaderOptions().workers, default_workers());
}

// ---- Bits ----

class TwoThreads {
 public:
  TwoThreads() { at::set_num_threads(2); }
  ~TwoThreads() { at::set_num_threads(1); }
};

// A sum by two threads is rounded differently from a sum by one. Then a batch would depend on the
// thread that loaded it.
TEST(Loader, gives_the_same_bits_whichever_thread_loads) {
  const TwoThreads two;
  torch::manual_seed(1);
  const at::Tensor values = torch::randn({1 << 20});
  const auto sum = [values](std::int64_t index) -> Sample {
    return {(values * (1 + static_cast<double>(index) / 3)).sum()};
  };
  LoaderOptions options{.workers = 2};
  const std::vector<Seen> ahead = epochs(from_function(8, sum), options, 1);
  options.workers = 0;
  EXPECT_EQ(epochs(from_function(8, sum), options, 1), ahead);
  std::vector<at::Tensor> with_two;
  for (std::int64_t i = 0; i < 4; ++i) with_two.push_back(sum(i)[0]);
  ASSERT_NE(test::bytes_of({torch::stack(with_two)}), ahead[0].bytes)
      << "one thread and two gave the same, so nothing was tested";
}

TEST(Loader, leaves_the_thread_counts_of_the_program_alone) {
  const TwoThreads two;
  const auto in_new_thread = [] {
    int count = 0;
    std::thread([&] { count = at::get_num_threads(); }).join();
    return count;
  };
  ASSERT_EQ(in_new_thread(), 2);
  for (const std::int64_t workers : {0, 1, 3}) {
    SCOPED_TRACE(workers);
    std::atomic<int> most{0};
    const auto dataset = from_function(9, [&](std::int64_t index) -> Sample {
      // Waits until the process's thread count is back. Only then would a worker use it that forgot
      // its own count of 1.
      for (int tries = 0; workers > 0 && tries < 1000 && in_new_thread() != 2; ++tries) {
        std::this_thread::yield();
      }
      most = std::max<int>(most, at::get_num_threads());
      return {torch::full({2}, index)};
    });
    MemoryEfficientDataLoader loader(dataset, 2, {.workers = workers});
    epoch_of(loader);
    EXPECT_EQ(most, 1) << "samples were loaded with more than one thread";
    EXPECT_EQ(at::get_num_threads(), 2);
    EXPECT_EQ(in_new_thread(), 2);
  }
}

TEST(Loader, gives_tensors_without_gradients_also_of_samples_that_have_some) {
  const at::Tensor values = torch::ones({4, 3}, torch::requires_grad());
  const auto dataset =
      from_function(4, [&](std::int64_t index) -> Sample { return {values[index] * 2}; });
  for (const std::int64_t workers : {0, 1}) {
    MemoryEfficientDataLoader loader(dataset, 2, {.workers = workers});
    for (const Batch& batch : loader) EXPECT_FALSE(batch.tensors[0].requires_grad());
  }
}

TEST(Loader, copies_samples_that_are_not_contiguous_and_makes_dense_batches) {
  const at::Tensor values = torch::arange(24, torch::kDouble).view({2, 3, 4});
  const auto dataset =
      from_function(2, [&](std::int64_t index) -> Sample { return {values[index].t()}; });
  MemoryEfficientDataLoader loader(dataset, 2);
  const at::Tensor batch = loader.next()->tensors[0];
  EXPECT_TRUE(batch.is_contiguous());
  EXPECT_EQ(test::bytes_of({batch}), test::bytes_of({values.transpose(1, 2)}));
}

}  // namespace
}  // namespace neap::data
