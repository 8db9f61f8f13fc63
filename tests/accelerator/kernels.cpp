// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// The emulated accelerator's kernels: LibTorch's for the CPU, on the bytes of the device's memory.
#include "accelerator/accelerator.h"
#include "accelerator/device_memory.h"
#include "accelerator/generator.h"
#include "accelerator/streams.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/EmptyTensor.h>
#include <ATen/InferSize.h>
#include <ATen/TensorUtils.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/TensorOptions.h>
#include <torch/torch.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <map>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

namespace neap::test {
namespace {

constexpr c10::DeviceType kType = c10::DeviceType::PrivateUse1;

// While set, factories that are told no device make tensors here: see MakesTensors. This does not
// hold inside kernels.
thread_local bool makes_tensors = false;
thread_local bool in_kernel = false;

struct InKernel {
  InKernel() { in_kernel = true; }
  InKernel(const InKernel&) = delete;
  InKernel& operator=(const InKernel&) = delete;
  ~InKernel() { in_kernel = false; }
};

std::atomic<std::int64_t> most_bytes{0};

void begin_kernel() {
  Streams::instance().begin_kernel();
  most_bytes = std::max(most_bytes.load(), DeviceMemory::instance().held());
}

// A host tensor like this one, on `storage`.
at::Tensor as_host(const at::Tensor& tensor, c10::Storage storage) {
  at::Tensor host = at::detail::make_tensor<c10::TensorImpl>(
      std::move(storage), c10::DispatchKeySet(c10::DispatchKey::CPU), tensor.dtype());
  c10::TensorImpl& impl = *host.unsafeGetTensorImpl();
  impl.set_sizes_and_strides(tensor.sizes(), tensor.strides(), tensor.storage_offset());
  impl._set_conj(tensor.is_conj());
  impl._set_neg(tensor.is_neg());
  if (tensor.unsafeGetTensorImpl()->is_wrapped_number()) impl.set_wrapped_number(true);
  return host;
}

// Storages of the host can grow, because kernels may resize their outputs.
c10::Storage host_storage(c10::DataPtr data, std::size_t bytes) {
  return c10::Storage(c10::make_intrusive<c10::StorageImpl>(c10::StorageImpl::use_byte_size_t(),
                                                            bytes, std::move(data),
                                                            c10::GetDefaultCPUAllocator(), true));
}

// A copy of the bytes that kernels of the current stream find in a storage of the device.
c10::Storage copied(const c10::Storage& storage) {
  c10::DataPtr copy = c10::GetDefaultCPUAllocator()->allocate(storage.nbytes());
  if (storage.nbytes() > 0) {
    Streams::instance().read(static_cast<char*>(copy.get()),
                             DeviceMemory::instance().inside(storage.data()), storage.nbytes());
  }
  return host_storage(std::move(copy), storage.nbytes());
}

void write_late(const c10::Storage& to, const c10::Storage& from) {
  Streams::instance().write(DeviceMemory::instance().inside(to.data()), from, to.nbytes());
}

// Turns the arguments of a kernel into host tensors, and its results back into device tensors.
class OnHost {
 public:
  // Before argument(): the kernel writes this one. It is given a copy, which is written back late.
  void will_write(const c10::IValue& value) {
    if (value.isTensor()) will_write(value.toTensor());
    if (value.isTensorList()) {
      for (const at::Tensor& tensor : value.toTensorVector()) will_write(tensor);
    }
  }
  void will_write(const at::Tensor& tensor) {
    if (!is_here(tensor)) return;
    const c10::Storage& storage = tensor.storage();
    c10::StorageImpl* const impl = storage.unsafeGetStorageImpl();
    if (!written_.contains(impl)) written_.emplace(impl, copied(storage));
  }

