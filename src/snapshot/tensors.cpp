// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "snapshot/tensors.h"

#include <neap/base.h>

#include <torch/torch.h>

#include <algorithm>
#include <array>
#include <sstream>

namespace neap::snapshot {
namespace {

struct Type {
  std::string_view name;  // safetensors' own
  at::ScalarType type;
};
constexpr std::array kTypes = {
    Type{"F64", at::kDouble},
    Type{"F32", at::kFloat},
    Type{"F16", at::kHalf},
    Type{"BF16", at::kBFloat16},
    Type{"C64", at::kComplexFloat},
    Type{"I64", at::kLong},
    Type{"I32", at::kInt},
    Type{"I16", at::kShort},
    Type{"I8", at::kChar},
    Type{"U8", at::kByte},
    Type{"U64", at::kUInt64},
    Type{"U32", at::kUInt32},
    Type{"U16", at::kUInt16},
    Type{"BOOL", at::kBool},
    Type{"F8_E4M3", at::kFloat8_e4m3fn},
    Type{"F8_E5M2", at::kFloat8_e5m2},
};

std::string shown(c10::IntArrayRef sizes) {
  std::ostringstream text;
  text << sizes;
  return text.str();
}

std::span<std::byte> bytes_of(const at::Tensor& tensor) {
  return {static_cast<std::byte*>(tensor.mutable_data_ptr()), tensor.nbytes()};
}

}  // namespace

void bring_back(const at::Tensor& tensor) {
  if (!tensor.defined() || !tensor.has_storage() || tensor.nbytes() == 0) return;
  if (tensor.storage().unsafeGetStorageImpl()->_mutable_data_ptr_no_checks().get()) return;
  (void)tensor.detach().clone();
}

safetensors::Written write(const std::filesystem::path& file, const Named& tensors,
                           OutputFile::Access access) {
  std::vector<at::Tensor> held;
  std::vector<safetensors::Tensor> written;
  for (const auto& [name, tensor] : tensors) {
    const auto* const type = std::ranges::find(kTypes, tensor.scalar_type(), &Type::type);
    if (type == kTypes.end() || tensor.layout() != at::kStrided) {
      throw InvalidArgument(name + " is " + std::string(tensor.toString()) +
                            ", which safetensors does not have; only dense tensors of usual types "
                            "can be saved");
    }
    bring_back(tensor);
    const at::Tensor& dense = held.emplace_back(tensor.detach().cpu().contiguous());
    written.push_back(
        {.name = name,
         .type = std::string(type->name),
         .shape = dense.sizes().vec(),
         .bytes = {static_cast<const std::byte*>(dense.const_data_ptr()), dense.nbytes()}});
  }
  return safetensors::write(file, std::move(written), {}, access);
}

void refuse(const std::filesystem::path& file, const std::string& what) {
  throw Error(file.string() + " does not fit: " + what +
              "; make model and optimizer as they were when it was saved");
}

std::string why_not(const safetensors::File::Entry& entry, const at::Tensor& tensor) {
  const auto* const type = std::ranges::find(kTypes, entry.type, &Type::name);
  if (type != kTypes.end() && type->type == tensor.scalar_type() && entry.shape == tensor.sizes()) {
    return {};
  }
  return "it is " + entry.type + " " + shown(entry.shape) + " in the file, and " +
         std::string(tensor.toString()) + " " + shown(tensor.sizes()) + " here";
}

void read_into(const safetensors::File& file, const safetensors::File::Entry& entry,
               const at::Tensor& tensor) {
  const at::NoGradGuard no_grad;
  bring_back(tensor);
  if (tensor.device().is_cpu() && tensor.is_contiguous()) {
    file.read(entry, bytes_of(tensor));
    // As an operator that writes it would do.
    if (!tensor.is_inference()) tensor.unsafeGetTensorImpl()->bump_version();
    return;
  }
  tensor.detach().copy_(read_new(file, entry));
}

at::Tensor read_like(const safetensors::File& file, const safetensors::File::Entry& entry,
                     const at::Tensor& like) {
  const std::string why = why_not(entry, like);
  if (!why.empty()) refuse(file.path(), entry.name + ": " + why);
  at::Tensor tensor = at::empty_like(like.detach());
  read_into(file, entry, tensor);
  return tensor;
}

at::Tensor read_new(const safetensors::File& file, const safetensors::File::Entry& entry) {
  const auto* const type = std::ranges::find(kTypes, entry.type, &Type::name);
  if (type == kTypes.end()) {
    throw Error(file.path().string() + ": " + entry.name + " is " + entry.type +
                ", which LibTorch does not have; save it in another type");
  }
  at::Tensor tensor = at::empty(entry.shape, type->type);
  file.read(entry, bytes_of(tensor));
  return tensor;
}

}  // namespace neap::snapshot
