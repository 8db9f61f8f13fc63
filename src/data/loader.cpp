// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "data/assemble.h"
#include "data/augment.h"
#include "data/epoch_order.h"
#include "data/prefetch.h"
#include "data/waited.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <string>
#include <thread>
#include <utility>

namespace neap::data {

std::int64_t default_workers() noexcept {
  // hardware_concurrency() is 0 when it is unknown.
  return std::clamp<std::int64_t>(std::thread::hardware_concurrency(), 1, 4);
}

}  // namespace neap::data

namespace neap {

struct MemoryEfficientDataLoader::Work {
  Work(std::shared_ptr<const data::Dataset> set, std::int64_t of, const data::LoaderOptions& with);

  void begin();
  std::optional<data::Batch> next();
  void restore(const data::LoaderState& to);
  void stop() { prefetch.reset(); }

  // Samples of the batch that starts at `position`; 0 at the end of the epoch.
  [[nodiscard]] std::int64_t rows_at(std::int64_t position) const;
  void start_epoch(std::int64_t epoch);
  void start_prefetch();
  // Of this epoch; empty: there is none.
  [[nodiscard]] std::function<void(std::int64_t, data::Sample&)> change() const;
  data::Batch load_ahead();
  data::Batch load_here();

  const std::shared_ptr<const data::Dataset> dataset;
  const std::int64_t batch_size;
  const data::LoaderOptions options;
  const std::int64_t size;
  data::LoaderState state;
  bool restored = false;  // begin() continues in the middle of an epoch
  data::LoaderCounters counters;
  std::shared_ptr<const data::EpochOrder> order;  // of the state's epoch; null: not made yet
  std::unique_ptr<data::Prefetch> prefetch;       // its next batch is at the state's position
};

namespace {

constexpr std::int64_t kMostWorkers = 1024;

std::int64_t size_of(const data::Dataset* dataset) {
  if (dataset == nullptr) throw InvalidArgument("data loader: the data set is null; name one");
  const std::int64_t size = dataset->size();
  if (size < 1) {
    throw InvalidArgument("data loader: the data set has " + std::to_string(size) +
                          " samples; it needs at least 1");
  }
  return size;
}

}  // namespace

MemoryEfficientDataLoader::Work::Work(std::shared_ptr<const data::Dataset> set, std::int64_t of,
                                      const data::LoaderOptions& with)
    : dataset(std::move(set)), batch_size(of), options(with), size(size_of(dataset.get())) {
  if (batch_size < 1) {
    throw InvalidArgument("data loader: batch_size is " + std::to_string(batch_size) +
                          "; expected at least 1");
  }
  if (options.workers < 0 || options.workers > kMostWorkers) {
    throw InvalidArgument("data loader: workers is " + std::to_string(options.workers) +
                          "; expected 0 to " + std::to_string(kMostWorkers));
  }
  if (options.prefetch_bytes < Bytes(0)) {
    throw InvalidArgument("data loader: prefetch_bytes is " +
                          std::to_string(options.prefetch_bytes.count()) +
                          "; expected 0 (one batch at a time) or more");
  }
  constexpr std::int64_t kMostCrop = 1 << 16;
  if (options.augmentation.crop < 0 || options.augmentation.crop > kMostCrop) {
    throw InvalidArgument("data loader: augmentation.crop is " +
                          std::to_string(options.augmentation.crop) + "; expected 0 (none) to " +
                          std::to_string(kMostCrop));
  }
  if (options.drop_last && size < batch_size) {
    throw InvalidArgument("data loader: the data set has " + std::to_string(size) +
                          " samples, and drop_last leaves out what is less than batch_size, " +
                          std::to_string(batch_size) +
                          ": no batch is left; name a smaller batch_size");
  }
  state.seed = options.seed;
}

std::int64_t MemoryEfficientDataLoader::Work::rows_at(std::int64_t position) const {
  const std::int64_t rows = std::min(batch_size, size - position);
  return options.drop_last && rows < batch_size ? 0 : rows;
}

void MemoryEfficientDataLoader::Work::start_epoch(std::int64_t epoch) {
  stop();
  order.reset();
  state.epoch = epoch;
  state.position = 0;
}

void MemoryEfficientDataLoader::Work::begin() {
  if (state.position > 0 && !restored) start_epoch(state.epoch + 1);
}

void MemoryEfficientDataLoader::Work::restore(const data::LoaderState& to) {
  if (to.epoch < 0 || to.position < 0 || to.position > size) {
    throw InvalidArgument("data loader: cannot go to epoch " + std::to_string(to.epoch) +
                          ", position " + std::to_string(to.position) + ": epochs count from 0, " +
                          "positions from 0 to the " + std::to_string(size) +
                          " samples of the data set; restore a state of this data set");
  }
  stop();
  order.reset();
  state = to;
  restored = true;
}

void MemoryEfficientDataLoader::Work::start_prefetch() {
  const std::int64_t left = size - state.position;
  const std::int64_t count =
      options.drop_last ? left / batch_size : (left + batch_size - 1) / batch_size;
  const auto samples = [order = order, first = state.position, size = size,
                        batch_size = batch_size](std::int64_t ticket) {
    const std::int64_t at = first + ticket * batch_size;
    return order->samples(at, std::min(batch_size, size - at));
  };
  prefetch = std::make_unique<data::Prefetch>(
      *dataset, data::Prefetch::Plan{.batches = count,
                                     .samples = samples,
                                     .workers = std::min(options.workers, count),
                                     .limit = options.prefetch_bytes.count(),
                                     .pin_memory = options.pin_memory,
                                     .change = change()});
}

std::function<void(std::int64_t, data::Sample&)> MemoryEfficientDataLoader::Work::change() const {
  if (options.augmentation == data::Augmentation()) return {};
  return [how = options.augmentation, seed = state.seed, epoch = state.epoch](
             std::int64_t index, data::Sample& sample) {
    data::augment(sample, how, {.seed = seed, .epoch = epoch, .sample = index});
  };
}

data::Batch MemoryEfficientDataLoader::Work::load_here() {
  const data::Waited waited(counters.waited_ns);
  const data::RestoredThreadCount restored_count;
  at::set_num_threads(1);
  return *data::assemble(*dataset,
                         {.samples = order->samples(state.position, rows_at(state.position)),
                          .pin_memory = options.pin_memory,
                          .admit = [](std::int64_t /*bytes*/) { return true; },
                          .abandoned = {},
                          .change = change()});
}

data::Batch MemoryEfficientDataLoader::Work::load_ahead() {
  try {
    if (!prefetch) {
      const data::Waited waited(counters.waited_ns);
      start_prefetch();
    }
    return prefetch->next(counters.waited_ns);
  } catch (const data::SampleError&) {
    throw;
  } catch (...) {
    stop();
  }
  // The worker had no memory, or there is no worker. This thread can evict its own storages, and
  // the batches loaded ahead are gone. For any other reason, the error occurs here again.
  return load_here();
}

std::optional<data::Batch> MemoryEfficientDataLoader::Work::next() {
  restored = false;
  const std::int64_t rows = rows_at(state.position);
  if (rows == 0) {
    start_epoch(state.epoch + 1);
    return std::nullopt;
  }
  if (!order) {
    order = std::make_shared<const data::EpochOrder>(
        options.shuffle ? data::EpochOrder::shuffled(size, state.seed, state.epoch)
                        : data::EpochOrder());
  }
  std::optional<data::Batch> batch;
  try {
    batch = options.workers == 0 ? load_here() : load_ahead();
  } catch (const data::SampleError&) {
    state.position += rows;
    throw;
  }
  state.position += rows;
  ++counters.batches;
  return batch;
}

MemoryEfficientDataLoader::MemoryEfficientDataLoader(std::shared_ptr<const data::Dataset> dataset,
                                                     std::int64_t batch_size,
                                                     const data::LoaderOptions& options)
    : work_(std::make_unique<Work>(std::move(dataset), batch_size, options)) {}
MemoryEfficientDataLoader::~MemoryEfficientDataLoader() = default;

MemoryEfficientDataLoader::Iterator MemoryEfficientDataLoader::begin() {
  work_->begin();
  return Iterator(*work_);
}
std::optional<data::Batch> MemoryEfficientDataLoader::next() { return work_->next(); }
std::int64_t MemoryEfficientDataLoader::batches() const noexcept {
  const Work& work = *work_;
  return work.size / work.batch_size +
         (!work.options.drop_last && work.size % work.batch_size != 0 ? 1 : 0);
}
data::LoaderState MemoryEfficientDataLoader::state() const noexcept { return work_->state; }
void MemoryEfficientDataLoader::restore(const data::LoaderState& state) { work_->restore(state); }
data::LoaderCounters MemoryEfficientDataLoader::counters() const noexcept {
  return work_->counters;
}

MemoryEfficientDataLoader::Iterator::Iterator(Work& work) : work_(&work) { ++*this; }
MemoryEfficientDataLoader::Iterator::Iterator(Iterator&& other) noexcept
    : work_(std::exchange(other.work_, nullptr)),
      batch_(std::exchange(other.batch_, std::nullopt)) {}
MemoryEfficientDataLoader::Iterator& MemoryEfficientDataLoader::Iterator::operator=(
    Iterator&& other) noexcept {
  std::swap(work_, other.work_);
  std::swap(batch_, other.batch_);
  return *this;
}
MemoryEfficientDataLoader::Iterator::~Iterator() {
  if (work_ != nullptr) work_->stop();
}
MemoryEfficientDataLoader::Iterator& MemoryEfficientDataLoader::Iterator::operator++() {
  batch_.reset();
  batch_ = work_->next();
  return *this;
}

}  // namespace neap
