// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// intercept/storage_access.h: takes the memory out of a storage, so that each access throws, and
// puts it back.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/StorageImpl.h>

#include <string>

namespace neap::intercept {

// Afterwards put_absent() takes no memory.
void prepare_absent(c10::StorageImpl& storage);
// Replaces the storage's memory by null data with `record` as its context. Accesses then throw
// `message`. The deleter runs when the storage dies.
void put_absent(c10::StorageImpl& storage, void* record, c10::DeleterFnPtr deleter,
                std::string message);
// Puts the memory back, and allows accesses again.
void put_back(c10::StorageImpl& storage, c10::DataPtr memory);

// The storage's data pointer, without any checks.
inline c10::DataPtr& data_ptr_of(c10::StorageImpl& storage) {
  return storage._mutable_data_ptr_no_checks();
}

// Null for an undefined tensor, or one without a storage.
inline c10::StorageImpl* storage_of(const at::Tensor& tensor) {
  if (!tensor.defined() || !tensor.unsafeGetTensorImpl()->has_storage()) return nullptr;
  return tensor.unsafeGetTensorImpl()->unsafe_storage().unsafeGetStorageImpl();
}

// As storage_of(), and null for a storage that is not on the tracked device. LibTorch may not know
// the size of such a one: that of a fake tensor can be a symbol.
c10::StorageImpl* tracked_storage_of(const at::Tensor& tensor);

// True for dense tensors on the tracked device, with no other dispatch keys than those of autograd,
// autocast and lazy conjugation or negation. neap ignores everything else (sparse, quantized,
// nested, opaque, meta, subclasses, functorch's wrappers). While torch.compile traces, a tensor may
// have the keys of the device and a storage of the meta device, whose size can be a symbol.
bool is_plain(const c10::TensorImpl& tensor);

// True for a tensor that LibTorch made of a number, as of the 2 in `x * 2`. It is on the host,
// wherever `x` is.
bool is_host_number(const c10::TensorImpl& tensor);

// True when LibTorch itself will replace the memory on the next write.
bool has_materializer(const c10::StorageImpl& storage);

}  // namespace neap::intercept
