// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// neap/data.h: data sets, strict readers of their files, and a loader that makes batches inside the budget.
//
//   const neap::data::Splits splits = neap::data::open("fashion-mnist");
//   neap::MemoryEfficientDataLoader loader(splits.training, /*batch_size=*/128, {.shuffle = true, .seed = 7});
//   for (const neap::data::Batch& batch : loader) {  // an epoch
//     neap::Scope scope(options);
//     auto loss = loss_of(model->forward(batch.tensors[0]), batch.tensors[1]);
//     ...
//   }
//
// Guarantees: a file is read whole or refused; a damaged, shortened or mixed-up one never crashes the program and
// never takes more memory than the file has content, whatever its header says. LibTorch's default generator is never
// drawn from.
// N: samples of a set, B: of a batch, C, H, W: channels, height, width, T: tokens. Units: bytes, nanoseconds.
// Threads: readers and adaptors any, without shared state; a loader belongs to one thread at a time.
#pragma once

#include <neap/base.h>

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace neap::data {

// ---- Errors ----

// A file that cannot be used: its path, the offset in what it holds (unpacked), what was expected, what to do.
class NEAP_EXPORT DataError : public Error {
 public:
  explicit DataError(const std::string& text);
  ~DataError() override;
};

// A sample that cannot be loaded. What Dataset::get threw, if it did, is nested: std::rethrow_if_nested(error).
class NEAP_EXPORT SampleError : public DataError {
 public:
  SampleError(std::int64_t sample, const std::string& why);
  ~SampleError() override;
  std::int64_t sample;  // its index in the data set
};

// ---- Data sets ----

// The tensors of one sample, as (x, y).
using Sample = std::vector<at::Tensor>;

// What a loader reads. All samples have the same number of tensors, and those of one batch the same shapes and types.
// Threads: the workers of a loader call both functions at the same time.
class NEAP_EXPORT Dataset {
 public:
  Dataset() = default;
  Dataset(const Dataset&) = delete;
  Dataset& operator=(const Dataset&) = delete;
  virtual ~Dataset();
  [[nodiscard]] virtual std::int64_t size() const = 0;
  // A function of the index alone, or batches would depend on which worker came first. Dense CPU tensors; their bytes
  // are copied into the batch before the sample dies. REQUIRES: 0 <= index < size().
  [[nodiscard]] virtual Sample get(std::int64_t index) const = 0;
};

// Sample i is row i of each tensor, as a view. tensors: (N, ...) each.
// Throws: InvalidArgument when there is none, one is undefined or has no rows, or their numbers of rows differ.
NEAP_EXPORT std::shared_ptr<Dataset> from_tensors(std::vector<at::Tensor> tensors);

// Sample i is get(i), which any thread may call. Throws: InvalidArgument when size < 1 or `get` is empty.
NEAP_EXPORT std::shared_ptr<Dataset> from_function(std::int64_t size,
                                                   std::function<Sample(std::int64_t)> get);

struct Labeled {
  at::Tensor images;  // (N, H, W) or (N, C, H, W) uint8
  at::Tensor labels;  // (N,) int64, each in [0, classes)
};

// What makes pictures have mean 0 and deviation 1, in units of the stored 0 to 255.
struct NEAP_EXPORT Normalization {
  std::vector<float> mean;       // (C,)
  std::vector<float> deviation;  // (C,), none 0
  // Of all pictures, by sums of whole numbers, so the order does not matter. A channel of one value gets deviation 1.
  // images: (N, H, W) or (N, C, H, W) uint8. Throws: InvalidArgument for another type or shape, or none.
  static Normalization of(const at::Tensor& images);
};

// Sample i is x (C, H, W) float, normalized, and y () int64; C is 1 for (N, H, W). The test set takes the numbers of the
// training set. Throws: InvalidArgument when types, shapes, counts or channels do not fit together.
NEAP_EXPORT std::shared_ptr<Dataset> from_labeled(const Labeled& labeled,
                                                  const Normalization& normalization);

// Noise: x of `shape`, float in [-1, 1), and y () int64 in [0, classes). A function of (seed, index), the same on every
// machine. Throws: InvalidArgument when an extent, `classes` or `size` is below 1.
NEAP_EXPORT std::shared_ptr<Dataset> synthetic(std::vector<std::int64_t> shape,
                                               std::int64_t classes, std::int64_t size,
                                               std::uint64_t seed = 0);

// For a language model of bytes: sample i is tokens (T,) int64 from byte i * T on, and the tokens (T,) one further.
// text: (N,) uint8. Throws: InvalidArgument when it is none, or when N < T + 1 or T < 1.
NEAP_EXPORT std::shared_ptr<Dataset> text_windows(at::Tensor text, std::int64_t tokens);

struct Splits {
  std::shared_ptr<Dataset> training, test;
  std::vector<std::int64_t> sample_shape;  // of x: (C, H, W), or (T,) for text
  std::int64_t classes = 0;                // y, or each of its tokens, is in [0, classes)
  std::int64_t vocabulary = 0;             // 256 for text, else 0: x is no tokens
};

// Opens what a command line names:
//   fashion-mnist            of the Debian package
//   DIR                      a folder with the four IDX files of a set like MNIST, 10 classes, or of EMNIST, by its name
//   cifar10:DIR cifar100:DIR the binary version, or the folder that its archive was unpacked into
//   text:FILE                windows of 256 bytes; the last tenth is the test set; also a pipe
//   synthetic:3x224x224:1000[:COUNT]  shape, classes, samples (1024; the test set has a tenth)
// Pictures are normalized by the training set. Throws: InvalidArgument with the text, the place and these forms; DataError for
// a file.
NEAP_EXPORT Splits open(const std::string& spec);

// ---- Loader ----

// What a loader hands out. Nobody else writes into the tensors, however long they are kept.
struct Batch {
  std::vector<at::Tensor> tensors;    // (B, ...) each; row i is of samples[i]
  std::vector<std::int64_t> samples;  // (B,) indices in the data set
};

// min(4, cores).
NEAP_EXPORT std::int64_t default_workers() noexcept;

struct LoaderOptions {
  // Threads that load ahead, 0 to 1024; 0: the calling thread loads each batch when it is asked for. Batches are the same.
  std::int64_t workers = default_workers();
  // The most that batches loaded ahead may take, with rounding and block headers. More hides longer waits and leaves less of
  // a budget to the step. One batch is always allowed, and never more than two for each worker are loaded ahead.
  Bytes prefetch_bytes = Bytes(std::int64_t{64} << 20);
  bool shuffle = false;    // another order each epoch, a function of (seed, epoch)
  std::uint64_t seed = 0;  // of a generator of its own
  bool drop_last = false;  // leave out a last batch of fewer samples
  // Page-locked memory, for copies to a GPU. Where LibTorch sees none, batches are ordinary. Such memory is not neap's: it is
  // outside of the budget.
  bool pin_memory = false;
};

// Where a loader is. Restored into a loader of the same set and options, the rest is what it would have been.
struct LoaderState {
  std::uint64_t seed = 0;
  std::int64_t epoch = 0;
  std::int64_t position = 0;  // samples of the epoch that were handed out
};

struct LoaderCounters {
  std::int64_t batches = 0;    // handed out since the loader was made
  std::int64_t waited_ns = 0;  // what the calling thread waited for them; 0 a batch that was ready
};

}  // namespace neap::data

