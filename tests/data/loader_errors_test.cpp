// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Wrong use, and samples that cannot be loaded. The caller gets a typed error that names the
// sample, and can go on.
#include "data/loading.h"

#include <gmock/gmock.h>

#include <stdexcept>

namespace neap::data {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

// A data set of 12 samples, of which one is bad.
std::shared_ptr<Dataset> bad_at(std::int64_t which, std::function<Sample()> bad) {
  return from_function(12, [which, bad = std::move(bad)](std::int64_t index) -> Sample {
    if (index == which) return bad();
    return {torch::full({2, 3}, static_cast<float>(index)), torch::full({}, index)};
  });
}

// Expects that error from the batch with the bad sample, the second of three. The other batches
// come as usual.
void expect_refused(const std::function<Sample()>& bad, const std::vector<std::string>& parts,
                    std::int64_t which = 5) {
  for (const std::int64_t workers : {0, 1, 4}) {
    SCOPED_TRACE(workers);
    MemoryEfficientDataLoader loader(bad_at(which, bad), 4, {.workers = workers});
    for (int epoch = 0; epoch < 2; ++epoch) {
      EXPECT_EQ(loader.next()->samples[0], 0);
      try {
        loader.next();
        ADD_FAILURE() << "loaded";
      } catch (const SampleError& error) {
        EXPECT_EQ(error.sample, which);
        EXPECT_THAT(error.what(),
                    HasSubstr("sample " + std::to_string(which) + " cannot be loaded: "));
        for (const std::string& part : parts) EXPECT_THAT(error.what(), HasSubstr(part));
      }
      EXPECT_EQ(loader.next()->samples[0], 8);
      EXPECT_FALSE(loader.next().has_value());
    }
    EXPECT_EQ(loader.counters().batches, 4);
  }
}

TEST(LoaderErrors, of_a_sample_arrive_with_its_index_and_the_loader_goes_on) {
  expect_refused([]() -> Sample { throw std::runtime_error("the disk is on fire"); },
                 {"the disk is on fire"});
  expect_refused([]() -> Sample { throw DataError("a.png: cut short"); }, {"a.png: cut short"});
  // This sample is the first of its batch, so its size is not known yet.
  expect_refused([]() -> Sample { throw DataError("b.png: cut short"); }, {"b.png: cut short"}, 4);
  expect_refused([]() -> Sample { throw InvalidArgument("no such crop"); }, {"no such crop"});
  expect_refused([]() -> Sample { return {torch::ones({2}).view({3})}; }, {"shape '[3]'"});
  expect_refused([]() -> Sample { throw 5; },  // NOLINT: it is what a program may do
                 {"no std::exception"});
}

TEST(LoaderErrors, carry_what_the_data_set_threw) {
  for (const std::int64_t workers : {0, 2}) {
    MemoryEfficientDataLoader loader(
        bad_at(5, []() -> Sample { throw std::out_of_range("row 7"); }), 12, {.workers = workers});
    try {
      loader.next();
      ADD_FAILURE() << "loaded";
    } catch (const SampleError& error) {
      EXPECT_THROW(std::rethrow_if_nested(error), std::out_of_range);
    }
  }
}

TEST(LoaderErrors, leave_a_loop_and_the_next_loop_is_the_next_epoch) {
  MemoryEfficientDataLoader loader(
      bad_at(5, []() -> Sample { throw std::runtime_error("unreadable"); }), 4, {.workers = 2});
  for (int epoch = 0; epoch < 3; ++epoch) {
    EXPECT_EQ(loader.state().epoch, std::max(0, epoch - 1));
    EXPECT_THROW(epoch_of(loader), SampleError);
  }
  LoaderState behind = loader.state();
  EXPECT_EQ(behind.position, 8);
  loader.restore(behind);
  EXPECT_EQ(samples_of(epoch_of(loader)), (std::vector<std::vector<std::int64_t>>{{8, 9, 10, 11}}));
}

TEST(LoaderErrors, name_samples_that_do_not_fit_into_their_batch) {
  expect_refused(
      []() -> Sample {
        return {torch::ones({2, 4}), torch::full({}, 5)};
      },
      {"tensor 0 is Float [2, 4], and that of sample 4 of the same batch is Float [2, 3]",
       "batches of 1"});
  expect_refused(
      []() -> Sample {
        return {torch::ones({2, 3}), torch::full({}, 5.0)};
      },
      {"tensor 1 is Float [], and that of sample 4 of the same batch is Long []"});
  expect_refused(
      []() -> Sample {
        return {torch::ones({2, 3})};
      },
      {"it has 1 tensors, and sample 4 of the same batch has 2"});
}

TEST(LoaderErrors, name_samples_that_are_no_dense_tensors) {
  expect_refused([]() -> Sample { return {}; }, {"it has no tensors"});
  expect_refused(
      []() -> Sample {
        return {torch::ones({2, 3}), at::Tensor()};
      },
      {"tensor 1 is undefined"});
  expect_refused(
      []() -> Sample {
        return {torch::ones({2, 3}).to_sparse(), torch::full({}, 5)};
      },
      {"tensor 0 is not dense or not on the CPU"});
  expect_refused(
      []() -> Sample {
        return {torch::empty({2, 3}, at::kMeta), torch::full({}, 5)};
      },
      {"tensor 0 is not dense or not on the CPU"});
}

void expect_no_loader(const std::shared_ptr<const Dataset>& dataset, std::int64_t batch_size,
                      const LoaderOptions& options, const std::string& part) {
  EXPECT_THAT([&] { MemoryEfficientDataLoader(dataset, batch_size, options); },
              ThrowsMessage<InvalidArgument>(AllOf(HasSubstr("data loader: "), HasSubstr(part))));
}

class Sized final : public Dataset {
 public:
  explicit Sized(std::int64_t size) : size_(size) {}
  [[nodiscard]] std::int64_t size() const override { return size_; }
  [[nodiscard]] Sample get(std::int64_t /*index*/) const override { return {torch::ones({1})}; }

