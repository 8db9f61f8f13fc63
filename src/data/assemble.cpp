// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Note [Buffers]
// The obvious way is to keep the tensors of each batch, and to refill those whose storage has no
// other user. It fails: the engine holds no reference to a storage that it needs for a replay, only
// its record. The use count says that the storage is free. Overwritten behind the dispatcher's
// back, it makes replays give other bits. A deleter of the loader would notice the use, but the
// batch would not be neap's memory, and what is computed from it could not be evicted.
// So a batch is an ordinary allocation, and the loader keeps no reference. When its storage dies,
// neap's allocator asks the engine. Freed pages are cached, already faulted in, and the next batch
// of the size takes them.
#include "data/assemble.h"

#include "memory/allocator.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <c10/core/GradMode.h>

#include <exception>
#include <limits>
#include <new>
#include <sstream>
#include <utility>

namespace neap::data {
namespace {

// Runs a step of loading a sample. Errors of the sample become a SampleError. neap's errors about
// the situation (no memory, an interrupt) pass unchanged.
template <class Step>
auto about(std::int64_t sample, Step step) {
  try {
    return step();
  } catch (const DataError& error) {
    std::throw_with_nested(SampleError(sample, error.what()));
  } catch (const InvalidArgument& error) {
    std::throw_with_nested(SampleError(sample, error.what()));
  } catch (const Error&) {
    throw;
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const c10::Error& error) {
    std::throw_with_nested(SampleError(sample, error.what_without_backtrace()));
  } catch (const std::exception& error) {
    std::throw_with_nested(SampleError(sample, error.what()));
  } catch (...) {
    std::throw_with_nested(SampleError(sample, "what it threw is no std::exception"));
  }
}

std::string shape_of(const at::Tensor& tensor) {
  std::ostringstream text;
  text << tensor.scalar_type() << ' ' << tensor.sizes();
  return text.str();
}

void expect_dense(const Sample& sample) {
  if (sample.empty()) throw DataError("it has no tensors; Dataset::get() returns at least one");
  for (std::size_t i = 0; i < sample.size(); ++i) {
    const at::Tensor& tensor = sample[i];
    if (tensor.defined() && tensor.device().is_cpu() && tensor.layout() == at::kStrided &&
        !tensor.is_quantized()) {
      continue;
    }
    throw DataError("tensor " + std::to_string(i) + " is " +
                    (tensor.defined() ? "not dense or not on the CPU" : "undefined") +
                    "; Dataset::get() returns dense CPU tensors");
  }
}

// Compares with the first sample, which is row 0 of the batch.
void expect_like(const Batch& batch, const Sample& sample) {
  if (sample.size() != batch.tensors.size()) {
    throw DataError("it has " + std::to_string(sample.size()) + " tensors, and sample " +
                    std::to_string(batch.samples[0]) + " of the same batch has " +
                    std::to_string(batch.tensors.size()) + "; give all samples as many");
  }
  for (std::size_t i = 0; i < sample.size(); ++i) {
    const at::Tensor first = batch.tensors[i].select(0, 0);
    if (sample[i].sizes() == first.sizes() && sample[i].scalar_type() == first.scalar_type()) {
      continue;
    }
    throw DataError("tensor " + std::to_string(i) + " is " + shape_of(sample[i]) +
                    ", and that of sample " + std::to_string(batch.samples[0]) +
                    " of the same batch is " + shape_of(first) +
                    "; give the samples of a batch one shape and type, or take batches of 1");
  }
}

std::int64_t footprint(const Sample& sample, std::int64_t count) {
  std::int64_t total = 0;
  for (const at::Tensor& tensor : sample) {
    std::int64_t bytes = 0;
    std::int64_t taken = std::numeric_limits<std::int64_t>::max();
    if (!__builtin_mul_overflow(static_cast<std::int64_t>(tensor.nbytes()), count, &bytes)) {
      taken = memory::footprint(bytes);
    }
    if (__builtin_add_overflow(total, taken, &total)) {
      return std::numeric_limits<std::int64_t>::max();
    }
  }
  return total;
}

at::Tensor rows_like(const at::Tensor& sample, std::int64_t rows, bool pin_memory) {
  std::vector<std::int64_t> sizes{rows};
  sizes.insert(sizes.end(), sample.sizes().begin(), sample.sizes().end());
  return at::empty(sizes, sample.options().requires_grad(false).pinned_memory(
                              pin_memory && at::globalContext().hasCUDA()));
}

// Copies by an operator, not memcpy: in the thread of a scope the sample may have been evicted, and
// the operator restores it.
void copy_row(const Batch& batch, std::int64_t row, const Sample& sample) {
  for (std::size_t i = 0; i < sample.size(); ++i) {
    batch.tensors[i].select(0, row).copy_(sample[i]);
  }
}

}  // namespace

RestoredThreadCount::RestoredThreadCount() : before_(at::get_num_threads()) {}
RestoredThreadCount::~RestoredThreadCount() { at::set_num_threads(before_); }

std::optional<Batch> assemble(const Dataset& dataset, BatchRequest request) {
  const c10::NoGradGuard no_grad;  // whatever the mode of the loading thread
  Batch batch;
  batch.samples = std::move(request.samples);
  const auto rows = static_cast<std::int64_t>(batch.samples.size());
  Sample sample;
  const auto load = [&](std::int64_t row) {
    const std::int64_t index = batch.samples[static_cast<std::size_t>(row)];
    about(index, [&] {
      sample.clear();  // free its memory first
      sample = dataset.get(index);
      expect_dense(sample);
      if (request.change) request.change(index, sample);
      if (row > 0) expect_like(batch, sample);
    });
  };
  load(0);
  if (!request.admit(footprint(sample, rows))) return std::nullopt;
  for (const at::Tensor& tensor : sample) {
    batch.tensors.push_back(rows_like(tensor, rows, request.pin_memory));
  }
  copy_row(batch, 0, sample);
  for (std::int64_t row = 1; row < rows; ++row) {
    if (request.abandoned.stop_requested()) return std::nullopt;
    load(row);
    copy_row(batch, row, sample);
  }
  return batch;
}

}  // namespace neap::data