namespace neap {

// Makes batches of a data set in worker threads, ahead of their use, inside the budget.
//
//   while (std::optional<neap::data::Batch> batch = loader.next()) train_on(*batch);
//
// Guarantees: the sequence of batches is a function of data set, seed, epoch and batch size, whatever the workers, also its
// bits: every sample is loaded with one LibTorch thread. Batches are allocated by LibTorch, so they are inside the budget. When
// the program let go of a batch, and the engine of what it needs to replay, the allocator uses its memory for one of the next;
// nothing is ever written into a batch that was handed out.
// What a worker cannot allocate, because the budget is full, the calling thread loads when it is its turn, after the batches
// loaded ahead were dropped: loading ahead makes no step fail at next(). It does take bytes from the step: see prefetch_bytes.
// The calling thread also loads where the system gives no threads.
// Threads: one at a time calls a loader. Workers live from an epoch's first batch to its last, to the end of a range-for, or to the
// loader's end; ending waits for the samples that are being loaded.
// Cost: two operators a tensor and sample; 8 bytes a sample for a shuffled epoch; the threads, once an epoch. Beside
// prefetch_bytes, each worker holds one sample.
class NEAP_EXPORT MemoryEfficientDataLoader {
 public:
  class Iterator;

  // Throws: InvalidArgument when there is no data set, it is empty, batch_size is below 1, an option is out of its range, or
  // drop_last leaves no batch.
  MemoryEfficientDataLoader(std::shared_ptr<const data::Dataset> dataset, std::int64_t batch_size,
                            const data::LoaderOptions& options = {});
  MemoryEfficientDataLoader(const MemoryEfficientDataLoader&) = delete;
  MemoryEfficientDataLoader& operator=(const MemoryEfficientDataLoader&) = delete;
  ~MemoryEfficientDataLoader();

