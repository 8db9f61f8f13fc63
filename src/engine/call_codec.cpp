// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "engine/call_codec.h"

#include <ATen/core/Generator.h>
#include <ATen/core/List.h>
#include <ATen/core/Tensor.h>
#include "device/device.h"

#include <ATen/EmptyTensor.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <type_traits>

namespace neap::engine {
namespace {

enum class Tag : std::uint8_t {
  None,
  Undefined,
  Tensor,
  Int,
  Double,
  Complex,
  False,
  True,
  String,
  Device,
  Generator,
  Ints,
  Doubles,
  Bools,
  Tensors,
  OptionalTensors,
  Scalars,
};

enum Flag : std::uint16_t {
  Contiguous = 1,
  Wide = 2,
  Offset = 4,
  Wrapped = 8,
  Conjugate = 16,
  Negative = 32,
  RequiresGrad = 64,
};
constexpr unsigned kUseShift = 8;

template <class T>
void put(Code& code, const T& value) {
  static_assert(std::is_trivially_copyable_v<T>);
  std::memcpy(code.append(sizeof(T)), &value, sizeof(T));
}

bool fits_narrow(c10::IntArrayRef values) {
  for (const std::int64_t value : values) {
    if (value != static_cast<std::int32_t>(value)) return false;
  }
  return true;
}

void put_extents(Code& code, c10::IntArrayRef values, bool wide) {
  for (const std::int64_t value : values) {
    if (wide) {
      put(code, value);
    } else {
      put(code, static_cast<std::int32_t>(value));
    }
  }
}

void put_tensor(Code& code, const Operand& operand) {
  const c10::TensorImpl& tensor = *operand.tensor;
  const c10::IntArrayRef sizes = tensor.sizes();
  const c10::IntArrayRef strides = tensor.strides();
  const bool wide = !fits_narrow(sizes) || !fits_narrow(strides);
  const std::int64_t offset = tensor.storage_offset();
  // These flags are what else a kernel can ask the tensor. For example, a wrapped number promotes
  // types differently, and a lazy conjugate is read as one.
  auto flags = static_cast<unsigned>(operand.use) << kUseShift;
  if (tensor.is_contiguous()) flags |= Contiguous;
  if (wide) flags |= Wide;
  if (offset != 0) flags |= Offset;
  if (tensor.is_wrapped_number()) flags |= Wrapped;
  if (tensor.key_set().has(c10::DispatchKey::Conjugate)) flags |= Conjugate;
  if (tensor.key_set().has(c10::DispatchKey::Negative)) flags |= Negative;
  if (tensor.requires_grad()) flags |= RequiresGrad;
  put(code, Tag::Tensor);
  put(code, static_cast<std::uint16_t>(flags));
  put(code, c10::typeMetaToScalarType(tensor.dtype()));
  put(code, static_cast<std::uint8_t>(sizes.size()));
  if (operand.use == Use::Number) {
    std::memcpy(code.append(tensor.itemsize()), tensor.data(), tensor.itemsize());
    return;
  }
  put(code, operand.reference);
  if (offset != 0) put(code, offset);
  put_extents(code, sizes, wide);
  if ((flags & Contiguous) == 0) put_extents(code, strides, wide);
}

bool put_scalar(const c10::IValue& value, Code& code) {
  if (value.isInt()) {
    put(code, Tag::Int);
    put(code, value.toInt());
  } else if (value.isDouble()) {
    put(code, Tag::Double);
    put(code, value.toDouble());
  } else if (value.isBool()) {
    put(code, value.toBool() ? Tag::True : Tag::False);
  } else if (value.isComplexDouble()) {
    put(code, Tag::Complex);
    const c10::complex<double> number = value.toComplexDouble();
    put(code, number.real());
    put(code, number.imag());
  } else {
    return false;
  }
  return true;
}

class Encoder {
 public:
  Encoder(std::span<const Operand> operands, Code& code) : operands_(operands), code_(code) {}