 private:
  std::int64_t size_;
};

TEST(LoaderErrors, refuse_options_that_cannot_be) {
  const auto five = numbers(5);
  expect_no_loader(nullptr, 4, {}, "the data set is null; name one");
  expect_no_loader(std::make_shared<Sized>(0), 4, {}, "has 0 samples; it needs at least 1");
  expect_no_loader(std::make_shared<Sized>(-3), 4, {}, "has -3 samples");
  expect_no_loader(five, 0, {}, "batch_size is 0; expected at least 1");
  expect_no_loader(five, -1, {}, "batch_size is -1");
  expect_no_loader(five, 4, {.workers = -1}, "workers is -1; expected 0 to 1024");
  expect_no_loader(five, 4, {.workers = 1025}, "workers is 1025");
  expect_no_loader(five, 4, {.prefetch_bytes = Bytes(-1)}, "prefetch_bytes is -1; expected 0");
  expect_no_loader(five, 6, {.drop_last = true},
                   "has 5 samples, and drop_last leaves out what is less than batch_size, 6: no "
                   "batch is left; name a smaller batch_size");
}

TEST(LoaderErrors, refuse_states_that_cannot_be_and_keep_the_old_one) {
  MemoryEfficientDataLoader loader(numbers(8), 2);
  loader.next();
  const auto expect_refused_state = [&](const LoaderState& state, const std::string& part) {
    EXPECT_THAT([&] { loader.restore(state); }, ThrowsMessage<InvalidArgument>(HasSubstr(part)));
  };
  expect_refused_state({.epoch = -1}, "cannot go to epoch -1, position 0");
  expect_refused_state({.position = 9}, "positions from 0 to the 8 samples of the data set");
  expect_refused_state({.position = -1}, "position -1");
  EXPECT_EQ(loader.next()->samples[0], 2);
}

}  // namespace
}  // namespace neap::data