  c10::IValue argument(const c10::IValue& value) {
    if (value.isTensor()) return host_of(value.toTensor());
    if (value.isDevice()) return c10::Device(c10::DeviceType::CPU);
    if (value.isGenerator()) {
      drawn_from_ = value.toGenerator();
      return c10::IValue();
    }
    if (value.isTensorList()) {
      c10::List<at::Tensor> list;
      for (const at::Tensor& tensor : value.toTensorVector()) list.push_back(host_of(tensor));
      return list;
    }
    if (value.isOptionalTensorList()) {
      c10::List<std::optional<at::Tensor>> list;
      for (const std::optional<at::Tensor>& tensor : value.toOptionalTensorVector()) {
        list.push_back(tensor ? std::optional(host_of(*tensor)) : std::nullopt);
      }
      return list;
    }
    return value;
  }
  // After the kernel: what it wrote, and the outputs that it resized.
  void write_back() {
    for (const auto& [written, host] : written_) {
      c10::StorageImpl& storage = *written;
      if (host.nbytes() > storage.nbytes()) {
        storage.set_data_ptr_noswap(c10::GetAllocator(kType)->allocate(host.nbytes()));
        storage.set_nbytes(host.nbytes());
      }
      if (storage.nbytes() == 0) continue;
      write_late(c10::Storage(c10::intrusive_ptr<c10::StorageImpl>::reclaim_copy(written)), host);
    }
    for (const auto& [host, tensor] : pairs_) {
      if (host.sizes() == tensor.sizes() && host.strides() == tensor.strides()) continue;
      tensor.unsafeGetTensorImpl()->set_sizes_and_strides(host.sizes(), host.strides(),
                                                          host.storage_offset());
    }
  }
  at::Tensor host_of(const at::Tensor& tensor) {
    if (!is_here(tensor)) return tensor;
    pairs_.emplace_back(as_host(tensor, storage_of(tensor.storage())), tensor);
    return pairs_.back().first;
  }
  c10::IValue result(const c10::IValue& value) {
    if (value.isTensor()) return device_of(value.toTensor());
    if (value.isTensorList()) {
      c10::List<at::Tensor> list;
      for (const at::Tensor& tensor : value.toTensorVector()) list.push_back(device_of(tensor));
      return list;
    }
    return value;
  }
  [[nodiscard]] Generator& generator() const {
    return impl_of(drawn_from_.defined() ? drawn_from_ : default_generator());
  }

  at::Tensor device_of(const at::Tensor& made) {
    if (!made.defined()) return made;
    for (const auto& [host, tensor] : pairs_) {
      if (host.is_same(made)) return tensor;
    }
    const void* const data = made.storage().data();
    for (const auto& [host, tensor] : pairs_) {
      if (data == nullptr || host.storage().data() != data) continue;
      return shaped_as(made, tensor.storage());  // a view
    }
    const c10::Storage source = made.storage();
    c10::Allocator* const allocator = c10::GetAllocator(kType);
    c10::Storage storage(c10::Storage::use_byte_size_t(), source.nbytes(), allocator, true);
    if (source.nbytes() > 0) write_late(storage, source);
    return shaped_as(made, std::move(storage));
  }

 private:
  static bool is_here(const at::Tensor& tensor) {
    return tensor.defined() && tensor.device() == accelerator();
  }
  [[nodiscard]] c10::Storage storage_of(const c10::Storage& storage) const {
    const auto written = written_.find(storage.unsafeGetStorageImpl());
    if (written != written_.end()) return written->second;
    if (Streams::current() != Streams::kDefault) return copied(storage);
    void* data = nullptr;  // all is written
    if (storage.nbytes() > 0) data = DeviceMemory::instance().inside(storage.data());
    return host_storage(c10::DataPtr(data, c10::Device(c10::DeviceType::CPU)), storage.nbytes());
  }

  static at::Tensor shaped_as(const at::Tensor& like, c10::Storage storage) {
    at::Tensor tensor = at::detail::make_tensor<c10::TensorImpl>(
        std::move(storage), c10::DispatchKeySet(c10::DispatchKey::PrivateUse1), like.dtype());
    c10::TensorImpl& impl = *tensor.unsafeGetTensorImpl();
    impl.set_sizes_and_strides(like.sizes(), like.strides(), like.storage_offset());
    impl._set_conj(like.is_conj());
    impl._set_neg(like.is_neg());
    return tensor;
  }

