// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Tensors of a safetensors file as data. Arrays of numpy go the same way: own_files_test.cpp.
#include "data/files.h"
#include "safetensors/safetensors.h"
#include "support/bytes.h"
#include "support/message_of.h"

#include <gmock/gmock.h>
#include <neap/data.h>
#include <torch/torch.h>

#include <fstream>
#include <span>

namespace neap::data {
namespace {

using testing::HasSubstr;

class Tensors : public WithFolder {
 protected:
  struct Named {
    std::string name, type;
    at::Tensor items;
  };
  [[nodiscard]] std::string write(const std::vector<Named>& all) const {
    std::vector<safetensors::Tensor> tensors;
    for (const Named& one : all) {
      const std::span bytes(static_cast<const std::byte*>(one.items.const_data_ptr()),
                            one.items.nbytes());
      tensors.push_back({one.name, one.type, one.items.sizes().vec(), bytes});
    }
    safetensors::write(folder_ / "set.safetensors", tensors);
    return "safetensors:" + (folder_ / "set.safetensors").string();
  }
  static std::string why(const std::string& spec) {
    return test::message_of<std::exception>([&] { open(spec); });
  }
  const at::Tensor labels_ = torch::arange(20, torch::kLong).remainder(2);
};

TEST_F(Tensors, x_and_y_or_those_of_two_names_are_read_in_all_types) {
  const at::Tensor numbers = torch::arange(60, torch::kFloat).view({20, 3});
  for (const auto& [type, dtype] : {std::pair("F32", torch::kFloat),
                                    {"F64", torch::kDouble},
                                    {"F16", torch::kHalf},
                                    {"BF16", torch::kBFloat16},
                                    {"I8", torch::kChar},
                                    {"U8", torch::kByte},
                                    {"I16", torch::kShort},
                                    {"I32", torch::kInt},
                                    {"I64", torch::kLong}}) {
    const Splits splits = open(write({{"x", type, numbers.to(dtype)}, {"y", "I64", labels_}}));
    EXPECT_EQ(splits.training->size(), 18) << type;
    EXPECT_EQ(splits.classes, 2);
    EXPECT_EQ(splits.sample_shape, (std::vector<std::int64_t>{3}));
    EXPECT_EQ(test::bytes_of({splits.training->get(1)[0]}), test::bytes_of({numbers[1]})) << type;
  }
  const std::string spec =
      write({{"images", "U8", torch::arange(240, torch::kByte).view({20, 3, 2, 2})},
             {"labels", "U8", labels_.to(torch::kByte)},
             {"z", "F32", numbers}});
  const Splits pictures = open(spec + ":images:labels", {.test_percent = 50});
  EXPECT_EQ(pictures.sample_shape, (std::vector<std::int64_t>{3, 2, 2}));
  EXPECT_EQ(pictures.test->size(), 10);
  EXPECT_TRUE(pictures.scale.has_value()) << "uint8 of four dimensions are pictures";
  EXPECT_EQ(open(spec + ":z:labels").sample_shape, (std::vector<std::int64_t>{3}));
}

TEST_F(Tensors, what_cannot_be_used_is_named) {
  const at::Tensor numbers = torch::zeros({20, 3});
  EXPECT_THAT(why("safetensors:" + (folder_ / "nothing").string()), HasSubstr("cannot be opened"));
  EXPECT_THAT(why(write({{"a", "F32", numbers}, {"b", "I64", labels_}})),
              HasSubstr("set.safetensors: has no tensor x; it has a, b: name two of them, as "
                        "safetensors:FILE:images:labels"));
  EXPECT_THAT(
      why(write({{"x", "U32", numbers.to(torch::kInt)}, {"y", "I64", labels_}})),
      testing::AllOf(HasSubstr("tensor x at byte "), HasSubstr("is of the type U32; save")));
  EXPECT_THAT(why(write({{"x", "F32", numbers}, {"y", "F32", torch::zeros({20})}})),
              HasSubstr("set.safetensors: y: labels are one whole number a sample"));
  EXPECT_THAT(why(write({{"x", "F32", numbers}, {"y", "I64", labels_.slice(0, 0, 19)}})),
              HasSubstr("x: has 20 samples of 1 dimensions, and"));
  EXPECT_THAT(why(write({{"x", "F32", numbers}, {"y", "I64", labels_.sub(1)}})),
              HasSubstr("y: label 0 is -1"));
  EXPECT_THAT(why(write({{"x", "F32", torch::full({20, 1}, NAN)}, {"y", "I64", labels_}})),
              HasSubstr("sample 0 has a number that is not finite"));
  EXPECT_THAT(
      why(write({{"x", "U8", torch::zeros({20, 4, 4, 3}, torch::kByte)}, {"y", "I64", labels_}})),
      HasSubstr("its pictures seem to be (N, H, W, C)"));
  EXPECT_THAT(why(write({{"x", "F32", torch::zeros({20, 0})}, {"y", "I64", labels_}})),
              HasSubstr("x: has no numbers"));
}

// The reader of the format has its own tests and fuzzer; here it is what comes through.
TEST_F(Tensors, a_file_that_is_cut_short_is_refused_wherever_the_cut_is) {
  const std::string spec = write({{"x", "F32", torch::zeros({20, 3})}, {"y", "I64", labels_}});
  const std::filesystem::path path = folder_ / "set.safetensors";
  std::ifstream in(path, std::ios::binary);
  const std::string whole((std::istreambuf_iterator<char>(in)), {});
  for (std::size_t length = 0; length < whole.size(); length += 13) {
    file("set.safetensors", whole.substr(0, length));
    EXPECT_THAT(test::message_of<DataError>([&] { open(spec); }),
                testing::AllOf(HasSubstr("set.safetensors is no whole safetensors file: at byte "),
                               HasSubstr("take another copy of it")))
        << length;
  }
}

}  // namespace
}  // namespace neap::data
