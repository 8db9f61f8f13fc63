// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// snapshot/tensors.h: LibTorch's tensors to and from safetensors files.
#pragma once

#include "safetensors/safetensors.h"

#include <neap/machine.h>

#include <ATen/core/Tensor.h>

#include <string>
#include <utility>
#include <vector>

namespace neap::snapshot {

// Tensors by name, in their order.
using Named = std::vector<std::pair<std::string, at::Tensor>>;

// Raw access to a tensor that a scope with Options::offload has left in its file throws. An
// operator that reads it brings it back.
void bring_back(const at::Tensor& tensor);

// Writes them as safetensors::write() does. Throws: also InvalidArgument for a tensor that is not
// dense, or whose type the format does not have.
safetensors::Written write(const std::filesystem::path& file, const Named& tensors,
                           OutputFile::Access access = OutputFile::Access::Private);

// Throws: Error: a file is whole and does not fit the model or the optimizer.
[[noreturn]] void refuse(const std::filesystem::path& file, const std::string& what);

// Why an entry cannot be read into a tensor: another type or shape; empty: it can.
std::string why_not(const safetensors::File::Entry& entry, const at::Tensor& tensor);

// Reads an entry into a tensor of its type and shape, in place.
void read_into(const safetensors::File& file, const safetensors::File::Entry& entry,
               const at::Tensor& tensor);
// Reads an entry into a new tensor on the device and with the strides of `like`. Throws: Error when
// it has another type or shape.
at::Tensor read_like(const safetensors::File& file, const safetensors::File::Entry& entry,
                     const at::Tensor& like);
// Reads an entry into a new tensor on the CPU. Throws: Error for a type that LibTorch does not
// have.
at::Tensor read_new(const safetensors::File& file, const safetensors::File::Entry& entry);

}  // namespace neap::snapshot
