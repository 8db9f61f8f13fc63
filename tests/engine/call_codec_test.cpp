// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// These bytes are the only source of a replay's arguments. What is lost on the way (an offset, a
// stride, a flag) gives a wrong gradient. So each kind of argument is written, read again and
// compared.
#include "engine/call_codec.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace neap::engine {
namespace {

using torch::jit::Stack;

// Storages by use and number. Counts how often each was asked for.
class Storages final : public StorageSource {
 public:
  c10::Storage storage(Use use, std::uint16_t reference) override {
    ++asked[{use, reference}];
    const auto found = known.find({use, reference});
    return found != known.end()
               ? found->second
               : c10::Storage(c10::Storage::use_byte_size_t(), 0, c10::DataPtr(), nullptr, false);
  }
  [[nodiscard]] at::Generator generator() const override { return theirs; }

  std::map<std::pair<Use, std::uint16_t>, c10::Storage> known;
  std::map<std::pair<Use, std::uint16_t>, int> asked;
  at::Generator theirs;
};

Operand operand(const at::Tensor& tensor, Use use, std::uint16_t reference) {
  return {tensor.unsafeGetTensorImpl(), nullptr, reference, 0, use};
}

Stack there_and_back(const std::vector<c10::IValue>& arguments,
                     const std::vector<Operand>& operands, Storages& storages) {
  Code code;
  EXPECT_TRUE(encode(arguments, operands, code));
  Stack stack;
  decode(code.bytes(), arguments.size(), storages, stack);
  EXPECT_EQ(stack.size(), arguments.size());
  return stack;
}
Stack there_and_back(const std::vector<c10::IValue>& arguments) {
  Storages storages;
  return there_and_back(arguments, {}, storages);
}
std::size_t bytes_of(const std::vector<c10::IValue>& arguments,
                     const std::vector<Operand>& operands = {}) {
  Code code;
  EXPECT_TRUE(encode(arguments, operands, code));
  return code.bytes().size();
}

TEST(CallCodec, numbers_come_back_with_their_type_and_every_bit) {
  constexpr std::int64_t kLeast = std::numeric_limits<std::int64_t>::min();
  constexpr double kTiny = std::numeric_limits<double>::denorm_min();
  const Stack stack = there_and_back({std::int64_t{7}, kLeast, 0.1, kTiny, -0.0, true, false,
                                      c10::complex<double>(0.25, -3), c10::IValue(),
                                      std::string("mean"), std::string(), std::string("a\0b", 3)});
  EXPECT_EQ(stack[0].toInt(), 7);
  EXPECT_EQ(stack[1].toInt(), kLeast);
  EXPECT_EQ(stack[2].toDouble(), 0.1);
  EXPECT_EQ(stack[3].toDouble(), kTiny);
  EXPECT_TRUE(std::signbit(stack[4].toDouble()));
  ASSERT_TRUE(stack[5].isBool());
  EXPECT_TRUE(stack[5].toBool());
  ASSERT_TRUE(stack[6].isBool());
  EXPECT_FALSE(stack[6].toBool());
  EXPECT_EQ(stack[7].toComplexDouble(), c10::complex<double>(0.25, -3));
  EXPECT_TRUE(stack[8].isNone());
  EXPECT_EQ(stack[9].toStringRef(), "mean");
  EXPECT_EQ(stack[10].toStringRef(), "");
  EXPECT_EQ(stack[11].toStringRef(), std::string("a\0b", 3));
}

TEST(CallCodec, a_number_that_is_not_a_number_keeps_its_payload) {
  const std::uint64_t bits = 0x7ff800000000beefULL;
  double value = 0;
  std::memcpy(&value, &bits, sizeof value);
  const double back = there_and_back({value})[0].toDouble();
  EXPECT_EQ(std::memcmp(&back, &value, sizeof value), 0);
}

// In `x * 2` with x on another device, the 2 is on the host and has no block.
TEST(CallCodec, numbers_of_the_host_come_back_as_tensors_of_their_own) {
  const std::vector<c10::Scalar> numbers = {2, -0.1, true, c10::complex<double>(1, -1)};
  for (const c10::Scalar& number : numbers) {
    at::Tensor tensor = at::scalar_tensor(number, at::dtype(number.type()));
    tensor.unsafeGetTensorImpl()->set_wrapped_number(true);
    Storages storages;
    const Stack stack =
        there_and_back({tensor, std::int64_t{7}}, {operand(tensor, Use::Number, 0)}, storages);
    const at::Tensor back = stack[0].toTensor();
    EXPECT_TRUE(torch::equal(back, tensor));
    EXPECT_EQ(back.dtype(), tensor.dtype());
    EXPECT_EQ(back.dim(), 0);
    EXPECT_TRUE(back.unsafeGetTensorImpl()->is_wrapped_number());
    EXPECT_FALSE(back.is_alias_of(tensor));
    EXPECT_EQ(stack[1].toInt(), 7);
    EXPECT_TRUE(storages.asked.empty());
  }
}

TEST(CallCodec, lists_devices_and_mixed_numbers_come_back) {
  const std::vector<std::int64_t> ints{1, -2, std::int64_t{1} << 40};
  c10::List<c10::Scalar> scalars;
  for (const c10::Scalar& scalar : {c10::Scalar(2), c10::Scalar(0.5), c10::Scalar(true)}) {
    scalars.push_back(scalar);
  }
  const Stack stack = there_and_back({c10::IValue(ints), c10::IValue(std::vector<std::int64_t>{}),
                                      c10::IValue(std::vector<double>{0.1, -0.5}),
                                      c10::IValue(c10::List<bool>({true, false, true})),
                                      c10::Device(c10::kCUDA, 3), c10::IValue(scalars)});
  EXPECT_EQ(stack[0].toIntVector(), ints);
  EXPECT_TRUE(stack[1].isIntList());
  EXPECT_TRUE(stack[1].toIntVector().empty());
  EXPECT_EQ(stack[2].toDoubleVector(), (std::vector<double>{0.1, -0.5}));
  EXPECT_EQ(stack[3].toBoolList().vec(), (std::vector<bool>{true, false, true}));
  EXPECT_EQ(stack[4].toDevice(), c10::Device(c10::kCUDA, 3));
  const auto elements = stack[5].toListRef();
  ASSERT_EQ(elements.size(), 3U);
  EXPECT_EQ(elements[0].toInt(), 2);
  EXPECT_EQ(elements[1].toDouble(), 0.5);
  EXPECT_TRUE(elements[2].toScalar().isBoolean());
}

// Compares everything that a kernel can see of a tensor, on the same bytes.
void expect_same_view(const at::Tensor& expected, const at::Tensor& actual) {
  EXPECT_EQ(actual.sizes(), expected.sizes());
  EXPECT_EQ(actual.strides(), expected.strides());
  EXPECT_EQ(actual.storage_offset(), expected.storage_offset());
  EXPECT_EQ(actual.dtype(), expected.dtype());
  EXPECT_EQ(actual.is_conj(), expected.is_conj());
  EXPECT_EQ(actual.is_neg(), expected.is_neg());
  EXPECT_EQ(actual.unsafeGetTensorImpl()->is_wrapped_number(),
            expected.unsafeGetTensorImpl()->is_wrapped_number());
  EXPECT_EQ(actual.requires_grad(), expected.requires_grad());
  if (expected.numel() > 0) {
    EXPECT_EQ(actual.const_data_ptr(), expected.const_data_ptr());
  }
}

TEST(CallCodec, a_tensor_comes_back_as_the_same_view_of_the_same_storage) {
  const at::Tensor base = torch::randn({6, 8});
  const at::Tensor wrapped = torch::scalar_tensor(2.5, torch::kDouble);
  wrapped.unsafeGetTensorImpl()->set_wrapped_number(true);
  const at::Tensor leaf = torch::randn({3}).requires_grad_();
  const at::Tensor pairs = torch::randn({4, 2}, torch::kComplexFloat);
  const std::vector<std::pair<const char*, at::Tensor>> cases{
      {"whole", base},
      {"a part", base.narrow(0, 2, 3)},
      {"transposed", base.t()},
      {"every other", base.slice(1, 1, 8, 2)},
      {"spread", base.narrow(0, 0, 1).expand({5, 8})},
      {"no dimension", base[1][1]},
      {"empty", base.narrow(0, 0, 0)},
      {"int8", torch::arange(9, torch::kInt8).view({3, 3})},
      {"channels last", torch::randn({2, 3, 4, 5}).contiguous(at::MemoryFormat::ChannelsLast)},
      {"conjugate", pairs.conj()},
      {"negative", at::_neg_view(base)},
      {"wrapped", wrapped},
      {"with gradient", leaf}};
  for (const auto& [name, tensor] : cases) {
    SCOPED_TRACE(name);
    Storages storages;
    storages.known.insert({{Use::Read, 9}, tensor.storage()});
    const Stack stack = there_and_back({tensor}, {operand(tensor, Use::Read, 9)}, storages);
    expect_same_view(tensor, stack[0].toTensor());
  }
}

TEST(CallCodec, sizes_that_need_64_bits_keep_them) {
  // One number, expanded to 3,000,000,000.
  const at::Tensor far = torch::ones({1}).expand({3'000'000'000});
  Storages storages;
  storages.known.insert({{Use::Read, 0}, far.storage()});
  const Stack stack = there_and_back({far}, {operand(far, Use::Read, 0)}, storages);
  EXPECT_EQ(stack[0].toTensor().size(0), 3'000'000'000);
  EXPECT_EQ(stack[0].toTensor().stride(0), 0);
  // The narrow form has a tag, flags, type, dimensions and reference, then 4 bytes for each extent.
  // The strides of a dense tensor follow from the extents.
  const at::Tensor near = torch::ones({2, 3});
  EXPECT_EQ(bytes_of({near}, {operand(near, Use::Read, 0)}), 1 + 2 + 1 + 1 + 2 + 2 * 4U);
  EXPECT_EQ(bytes_of({near.t()}, {operand(near.t(), Use::Read, 0)}), 7 + 4 * 4U);
  EXPECT_EQ(bytes_of({near[1]}, {operand(near[1], Use::Read, 0)}), 7 + 8 + 4U) << "an offset";
  EXPECT_EQ(bytes_of({far}, {operand(far, Use::Read, 0)}), 7 + 2 * 8U);
}

TEST(CallCodec, each_operand_asks_for_its_own_storage_and_one_that_is_written_once_for_none) {
  const at::Tensor a = torch::ones({2}), b = torch::ones({3}), c = torch::ones({4}),
                   d = torch::ones({5});
  Storages storages;
  storages.known.insert({{Use::Read, 1}, a.storage()});
  storages.known.insert({{Use::Write, 1}, b.storage()});
  const Stack stack = there_and_back({a, 3, b, c, d},
                                     {operand(a, Use::Read, 1), operand(b, Use::Write, 1),
                                      operand(c, Use::Unread, 7), operand(d, Use::Once, 8)},
                                     storages);
  EXPECT_EQ(stack[0].toTensor().const_data_ptr(), a.const_data_ptr());
  EXPECT_EQ(stack[1].toInt(), 3);
  EXPECT_EQ(stack[2].toTensor().const_data_ptr(), b.const_data_ptr());
  EXPECT_EQ(stack[3].toTensor().sizes(), c.sizes()) << "its shape alone is looked at";
  EXPECT_FALSE(stack[4].toTensor().defined()) << "a replay leaves running statistics alone";
  const std::map<std::pair<Use, std::uint16_t>, int> expected{
      {{Use::Read, 1}, 1}, {{Use::Write, 1}, 1}, {{Use::Unread, 7}, 1}};
  EXPECT_EQ(storages.asked, expected);
}

TEST(CallCodec, lists_of_tensors_keep_undefined_and_absent_ones_in_their_places) {
  const at::Tensor a = torch::ones({2}), b = torch::ones({3});
  Storages storages;
  storages.known.insert({{Use::Read, 0}, a.storage()});
  storages.known.insert({{Use::Read, 1}, b.storage()});
  const c10::List<at::Tensor> all({a, at::Tensor(), b});
  c10::List<std::optional<at::Tensor>> some;
  some.push_back(std::nullopt);
  some.push_back(b);
  const Stack stack = there_and_back(
      {all, at::Tensor(), some},
      {operand(a, Use::Read, 0), operand(b, Use::Read, 1), operand(b, Use::Read, 1)}, storages);
  const std::vector<at::Tensor> back = stack[0].toTensorVector();
  ASSERT_EQ(back.size(), 3U);
  EXPECT_EQ(back[0].const_data_ptr(), a.const_data_ptr());
  EXPECT_FALSE(back[1].defined());
  EXPECT_EQ(back[2].const_data_ptr(), b.const_data_ptr());
  EXPECT_FALSE(stack[1].toTensor().defined());
  ASSERT_TRUE(stack[2].isOptionalTensorList());
  const auto optional = stack[2].toOptionalTensorVector();
  EXPECT_FALSE(optional[0].has_value());
  EXPECT_EQ(optional[1]->const_data_ptr(), b.const_data_ptr());
}

TEST(CallCodec, a_generator_is_the_one_that_the_source_names) {
  Storages storages;
  storages.theirs = at::detail::createCPUGenerator(3);
  const Stack stack = there_and_back({at::detail::getDefaultCPUGenerator(), 1}, {}, storages);
  EXPECT_EQ(stack[0].toGenerator(), storages.theirs);
  EXPECT_EQ(stack[1].toInt(), 1);
}

TEST(CallCodec, what_cannot_be_written_down_is_refused) {
  Code code;
  const c10::Dict<std::string, std::int64_t> dictionary;
  EXPECT_FALSE(encode(std::vector<c10::IValue>{1, c10::IValue(dictionary)}, {}, code));
  code.clear();
  const c10::List<std::string> strings({"a"});
  EXPECT_FALSE(encode(std::vector<c10::IValue>{c10::IValue(strings)}, {}, code));
  code.clear();
  EXPECT_TRUE(encode(std::vector<c10::IValue>{1}, {}, code)) << "and the next call is as before";
}

TEST(Code, bytes_stay_as_it_grows_and_clearing_keeps_the_room) {
  Code code;
  std::string expected;
  for (int i = 0; i < 1000; ++i) {
    const auto size = static_cast<std::size_t>(i % 7);
    std::uint8_t* const at = code.append(size);
    for (std::size_t k = 0; k < size; ++k) at[k] = static_cast<std::uint8_t>(i + 3 * k);
    for (std::size_t k = 0; k < size; ++k) {
      expected.push_back(static_cast<char>(static_cast<std::uint8_t>(i + 3 * k)));
    }
  }
  ASSERT_EQ(code.bytes().size(), expected.size());
  EXPECT_EQ(std::memcmp(code.bytes().data(), expected.data(), expected.size()), 0);
  const std::uint8_t* const place = code.bytes().data();
  code.clear();
  EXPECT_TRUE(code.bytes().empty());
  EXPECT_EQ(code.append(expected.size()), place);
}

}  // namespace
}  // namespace neap::engine