  bool value(const c10::IValue& value) {
    if (value.isTensor()) return tensor(value);
    if (value.isNone()) return put(code_, Tag::None), true;
    if (put_scalar(value, code_)) return true;
    if (value.isIntList()) return numbers(Tag::Ints, value.toIntList());
    if (value.isTensorList() || value.isOptionalTensorList()) return tensors(value);
    if (value.isDoubleList()) return numbers(Tag::Doubles, value.toDoubleList());
    if (value.isBoolList()) return numbers(Tag::Bools, value.toBoolList());
    if (value.isString()) return string(value.toStringRef());
    if (value.isDevice()) return device(value.toDevice()), true;
    if (value.isGenerator()) return put(code_, Tag::Generator), true;
    if (value.isList()) return scalars(value);
    return false;
  }

 private:
  bool tensor(const c10::IValue& value) {
    if (!value.toTensor().defined()) {
      put(code_, Tag::Undefined);
    } else {
      put_tensor(code_, operands_[next_++]);
    }
    return true;
  }

  template <class T>
  bool numbers(Tag tag, const c10::List<T>& list) {
    put(code_, tag);
    put(code_, static_cast<std::uint32_t>(list.size()));
    for (std::size_t i = 0; i < list.size(); ++i) put(code_, T(list[i]));
    return true;
  }

  bool tensors(const c10::IValue& value) {
    const auto elements = value.toListRef();
    put(code_, value.isTensorList() ? Tag::Tensors : Tag::OptionalTensors);
    put(code_, static_cast<std::uint32_t>(elements.size()));
    for (const c10::IValue& element : elements) {
      if (element.isNone()) {
        put(code_, Tag::None);
      } else {
        tensor(element);
      }
    }
    return true;
  }

  void device(c10::Device device) {
    put(code_, Tag::Device);
    put(code_, device.type());
    put(code_, device.index());
  }

  bool string(const std::string& text) {
    put(code_, Tag::String);
    put(code_, static_cast<std::uint32_t>(text.size()));
    std::memcpy(code_.append(text.size()), text.data(), text.size());
    return true;
  }

  bool scalars(const c10::IValue& value) {
    const auto elements = value.toListRef();
    put(code_, Tag::Scalars);
    put(code_, static_cast<std::uint32_t>(elements.size()));
    for (const c10::IValue& element : elements) {
      if (!put_scalar(element, code_)) return false;
    }
    return true;
  }

  std::span<const Operand> operands_;
  std::size_t next_ = 0;
  Code& code_;
};

class Decoder {
 public:
  Decoder(std::span<const std::uint8_t> code, StorageSource& source)
      : at_(code.data()), source_(source) {}

  c10::IValue value() {
    switch (const Tag tag = get<Tag>()) {
      case Tag::None:
        return {};
      case Tag::Undefined:
        return at::Tensor();
      case Tag::Tensor:
        return tensor();
      case Tag::String: {
        const auto size = get<std::uint32_t>();
        std::string text(reinterpret_cast<const char*>(at_), size);
        at_ += size;
        return text;
      }
      case Tag::Device: {
        const auto type = get<c10::DeviceType>();
        return c10::Device(type, get<c10::DeviceIndex>());
      }
      case Tag::Generator:
        return generator_;
      case Tag::Ints:
        return numbers<std::int64_t>();
      case Tag::Doubles:
        return numbers<double>();
      case Tag::Bools:
        return numbers<bool>();
      case Tag::Tensors: {
        c10::List<at::Tensor> list;
        for (auto left = get<std::uint32_t>(); left > 0; --left) {
          list.push_back(value().toTensor());
        }
        return list;
      }
      case Tag::OptionalTensors: {
        c10::List<std::optional<at::Tensor>> list;
        for (auto left = get<std::uint32_t>(); left > 0; --left) {
          list.push_back(value().toOptional<at::Tensor>());
        }
        return list;
      }
      case Tag::Scalars: {
        c10::List<c10::Scalar> list;
        for (auto left = get<std::uint32_t>(); left > 0; --left) {
          list.push_back(scalar(get<Tag>()).toScalar());
        }
        return list;
      }
      default:
        return scalar(tag);
    }
  }

  void set_generator(const at::Generator& generator) { generator_ = generator; }