  std::vector<std::pair<at::Tensor, at::Tensor>> pairs_;  // of the host, of the device
  std::map<c10::StorageImpl*, c10::Storage> written_;     // the device's, and the copy of the host
  at::Generator drawn_from_;
};

// While this lives, the host's generator draws the numbers of the device's generator.
class Seeded {
 public:
  explicit Seeded(std::uint64_t seed) : before_(generator().get_state()) {
    generator().set_current_seed(seed);
  }
  Seeded(const Seeded&) = delete;
  Seeded& operator=(const Seeded&) = delete;
  ~Seeded() { generator().set_state(before_); }

 private:
  static at::Generator generator() { return at::detail::getDefaultCPUGenerator(); }
  at::Tensor before_;
};

void run_kernel(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  begin_kernel();
  const std::size_t arguments = op.schema().arguments().size();
  const auto given = torch::jit::last(*stack, arguments);
  OnHost host;
  for (std::size_t i = 0; i < arguments; ++i) {
    const c10::AliasInfo* const alias = op.schema().arguments()[i].alias_info();
    if (alias != nullptr && alias->isWrite()) host.will_write(given[i]);
  }
  torch::jit::Stack own;
  for (const c10::IValue& value : given) own.push_back(host.argument(value));
  bool draws = op.hasTag(at::Tag::nondeterministic_seeded);
  for (const c10::Argument& argument : op.schema().arguments()) {
    draws = draws || argument.type()->str().find("Generator") != std::string::npos;
  }
  {
    std::optional<Seeded> seeded;
    if (draws) seeded.emplace(host.generator().next());
    const InKernel here;
    op.redispatchBoxed(c10::DispatchKeySet(c10::DispatchKey::CPU), &own);
  }
  host.write_back();
  torch::jit::drop(*stack, arguments);
  for (const c10::IValue& value : own) stack->push_back(host.result(value));
}

at::Tensor empty(c10::SymIntArrayRef size, std::optional<at::ScalarType> dtype,
                 std::optional<at::Layout> /*layout*/, std::optional<at::Device> /*device*/,
                 std::optional<bool> /*pinned*/, std::optional<at::MemoryFormat> format) {
  return at::detail::empty_generic(C10_AS_INTARRAYREF_SLOW(size), c10::GetAllocator(kType),
                                   c10::DispatchKeySet(c10::DispatchKey::PrivateUse1),
                                   c10::dtype_or_default(dtype), format);
}

at::Tensor empty_strided(c10::SymIntArrayRef size, c10::SymIntArrayRef stride,
                         std::optional<at::ScalarType> dtype, std::optional<at::Layout> /*layout*/,
                         std::optional<at::Device> /*device*/, std::optional<bool> /*pinned*/) {
  return at::detail::empty_strided_generic(
      C10_AS_INTARRAYREF_SLOW(size), C10_AS_INTARRAYREF_SLOW(stride), c10::GetAllocator(kType),
      c10::DispatchKeySet(c10::DispatchKey::PrivateUse1), c10::dtype_or_default(dtype));
}

// Views do not touch the data, which may be evicted.
at::Tensor view_of(const at::Tensor& tensor, at::IntArrayRef sizes, at::IntArrayRef strides,
                   std::int64_t offset) {
  at::Tensor view = at::detail::make_tensor<c10::TensorImpl>(
      c10::TensorImpl::VIEW, c10::Storage(tensor.storage()), tensor.key_set(), tensor.dtype());
  view.unsafeGetTensorImpl()->set_sizes_and_strides(sizes, strides, offset);
  return view;
}
at::Tensor as_strided(const at::Tensor& tensor, at::IntArrayRef sizes, at::IntArrayRef strides,
                      std::optional<std::int64_t> offset) {
  return view_of(tensor, sizes, strides, offset.value_or(tensor.storage_offset()));
}
at::Tensor view(const at::Tensor& tensor, at::IntArrayRef sizes) {
  const at::DimVector inferred = at::infer_size_dv(sizes, tensor.numel());
  const auto strides = at::detail::computeStride(tensor.sizes(), tensor.strides(), inferred);
  TORCH_CHECK(strides.has_value(), "view: no strides fit");
  return view_of(tensor, inferred, *strides, tensor.storage_offset());
}
at::Tensor reshape_alias(const at::Tensor& tensor, at::IntArrayRef sizes, at::IntArrayRef strides) {
  return view_of(tensor, sizes, strides, tensor.storage_offset());
}

at::Tensor convolution(const at::Tensor& x, const at::Tensor& weight,
                       const std::optional<at::Tensor>& bias, at::IntArrayRef stride,
                       at::IntArrayRef padding, at::IntArrayRef dilation, bool transposed,
                       at::IntArrayRef output_padding, std::int64_t groups) {
  begin_kernel();
  const InKernel here;
  OnHost host;
  const auto host_bias = bias ? std::optional(host.host_of(*bias)) : std::nullopt;
  return host.device_of(at::convolution(host.host_of(x), host.host_of(weight), host_bias, stride,
                                        padding, dilation, transposed, output_padding, groups));
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> convolution_backward(
    const at::Tensor& gradient, const at::Tensor& x, const at::Tensor& weight,
    at::IntArrayRef stride, at::IntArrayRef padding, at::IntArrayRef dilation, bool transposed,
    at::IntArrayRef output_padding, std::int64_t groups, std::array<bool, 3> mask) {
  begin_kernel();
  const InKernel here;
  OnHost host;
  const std::vector<std::int64_t> bias_sizes = {gradient.size(1)};
  const auto [of_x, of_weight, of_bias] = at::convolution_backward(
      host.host_of(gradient), host.host_of(x), host.host_of(weight), bias_sizes, stride, padding,
      dilation, transposed, output_padding, groups, mask);
  return {host.device_of(of_x), host.device_of(of_weight), host.device_of(of_bias)};
}

at::Tensor copy_from(const at::Tensor& from, const at::Tensor& to, bool /*non_blocking*/) {
  begin_kernel();
  const InKernel here;
  OnHost host;
  host.will_write(to);
  host.host_of(to).copy_(host.host_of(from));
  host.write_back();
  return to;
}

std::optional<at::Device> device_or_accelerator(std::optional<at::Device> device) {
  if (!device && makes_tensors && !in_kernel) return accelerator();
  return device;
}
c10::DispatchKeySet keys_of(std::optional<at::ScalarType> dtype, std::optional<at::Layout> layout,
                            std::optional<at::Device> device) {
  return c10::DispatchKeySet(c10::computeDispatchKey(dtype, layout, device));
}
at::Tensor select_empty(c10::SymIntArrayRef size, std::optional<at::ScalarType> dtype,
                        std::optional<at::Layout> layout, std::optional<at::Device> device,
                        std::optional<bool> pinned, std::optional<at::MemoryFormat> format) {
  device = device_or_accelerator(device);
  return at::_ops::empty_memory_format::redispatch(keys_of(dtype, layout, device), size, dtype,
                                                   layout, device, pinned, format);
}
at::Tensor select_empty_strided(c10::SymIntArrayRef size, c10::SymIntArrayRef stride,
                                std::optional<at::ScalarType> dtype,
                                std::optional<at::Layout> layout, std::optional<at::Device> device,
                                std::optional<bool> pinned) {
  device = device_or_accelerator(device);
  return at::_ops::empty_strided::redispatch(keys_of(dtype, layout, device), size, stride, dtype,
                                             layout, device, pinned);
}

// Replaces LibTorch's own kernels, which choose the CPU.
TORCH_LIBRARY_IMPL(aten, BackendSelect, m) {
  m.impl("empty.memory_format", &select_empty);
  m.impl("empty_strided", &select_empty_strided);
}

TORCH_LIBRARY_IMPL(_, PrivateUse1, m) {
  m.fallback(torch::CppFunction::makeFromBoxedFunction<&run_kernel>());
}
TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("empty.memory_format", &empty);
  m.impl("empty_strided", &empty_strided);
  m.impl("_copy_from", &copy_from);
  m.impl("as_strided", &as_strided);
  m.impl("view", &view);
  m.impl("_reshape_alias", &reshape_alias);
  m.impl("convolution_overrideable", &convolution);
  m.impl("convolution_backward_overrideable", &convolution_backward);
}

}  // namespace

MakesTensors::MakesTensors() { makes_tensors = true; }
MakesTensors::~MakesTensors() { makes_tensors = false; }

std::int64_t accelerator_most_bytes() { return most_bytes.exchange(0); }

}  // namespace neap::test
