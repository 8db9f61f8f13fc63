// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// neap/data.h: data sets, strict readers of their files, and a loader that makes batches inside the
// budget.
//
//   const neap::data::Splits splits = neap::data::open("fashion-mnist");
//   neap::MemoryEfficientDataLoader loader(splits.training, /*batch_size=*/128,
//                                          {.shuffle = true, .seed = 7});
//   for (const neap::data::Batch& batch : loader) {  // an epoch
//     neap::Scope scope(options);
//     auto loss = loss_of(model->forward(batch.tensors[0]), batch.tensors[1]);
//     ...
//   }
//
// Guarantees: a file is read whole or refused. A damaged, truncated or wrong file never crashes the
// program, and never takes more memory than its content, whatever its header says. LibTorch's
// default generator is not used.
// N: samples of a set, B: samples of a batch, C, H, W: channels, height, width, T: tokens.
// Units: bytes, nanoseconds.
// Threads: any for readers and data sets, without shared state; a loader belongs to one thread at a
// time.
#pragma once

#include <neap/base.h>
#include <neap/loader_state.h>
#include <neap/pictures.h>

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

// A file that cannot be used: its path, the offset in its (unpacked) content, what was expected,
// what to do.
class NEAP_EXPORT DataError : public Error {
 public:
  explicit DataError(const std::string& text);
  ~DataError() override;
};

// A sample that cannot be loaded. The exception of Dataset::get is nested:
// std::rethrow_if_nested(error).
class NEAP_EXPORT SampleError : public DataError {
 public:
  SampleError(std::int64_t sample, const std::string& why);
  ~SampleError() override;
  std::int64_t sample;  // its index in the data set
};

// ---- Data sets ----

// The tensors of one sample, as (x, y).
using Sample = std::vector<at::Tensor>;

// What a loader reads. All samples have the same number of tensors, and those of one batch the same
// shapes and types.
// Threads: the workers of a loader call both functions at the same time.
class NEAP_EXPORT Dataset {
 public:
  Dataset() = default;
  Dataset(const Dataset&) = delete;
  Dataset& operator=(const Dataset&) = delete;
  virtual ~Dataset();
  [[nodiscard]] virtual std::int64_t size() const = 0;
  // Must depend on the index only; otherwise batches would depend on the order of the workers.
  // Returns dense CPU tensors. Their bytes are copied into the batch.
  // REQUIRES: 0 <= index < size().
  [[nodiscard]] virtual Sample get(std::int64_t index) const = 0;
};

// Sample i is row i of each tensor, as a view. tensors: (N, ...) each.
// Throws: InvalidArgument when there is no tensor, one is undefined or has no rows, or their
// numbers of rows differ.
NEAP_EXPORT std::shared_ptr<Dataset> from_tensors(std::vector<at::Tensor> tensors);

// Sample i is get(i). Any thread may call `get`. Throws: InvalidArgument when size < 1 or `get` is
// empty.
NEAP_EXPORT std::shared_ptr<Dataset> from_function(std::int64_t size,
                                                   std::function<Sample(std::int64_t)> get);

struct Labeled {
  at::Tensor images;  // (N, H, W) or (N, C, H, W) uint8
  at::Tensor labels;  // (N,) int64, each in [0, classes)
};

// Normalizes pictures to mean 0 and deviation 1, in units of the stored values 0 to 255.
struct NEAP_EXPORT Normalization {
  std::vector<float> mean;       // (C,)
  std::vector<float> deviation;  // (C,), none 0
  // Over all pictures, by integer sums, so that their order does not matter. A constant channel
  // gets deviation 1.
  // images: (N, H, W) or (N, C, H, W) uint8. Throws: InvalidArgument for another type or shape, or
  // an empty tensor.
  static Normalization of(const at::Tensor& images);
};

// Sample i is x (C, H, W) float, normalized, and y () int64; C is 1 for (N, H, W). Use the
// normalization of the training set for the test set too.
// Throws: InvalidArgument when types, shapes, counts or channels do not match.
NEAP_EXPORT std::shared_ptr<Dataset> from_labeled(const Labeled& labeled,
                                                  const Normalization& normalization);

