// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Makes the arguments of an operator: from the table, from defaults, and from types and names.
#include "operators/arguments.h"

#include "operators/argument_values.h"

#include <torch/torch.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <exception>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace neap::test {
namespace {

using std::string_view;

constexpr std::array<string_view, 11> kTensors = {
    "f(16,16)", "f(4,16,16)", "f(2,4,8,8)",   "f(256)",  "i8(16,16)", "b(16,16)",
    "c(16,16)", "d(16,16)",   "f(2,2,4,8,8)", "i8(256)", "p(16,16)"};

bool matches(string_view pattern, string_view name) {
  if (pattern.starts_with('*')) return name.ends_with(pattern.substr(1));
  return pattern.ends_with('*') ? name.starts_with(pattern.substr(0, pattern.size() - 1))
                                : name == pattern;
}

// Whether one of the patterns `a|b|c` matches.
bool any_matches(string_view patterns, string_view name) {
  while (true) {
    const std::size_t bar = patterns.find('|');
    if (matches(patterns.substr(0, bar), name)) return true;
    if (bar == string_view::npos) return false;
    patterns.remove_prefix(bar + 1);
  }
}

// Nullopt: the text does not fit the type. One name may be a number in one overload and a tensor in
// another.
std::optional<c10::IValue> parsed(string_view text, const c10::TypePtr& type) {
  try {
    return parse_value(text, type);
  } catch (const std::invalid_argument&) {
    return std::nullopt;
  }
}

// The type of a value in the boxed calling convention. Argument::type() gives it, except for
// SymInt, which is an integer there.
c10::TypePtr plain_type(const c10::TypePtr& type) {
  switch (type->kind()) {
    case c10::TypeKind::SymIntType:
      return c10::IntType::get();
    case c10::TypeKind::OptionalType:
      return c10::OptionalType::create(
          plain_type(type->expectRef<c10::OptionalType>().getElementType()));
    case c10::TypeKind::ListType:
      return c10::ListType::create(plain_type(type->expectRef<c10::ListType>().getElementType()));
    default:
      return type;
  }
}

string_view base_name(const c10::FunctionSchema& schema) {
  string_view name = schema.name();
  name.remove_prefix(std::min(name.size(), name.find("::") + 2));
  if (name.ends_with('_') && !name.ends_with("__")) name.remove_suffix(1);
  return name;
}

std::optional<string_view> from_table(string_view operator_name, string_view argument) {
  for (const TableRow& row : table()) {
    if (!any_matches(row.operators, operator_name)) continue;
    string_view values = row.values;
    while (!values.empty()) {
      const std::size_t equals = values.find('=');
      const string_view name = values.substr(0, equals);
      values.remove_prefix(equals + 1);
      int depth = 0;
      std::size_t end = 0;
      while (end < values.size() && (depth > 0 || values[end] != ' ')) {
        if (values[end] == '[') ++depth;
        if (values[end] == ']') --depth;
        ++end;
      }
      if (any_matches(name, argument)) return values.substr(0, end);
      values.remove_prefix(std::min(values.size(), end + 1));
    }
  }
  return std::nullopt;
}

struct Named {
  string_view names;
  string_view value;
};

// Values by the name of the argument. They are used where the table has none and the schema no
// default.
constexpr std::array kTensorsByName = {
    Named{"index|indices", "i8(16,16)"},
    Named{"mask|condition", "b(16,16)"},
    Named{"repeats", "i3(16)"},
};
constexpr std::array kNumbersByName = {
    Named{"dim1|axis1", "1"},
    Named{"dim*|axis*|start|offset|diagonal|storage_offset|padding_idx", "0"},
    Named{"n|steps|N|m|end", "16"},
    Named{"k|chunks|sections|split_size|num*|groups|upscale_factor|downscale_factor", "2"},
    Named{"eps", "1e-5"},
    Named{"train|training", "true"},
};
constexpr std::array kListsByName = {
    Named{"size|sizes|shape|self_size|input_sizes|input_size", ""},  // the tensors' sizes
    Named{"dim|dims|axes|shifts", "[0,1]"},
    Named{"kernel_size|stride|output_size|block_size", "[2,2]"},
    Named{"pad|padding|output_padding|offset|storage_offset", "[0,0]"},
    Named{"dilation|repeats", "[1,1]"},
    Named{"split_sizes", "[8,8]"},
    Named{"normalized_shape", "[16]"},
};

template <class Table>
std::optional<string_view> by_name(const Table& table, string_view argument) {
  for (const Named& row : table) {
    if (any_matches(row.names, argument)) return row.value;
  }
  return std::nullopt;
}

std::string sizes_of(string_view tensor) {
  const std::size_t open = tensor.find('(');
  return "[" + std::string(tensor.substr(open + 1, tensor.size() - open - 2)) + "]";
}

// The list with `length` elements: the last one is repeated, or the list is cut. 0: the list as it
// is.
std::string of_length(string_view list, int length) {
  std::string result(list);
  if (length == 0) return result;
  auto count = static_cast<int>(std::ranges::count(list, ',')) + 1;
  const std::string last = result.substr(result.rfind(',') + 1);
  for (; count < length; ++count) {
    result.pop_back();
    result += ',' + last;
  }
  for (; count > length; --count) result = result.substr(0, result.rfind(',')) + ']';
  return result;
}

// The text of a value for an argument, from its type and its name.
std::string invent(const c10::Argument& argument, c10::TypePtr type, string_view tensor) {
  const string_view name = argument.name();
  while (type->kind() == c10::TypeKind::OptionalType) {
    type = type->expectRef<c10::OptionalType>().getElementType();
  }
  switch (type->kind()) {
    case c10::TypeKind::TensorType:
      return std::string(by_name(kTensorsByName, name).value_or(tensor));
    case c10::TypeKind::StringType:
      return "'mean'";
    case c10::TypeKind::BoolType:
      return std::string(by_name(kNumbersByName, name).value_or("false"));
    case c10::TypeKind::IntType:
      return std::string(argument.real_type()->kind() == c10::TypeKind::ScalarTypeType
                             ? "@float"
                             : by_name(kNumbersByName, name).value_or("1"));
    case c10::TypeKind::FloatType:
      return std::string(by_name(kNumbersByName, name).value_or("0.5"));
    case c10::TypeKind::NumberType:
      return tensor.front() == 'i' ? "2" : "0.5";
    case c10::TypeKind::ListType:
      break;
    case c10::TypeKind::GeneratorType:
      return "-";
    case c10::TypeKind::DeviceObjType:
      return "@cpu";
    default:
      throw std::invalid_argument("takes a " + argument.real_type()->str());
  }
  const c10::TypePtr element = type->expectRef<c10::ListType>().getElementType();
  std::string tensors = "[" + std::string(tensor) + " " + std::string(tensor) + "]";
  switch (element->kind()) {
    case c10::TypeKind::TensorType:
      return tensors;
    case c10::TypeKind::OptionalType:
      return "[i8(16)]";
    case c10::TypeKind::IntType: {
      const auto known = by_name(kListsByName, name).value_or("[1,1]");
      if (known.empty()) return sizes_of(tensor);
      return of_length(known, argument.N().value_or(0));
    }
    case c10::TypeKind::FloatType:
    case c10::TypeKind::NumberType:
      return tensor.front() == 'i' ? "[2,3]" : "[0.5,0.25]";
    case c10::TypeKind::BoolType:
      return of_length("[true,true]", argument.N().value_or(0));
    default:
      throw std::invalid_argument("takes a " + argument.real_type()->str());
  }
}

// Makes the out= tensors. A call with empty ones tells the sizes. The dtypes are tried in turn.
void make_outputs(const c10::OperatorHandle& op, std::vector<c10::IValue>& values,
                  const std::vector<std::size_t>& outputs) {
  constexpr std::array<std::array<at::ScalarType, 2>, 10> kDtypes = {
      {{at::kFloat, at::kFloat},
       {at::kFloat, at::kLong},
       {at::kLong, at::kLong},
       {at::kBool, at::kBool},
       {at::kComplexFloat, at::kComplexFloat},
       {at::kFloat, at::kInt},
       {at::kDouble, at::kDouble},
       {at::kComplexFloat, at::kFloat},
       {at::kFloat, at::kBool},
       {at::kInt, at::kInt}}};
  std::string first_error;
  for (const auto& dtypes : kDtypes) {
    torch::jit::Stack stack(values.begin(), values.end());
    std::vector<at::Tensor> made;
    for (const std::size_t i : outputs) {
      const bool first = made.empty();
      made.push_back(at::empty({0}, at::TensorOptions(first ? dtypes[0] : dtypes[1])));
      stack[i] = made.back();
    }
    try {
      op.callBoxed(&stack);
    } catch (const std::exception& error) {
      if (first_error.empty()) first_error = error.what();
      continue;
    }
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      values[outputs[i]] = at::ones_like(made[i]);
    }
    return;
  }
  throw std::runtime_error(first_error);
}

}  // namespace

std::optional<std::vector<c10::IValue>> arguments_for(const c10::OperatorHandle& op,
                                                      std::size_t attempt) {
  if (attempt >= kTensors.size()) return std::nullopt;
  const string_view tensor = kTensors[attempt];
  const c10::FunctionSchema& schema = op.schema();
  std::vector<c10::IValue> values;
  std::vector<std::size_t> outputs;
  for (const c10::Argument& argument : schema.arguments()) {
    const c10::TypePtr type = plain_type(argument.type());
    const auto written = from_table(base_name(schema), argument.name());
    if (const auto value = written ? parsed(*written, type) : std::nullopt) {
      values.push_back(*value);
    } else if (argument.default_value()) {
      values.push_back(*argument.default_value());
    } else if (argument.is_out() && type->kind() == c10::TypeKind::TensorType) {
      outputs.push_back(values.size());
      values.emplace_back(at::Tensor());
    } else {
      values.push_back(parse_value(invent(argument, type, tensor), type));
    }
  }
  if (!outputs.empty()) make_outputs(op, values, outputs);
  return values;
}

}  // namespace neap::test
