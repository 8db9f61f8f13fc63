// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Reads the text of one argument, and makes the value.
#include "operators/argument_values.h"

#include <torch/torch.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

namespace neap::test {
namespace {

using std::string_view;

at::Tensor make_tensor(string_view kind, c10::IntArrayRef sizes) {
  const auto uniform = [&] { return at::rand(sizes); };
  const auto signed_uniform = [&] { return uniform().mul_(1.9).sub_(0.95); };
  const auto below = [&](at::ScalarType dtype) {
    const std::int64_t bound = std::stoll(std::string(kind.substr(1)));
    return at::randint(bound, sizes, at::TensorOptions(dtype));
  };
  switch (kind.front()) {
    case 'u':
      return uniform().mul_(0.9).add_(0.05);
    case 'n':
      return at::randn(sizes);
    case 'd':
      return signed_uniform().to(at::kDouble);
    case 'H':
      return signed_uniform().to(at::kHalf);
    case 'B':
      return signed_uniform().to(at::kBFloat16);
    case 'c':
      return at::complex(signed_uniform(), signed_uniform());
    case 'b':
      return uniform().lt(0.5);
    case 'z':
      return at::zeros(sizes);
    case 'o':
      return at::ones(sizes);
    case 'p': {
      const at::Tensor x = signed_uniform();
      return at::matmul(x, x.transpose(-1, -2)) +
             at::eye(sizes.back()) * static_cast<double>(sizes.back());
    }
    case 'w':
      return signed_uniform() + at::eye(sizes.back()) * static_cast<double>(sizes.back());
    case 't':
      return (signed_uniform() + at::eye(sizes.back()) * 4).tril();
    case 'a':
      return at::arange(c10::multiply_integers(sizes)).reshape(sizes);
    case 'i':
      return below(at::kLong);
    case 'j':
      return below(at::kInt);
    case 'y':
      return below(at::kByte);
    case 'x':
      return below(at::kChar);
    case 'J':  // 1, 2, ...: the pivots of a factorization that exchanges no rows
      return at::arange(1, 1 + c10::multiply_integers(sizes), at::kInt).reshape(sizes);
    case 'q':  // qK: each element is K
      return at::full(sizes, static_cast<double>(std::stoll(std::string(kind.substr(1)))),
                      at::kLong);
    case 's':
      return std::get<0>(below(at::kLong).sort(-1));
    default:
      return signed_uniform();
  }
}

// Reads one value from the start of a text.
class Parser {
 public:
  explicit Parser(string_view text) : left_(text) {}

  c10::IValue value(const c10::TypePtr& type) {
    const c10::TypeKind kind = type->kind();
    if (left_.front() == '-' && (left_.size() == 1 || !std::isdigit(left_[1]))) {
      left_.remove_prefix(1);
      return {};
    }
    if (kind == c10::TypeKind::OptionalType) {
      return value(type->expectRef<c10::OptionalType>().getElementType());
    }
    if (kind == c10::TypeKind::ListType) {
      return list(type->expectRef<c10::ListType>().getElementType());
    }
    if (left_.front() == '\'') {
      left_.remove_prefix(1);
      std::string text(take_until("'"));
      left_.remove_prefix(1);
      return text;
    }
    if (left_.front() == '@') return dtype();
    if (kind == c10::TypeKind::TensorType) return tensor();
    return number(kind);
  }

 private:
  string_view take_until(string_view ends) {
    const std::size_t size = std::min(left_.find_first_of(ends), left_.size());
    const string_view taken = left_.substr(0, size);
    left_.remove_prefix(size);
    return taken;
  }

  c10::IValue dtype() {
    left_.remove_prefix(1);
    const string_view name = take_until(" ,]");
    if (name == "cpu") return c10::Device(at::kCPU);
    constexpr std::array<std::pair<string_view, at::ScalarType>, 11> kNames = {
        {{"float", at::kFloat},
         {"double", at::kDouble},
         {"long", at::kLong},
         {"int", at::kInt},
         {"half", at::kHalf},
         {"bool", at::kBool},
         {"bfloat16", at::kBFloat16},
         {"cfloat", at::kComplexFloat},
         {"quint8", at::kQUInt8},
         {"qint8", at::kQInt8},
         {"byte", at::kByte}}};
    for (const auto& [known, dtype] : kNames) {
      if (known == name) return dtype;
    }
    throw std::invalid_argument("no dtype: " + std::string(name));
  }

  c10::IValue number(c10::TypeKind kind) {
    if (kind == c10::TypeKind::StringType) throw std::invalid_argument("no string");
    const std::string text(take_until(" ,]"));
    if (text == "true" || text == "false") return text == "true";
    const bool real = text.find_first_of(".e") != std::string::npos;
    if (kind == c10::TypeKind::FloatType || real) return std::stod(text);
    return static_cast<std::int64_t>(std::stoll(text));
  }

  c10::IValue tensor() {
    const string_view kind = take_until("(");
    if (left_.empty()) throw std::invalid_argument("no tensor");
    left_.remove_prefix(1);
    std::vector<std::int64_t> sizes;
    while (left_.front() != ')') {
      sizes.push_back(std::stoll(std::string(take_until(",)"))));
      if (left_.front() == ',') left_.remove_prefix(1);
    }
    left_.remove_prefix(1);
    return make_tensor(kind, sizes);
  }

  c10::IValue list(const c10::TypePtr& element) {
    left_.remove_prefix(1);
    c10::impl::GenericList values(element);
    while (left_.front() != ']') {
      values.push_back(value(element));
      if (left_.front() == ',' || left_.front() == ' ') left_.remove_prefix(1);
    }
    left_.remove_prefix(1);
    // An operator takes a list of its element's type, as List<int64_t>. It takes no generic list.
    const c10::TypeKind kind = element->kind();
    if (kind == c10::TypeKind::TensorType) return c10::impl::toTypedList<at::Tensor>(values);
    if (kind == c10::TypeKind::OptionalType) {
      c10::List<std::optional<at::Tensor>> tensors;
      for (const c10::IValue& tensor : static_cast<const c10::impl::GenericList&>(values)) {
        tensors.push_back(tensor.toOptional<at::Tensor>());
      }
      return tensors;
    }
    if (kind == c10::TypeKind::FloatType) return c10::impl::toTypedList<double>(values);
    if (kind == c10::TypeKind::BoolType) return c10::impl::toTypedList<bool>(values);
    if (kind == c10::TypeKind::IntType) return c10::impl::toTypedList<std::int64_t>(values);
    return values;
  }

  string_view left_;
};

}  // namespace

c10::IValue parse_value(string_view text, const c10::TypePtr& type) {
  return Parser(text).value(type);
}

}  // namespace neap::test