// Noise: x of `shape`, float in [-1, 1), and y () int64 in [0, classes). Depends on (seed, index)
// only, and is the same on every machine. Throws: InvalidArgument when an extent, `classes` or
// `size` is below 1.
NEAP_EXPORT std::shared_ptr<Dataset> synthetic(std::vector<std::int64_t> shape,
                                               std::int64_t classes, std::int64_t size,
                                               std::uint64_t seed = 0);

// For a language model of bytes: sample i is the tokens (T,) int64 from byte i * T on, and the same
// shifted by one byte.
// text: (N,) uint8. Throws: InvalidArgument for another type or shape, or when N < T + 1 or T < 1.
NEAP_EXPORT std::shared_ptr<Dataset> text_windows(at::Tensor text, std::int64_t tokens);

// A text that differs where the size, or one of 64 samples that lie evenly, does: to see that a
// training goes on with the data that it began with. It is the same on every machine for the same
// bytes. Cost: loads these samples. Throws: what Dataset::get() throws.
NEAP_EXPORT std::string fingerprint(const Dataset& set);

struct Splits {
  std::shared_ptr<Dataset> training, test;
  std::vector<std::int64_t> sample_shape;  // of x: (C, H, W), or (T,) for text
  std::int64_t classes = 0;                // labels, or each token of y, are in [0, classes)
  std::int64_t vocabulary = 0;             // 256 for text; 0: x is not tokens
  // Of x, where x is pictures; nullopt: it has none. Other pictures for the same model need it too:
  // see OpenOptions::scale.
  std::optional<ChannelScale> scale = {};
  // By class: the names of folders of pictures, or labels of a table that are no numbers; empty:
  // classes have numbers alone.
  std::vector<std::string> class_names = {};
  // Of a table: the names of its features, in their order; empty: it has none.
  std::vector<std::string> columns = {};
  // Of each sample of `test`: the file of a picture, and the row in all the data where the test set
  // was taken from them; empty: it has no file; the rows are those of the test set.
  std::vector<std::filesystem::path> test_files = {};
  std::vector<std::int64_t> test_rows = {};
  // For people: what is missing or was found, and what follows from it.
  std::vector<std::string> notes = {};
};

struct OpenOptions {
  // Percent of the samples of each class, or of the bytes of a text, that become the test set where
  // the data has none; above 0 and below 100. The first sample of a class is always for the
  // training. nullopt: 10.
  std::optional<double> test_percent = {};
  // Pictures get this scale. nullopt: IDX, CIFAR and arrays of uint8 get that of their training
  // set, PNG and JPEG get -1 to 1, and other numbers stay as they are.
  std::optional<ChannelScale> scale = {};
  // Any pictures get the scale of their training set. Cost: PNG and JPEG are decoded once more, and
  // other samples loaded twice more.
  bool find_scale = false;
  // Splits::class_names of other data, in that order; empty: their own. Where these have numbers
  // alone, and not more classes, the numbers count these names.
  std::vector<std::string> class_names = {};
  // For predictions: where the data have no test set, `training` and `test` are both all of them.
  // Then pictures may also lie in the folder itself, if class_names are given; labels of a table
  // may be empty; and a table of as many columns as `scale` has means has none. Their label is -1.
  bool whole = false;
  // Bytes of each sample of a text, 1 to 2^40. nullopt: 256.
  std::optional<std::int64_t> window = {};
};