 private:
  template <class T>
  T get() {
    T result;
    std::memcpy(&result, at_, sizeof(T));
    at_ += sizeof(T);
    return result;
  }

  template <class T>
  c10::IValue numbers() {
    c10::List<T> list;
    const auto size = get<std::uint32_t>();
    list.reserve(size);
    for (std::uint32_t i = 0; i < size; ++i) list.push_back(get<T>());
    return list;
  }

  c10::IValue scalar(Tag tag) {
    switch (tag) {
      case Tag::Int:
        return get<std::int64_t>();
      case Tag::Double:
        return get<double>();
      case Tag::Complex: {
        const auto real = get<double>();
        return c10::complex<double>(real, get<double>());
      }
      default:
        return tag == Tag::True;
    }
  }

  void extents(c10::SmallVectorImpl<std::int64_t>& values, std::size_t dim, bool wide) {
    values.clear();
    for (std::size_t i = 0; i < dim; ++i) {
      values.push_back(wide ? get<std::int64_t>() : get<std::int32_t>());
    }
  }

  c10::IValue number(c10::ScalarType dtype, bool wrapped) {
    at::Tensor result = at::detail::empty_cpu({}, dtype);
    const std::size_t bytes = result.itemsize();
    std::memcpy(result.mutable_data_ptr(), at_, bytes);
    at_ += bytes;
    result.unsafeGetTensorImpl()->set_wrapped_number(wrapped);
    return result;
  }

  c10::IValue tensor() {
    const auto flags = get<std::uint16_t>();
    const auto dtype = get<c10::ScalarType>();
    const auto dim = get<std::uint8_t>();
    const auto use = static_cast<Use>(flags >> kUseShift);
    if (use == Use::Number) return number(dtype, (flags & Wrapped) != 0);
    const auto reference = get<std::uint16_t>();
    const std::int64_t offset = (flags & Offset) != 0 ? get<std::int64_t>() : 0;
    extents(sizes_, dim, (flags & Wide) != 0);
    if ((flags & Contiguous) == 0) extents(strides_, dim, (flags & Wide) != 0);
    if (use == Use::Once) return at::Tensor();
    at::Tensor result = at::detail::make_tensor<c10::TensorImpl>(
        source_.storage(use, reference), c10::DispatchKeySet(device::tracked().key()),
        c10::scalarTypeToTypeMeta(dtype));
    c10::TensorImpl& impl = *result.unsafeGetTensorImpl();
    if ((flags & Contiguous) != 0) {
      impl.set_sizes_contiguous(sizes_);
      impl.set_storage_offset(offset);
    } else {
      impl.set_sizes_and_strides(sizes_, strides_, offset);
    }
    if ((flags & Wrapped) != 0) impl.set_wrapped_number(true);
    if ((flags & Conjugate) != 0) impl._set_conj(true);
    if ((flags & Negative) != 0) impl._set_neg(true);
    if ((flags & RequiresGrad) != 0) impl.set_requires_grad(true);
    return result;
  }

  const std::uint8_t* at_;
  StorageSource& source_;
  c10::IValue generator_;
  c10::SmallVector<std::int64_t, 8> sizes_;
  c10::SmallVector<std::int64_t, 8> strides_;
};

}  // namespace

void Code::grow(std::size_t bytes) {
  const std::size_t capacity = std::max<std::size_t>(256, 2 * (size_ + bytes));
  auto larger = std::make_unique_for_overwrite<std::uint8_t[]>(capacity);
  std::copy_n(bytes_.get(), size_, larger.get());
  bytes_ = std::move(larger);
  capacity_ = capacity;
}

bool encode(std::span<const c10::IValue> arguments, std::span<const Operand> operands, Code& code) {
  Encoder encoder(operands, code);
  for (const c10::IValue& argument : arguments) {
    if (!encoder.value(argument)) return false;
  }
  return true;
}

void decode(std::span<const std::uint8_t> code, std::size_t arguments, StorageSource& source,
            torch::jit::Stack& stack) {
  Decoder decoder(code, source);
  decoder.set_generator(source.generator());
  for (std::size_t i = 0; i < arguments; ++i) stack.push_back(decoder.value());
}

}  // namespace neap::engine
