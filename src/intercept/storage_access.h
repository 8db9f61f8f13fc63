// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// intercept/storage_access.h: taking the memory out of a storage, so that each access to it throws, and putting it back.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/StorageImpl.h>

#include <string>

namespace neap::intercept {

// What stands in a storage while its memory is out: no data, `record` as context. The deleter reports the storage's death.
void put_absent(c10::StorageImpl& storage, void* record, c10::DeleterFnPtr deleter,
                std::string message);
// Puts the memory back and lets accesses through again.
void put_back(c10::StorageImpl& storage, c10::DataPtr memory);

// The storage's pointer, whatever checks are set.
inline c10::DataPtr& data_ptr_of(c10::StorageImpl& storage) {
  return storage._mutable_data_ptr_no_checks();
}

// Null for an undefined tensor and one without a storage.
inline c10::StorageImpl* storage_of(const at::Tensor& tensor) {
  if (!tensor.defined() || !tensor.unsafeGetTensorImpl()->has_storage()) return nullptr;
  return tensor.unsafeGetTensorImpl()->unsafe_storage().unsafeGetStorageImpl();
}

// Dense CPU tensors, and the keys that say no more than autograd and lazy conjugates do. Everything else (sparse,
// quantized, nested, opaque, meta, subclasses, functorch's wrappers) is left alone.
bool is_plain(const c10::TensorImpl& tensor);

// True when LibTorch itself will exchange the memory on the next write.
bool has_materializer(const c10::StorageImpl& storage);

}  // namespace neap::intercept