// Opens the data that a command line names:
//   fashion-mnist            of the Debian package
//   DIR, idx:DIR[:CLASSES]   a folder with the IDX files of a set like MNIST, or of one set of
//                            EMNIST. Without CLASSES there are as many as the set is known to have
//                            by its name, or 10, or more where the labels have more and leave none
//                            out. Labels may count from 1, as EMNIST's letters do
//   cifar10:DIR cifar100:DIR the binary version, or the folder that its archive was unpacked into;
//                            one file of training pictures is enough
//   pictures:DIR[:3x64x64]   PNG and JPEG in a folder a class, or in train/ and test/ (val/) with
//                            such folders; with a shape, all are resized to it; scaled to -1 to 1
//   csv:FILE[:COLUMN]        numbers, and a column of labels: its name, its number from 1, or the
//                            last; each feature with mean 0 and deviation 1
//   npy:X,Y                  two files of numpy.save: (N, ...) numbers, or (N, C, H, W) uint8
//                            pictures; and (N,) labels
//   safetensors:FILE[:X:Y]   such arrays as the tensors x and y of a file, or those of two names
//   text:FILE[:ENCODING]     windows of 256 bytes of its UTF-8, or of as many as `options`
//                            says; the last tenth is the test set; also a pipe; see read_text()
//   synthetic:3x224x224:1000[:COUNT]  shape, classes, samples (1024; the test set has a tenth)
// Where there is no test set, each tenth sample of a class is for it, or as many as `options` says.
// Other pictures are normalized by the training set.
// Throws: InvalidArgument, with the text, the position and these forms, for a share that is none
// or that data with a test set of its own does not need, for a scale that does not fit, and for a
// window out of range or of data that are no text;
// DataError for a file.
NEAP_EXPORT Splits open(const std::string& spec, const OpenOptions& options = {});

// ---- Loader ----

// A batch. Nothing else ever writes into its tensors.
struct Batch {
  std::vector<at::Tensor> tensors;    // (B, ...) each; row i is of samples[i]
  std::vector<std::int64_t> samples;  // (B,) indices in the data set
};

// min(4, cores).
NEAP_EXPORT std::int64_t default_workers() noexcept;

struct LoaderOptions {
  // Threads that load batches ahead, 0 to 1024; 0: the calling thread loads each batch on demand.
  // The batches are the same.
  std::int64_t workers = default_workers();
  // The most that batches loaded ahead may take, with rounding and block headers. More hides longer
  // waits, but leaves less of a budget to the step. One batch is always allowed, and at most two
  // per worker are loaded ahead.
  Bytes prefetch_bytes = Bytes(std::int64_t{64} << 20);
  bool shuffle = false;    // a new order each epoch, a function of (seed, epoch)
  std::uint64_t seed = 0;  // of the loader's own generator
  bool drop_last = false;  // leave out a smaller last batch
  // Page-locked memory, for copies to a GPU. Ignored where LibTorch has no CUDA. Such memory is not
  // neap's, and is outside of the budget.
  bool pin_memory = false;
  // Random changes of pictures, a function of (seed, epoch, sample).
  Augmentation augmentation = {};
};

struct LoaderCounters {
  std::int64_t batches = 0;    // handed out since the loader was made
  std::int64_t waited_ns = 0;  // time that next() waited; 0 for a batch that was ready
};

}  // namespace neap::data

namespace neap {

// Makes batches of a data set in worker threads, ahead of their use, inside the budget.
//
//   while (std::optional<neap::data::Batch> batch = loader.next()) train_on(*batch);
//
// Guarantees: the sequence of batches, and their bits, depend only on data set, seed, epoch and
// batch size, not on the workers: every sample is loaded with one LibTorch thread. LibTorch
// allocates the batches, so they are inside the budget. Once the program has released a batch and
// the engine does not need it for a replay, the allocator reuses its memory for one of the next.
// When a worker cannot allocate because the budget is full, the loader drops the batches loaded
// ahead, and the calling thread loads the batch in its turn. So loading ahead never makes next()
// fail, but it takes bytes from the step: see prefetch_bytes. The calling thread also loads when
// the system gives no threads.
// Threads: one at a time may call a loader. Workers live from the first batch of an epoch to its
// last, to the end of a range-for, or to the destruction of the loader. Ending them waits for the
// samples that they are loading.
// Cost: two operators for each tensor and sample; 8 bytes a sample for a shuffled epoch; starting
// the threads once an epoch. Besides prefetch_bytes, each worker holds one sample, and two while it
// changes one by `augmentation`.
class NEAP_EXPORT MemoryEfficientDataLoader {
 public:
  class Iterator;