  // Begins the next epoch, or after restore() goes on in the restored one, and loads the first batch. Throws: as next().
  Iterator begin();
  [[nodiscard]] std::default_sentinel_t end() const noexcept { return {}; }

  // The next batch; none, once, at the end of each epoch.
  // Throws: SampleError for a sample that cannot be loaded (the next call goes on with the batch behind it); BudgetExceeded or
  // OutOfMemory when the batch does not fit, and other errors of neap (the next call tries the same batch again).
  std::optional<data::Batch> next();

  // Batches of a whole epoch.
  [[nodiscard]] std::int64_t batches() const noexcept;
  [[nodiscard]] data::LoaderState state() const noexcept;
  // Throws: InvalidArgument when the epoch is below 0 or the position outside of the data set.
  void restore(const data::LoaderState& state);
  [[nodiscard]] data::LoaderCounters counters() const noexcept;

 private:
  struct Work;
  std::unique_ptr<Work> work_;
};

// Holds one batch at a time and lets go of it before it asks for the next. When it dies, the workers end.
// REQUIRES: the loader lives, and nobody else iterates over it.
class NEAP_EXPORT MemoryEfficientDataLoader::Iterator {
 public:
  // NOLINTBEGIN(readability-identifier-naming): the standard asks for these names.
  using iterator_concept = std::input_iterator_tag;
  using value_type = data::Batch;
  using difference_type = std::ptrdiff_t;
  // NOLINTEND(readability-identifier-naming)

  Iterator(Iterator&& other) noexcept;
  Iterator& operator=(Iterator&& other) noexcept;
  ~Iterator();
  const data::Batch& operator*() const { return *batch_; }
  const data::Batch* operator->() const { return &*batch_; }
  Iterator& operator++();
  void operator++(int) { ++*this; }
  friend bool operator==(const Iterator& it, std::default_sentinel_t) {
    return !it.batch_.has_value();
  }

 private:
  friend class MemoryEfficientDataLoader;
  explicit Iterator(Work& work);
  Work* work_;
  std::optional<data::Batch> batch_;
};

}  // namespace neap

namespace neap::data {

// ---- Files ----

enum class Split { Train, Test };

// Reads the two files of one split from a folder: train-images-idx3-ubyte and train-labels-idx1-ubyte, or t10k-... (test-...), plain
// or with .gz; a plain one comes first. A point may stand before idx, and one prefix before all of them, as emnist-letters-.
// Throws: DataError when one is missing or damaged, or when their counts differ.
NEAP_EXPORT Labeled read_labeled(const std::filesystem::path& folder, Split split,
                                 std::int64_t classes = 10);

// Returns (N, H, W) uint8. Plain or gzip, by content.
NEAP_EXPORT at::Tensor read_idx_images(const std::filesystem::path& file);
// Returns (N,) int64. Throws: DataError also for a label outside of [0, classes).
NEAP_EXPORT at::Tensor read_idx_labels(const std::filesystem::path& file, std::int64_t classes);

// Read one split of the binary version of CIFAR: data_batch_1.bin to data_batch_5.bin and test_batch.bin, or train.bin and
// test.bin. Return images (N, 3, 32, 32) and labels in [0, 10), or in [0, 100), the fine ones.
// Throw: DataError when a file is missing, has another number of pictures than the set, or a label is out of range.
NEAP_EXPORT Labeled read_cifar10(const std::filesystem::path& folder, Split split);
NEAP_EXPORT Labeled read_cifar100(const std::filesystem::path& folder, Split split);

// Returns the bytes of a file, (N,) uint8; of what it holds when it is gzip. Throws: DataError, also when it is empty.
NEAP_EXPORT at::Tensor read_text(const std::filesystem::path& file);

// Where the packages dataset-fashion-mnist and fortunes of Debian keep their files: pictures, and texts of a line and more.
// Throw: DataError, with what to install, when it is not there.
NEAP_EXPORT std::filesystem::path fashion_mnist_directory();
NEAP_EXPORT std::filesystem::path fortunes_directory();

}  // namespace neap::data
