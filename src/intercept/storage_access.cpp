// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "intercept/storage_access.h"

#include "device/device.h"

#include <utility>

namespace neap::intercept {
namespace {

// LibTorch 2.11 can set the flag that makes accesses throw, but has no call to clear it. An
// explicit template instantiation may name a private member. This works with both versions.
template <bool c10::StorageImpl::*Member>
struct Access {
  friend bool& throw_on_access(c10::StorageImpl& storage) { return storage.*Member; }
};
bool& throw_on_access(c10::StorageImpl& storage);
template struct Access<&c10::StorageImpl::throw_on_immutable_data_ptr_>;

// A template, because LibTorch 2.11 has no materializers.
template <class Storage>
bool asks_materializer(const Storage& storage) {
  if constexpr (requires { storage.has_materializer(); }) {
    return storage.has_materializer();
  } else {
    return false;
  }
}

}  // namespace

c10::StorageImpl* tracked_storage_of(const at::Tensor& tensor) {
  c10::StorageImpl* const storage = storage_of(tensor);
  const bool tracked =
      storage != nullptr && storage->device_type() == device::tracked().where().type();
  return tracked ? storage : nullptr;
}

bool is_plain(const c10::TensorImpl& tensor) {
  static const std::uint64_t allowed = device::tracked().plain_keys().raw_repr();
  static const c10::DeviceType tracked = device::tracked().where().type();
  return (tensor.key_set().raw_repr() & ~allowed) == 0 && tensor.has_storage() &&
         tensor.unsafe_storage().device_type() == tracked;
}

bool is_host_number(const c10::TensorImpl& tensor) {
  if (!tensor.is_wrapped_number() || tensor.dim() != 0 || tensor.requires_grad()) return false;
  static const std::uint64_t allowed = device::cpu().plain_keys().raw_repr();
  return (tensor.key_set().raw_repr() & ~allowed) == 0 && tensor.has_storage();
}

void prepare_absent(c10::StorageImpl& storage) { static_cast<void>(storage.get_extra_meta()); }

void put_absent(c10::StorageImpl& storage, void* record, c10::DeleterFnPtr deleter,
                std::string message) {
  const c10::Device device = data_ptr_of(storage).device();
  storage.set_data_ptr_noswap(c10::DataPtr(nullptr, record, deleter, device));
  storage.release_data_and_set_meta_custom_data_ptr_error_msg_(std::move(message));
}

void put_back(c10::StorageImpl& storage, c10::DataPtr memory) {
  throw_on_access(storage) = false;
  storage.get_extra_meta().custom_data_ptr_error_msg_.reset();
  storage.set_data_ptr_noswap(std::move(memory));  // also updates the flag that combines all checks
}

bool has_materializer(const c10::StorageImpl& storage) { return asks_materializer(storage); }

}  // namespace neap::intercept