  // Throws: InvalidArgument when the data set is null or empty, batch_size is below 1, an option is
  // out of range, or drop_last leaves no batch.
  MemoryEfficientDataLoader(std::shared_ptr<const data::Dataset> dataset, std::int64_t batch_size,
                            const data::LoaderOptions& options = {});
  MemoryEfficientDataLoader(const MemoryEfficientDataLoader&) = delete;
  MemoryEfficientDataLoader& operator=(const MemoryEfficientDataLoader&) = delete;
  ~MemoryEfficientDataLoader();

  // Begins the next epoch, or continues the restored one after restore(), and loads the first
  // batch. Throws: as next().
  Iterator begin();
  [[nodiscard]] std::default_sentinel_t end() const noexcept { return {}; }

  // The next batch; nullopt once at the end of each epoch.
  // Throws: SampleError for a sample that cannot be loaded (the next call continues after this
  // batch); BudgetExceeded or OutOfMemory when the batch does not fit, and other errors of neap
  // (the next call tries the same batch again).
  std::optional<data::Batch> next();

  // The number of batches in a whole epoch.
  [[nodiscard]] std::int64_t batches() const noexcept;
  [[nodiscard]] data::LoaderState state() const noexcept;
  // Throws: InvalidArgument when the epoch is below 0 or the position is outside of the data set.
  void restore(const data::LoaderState& state);
  [[nodiscard]] data::LoaderCounters counters() const noexcept;

 private:
  struct Work;
  std::unique_ptr<Work> work_;
};

// Holds one batch at a time, and releases it before it asks for the next. Its destructor ends the
// workers.
// REQUIRES: the loader lives, and nothing else iterates over it.
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

// Reads the two files of one split from a folder: train-images-idx3-ubyte and
// train-labels-idx1-ubyte, or t10k-... (test-...), plain or with .gz; plain files have precedence.
// There may be a point before idx instead of the dash, and one prefix for all files, as
// emnist-letters-.
// Throws: DataError when one is missing or damaged, or when their counts differ.
NEAP_EXPORT Labeled read_labeled(const std::filesystem::path& folder, Split split,
                                 std::int64_t classes = 10);

// Returns (N, H, W) uint8. The content decides between plain and gzip.
NEAP_EXPORT at::Tensor read_idx_images(const std::filesystem::path& file);
// Returns (N,) int64. Throws: DataError also for a label outside of [0, classes).
NEAP_EXPORT at::Tensor read_idx_labels(const std::filesystem::path& file, std::int64_t classes);

// Read one split of the binary version of CIFAR: data_batch_1.bin to data_batch_5.bin and
// test_batch.bin, or train.bin and test.bin. Return images (N, 3, 32, 32) and labels in [0, 10), or
// the fine labels in [0, 100).
// Throw: DataError when a file is missing, has another number of pictures than the set, or has a
// label out of range.
NEAP_EXPORT Labeled read_cifar10(const std::filesystem::path& folder, Split split);
NEAP_EXPORT Labeled read_cifar100(const std::filesystem::path& folder, Split split);

// Returns the bytes of a file, unpacked when it is gzip, as (N,) uint8. A byte order mark of UTF-8,
// UTF-16 or UTF-32 names the encoding: such a text becomes UTF-8, without the mark. `encoding`: a
// name that iconv knows, as ISO-8859-1; empty: by the mark, and without one the bytes stay.
// Throws: DataError, also for an empty file, and with the offset where the bytes are not of the
// encoding; InvalidArgument for an encoding that is not known.
NEAP_EXPORT at::Tensor read_text(const std::filesystem::path& file,
                                 const std::string& encoding = "");

// Where Debian's packages dataset-fashion-mnist (pictures) and fortunes (short texts) install their
// files.
// Throw: DataError, with what to install, when it is missing.
NEAP_EXPORT std::filesystem::path fashion_mnist_directory();
NEAP_EXPORT std::filesystem::path fortunes_directory();

}  // namespace neap::data
