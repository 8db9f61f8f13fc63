// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "intercept/storage_access.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace neap::intercept {
namespace {

std::vector<void*> deaths;
void write_down(void* record) { deaths.push_back(record); }

std::string refusal(const std::function<void()>& access) {
  try {
    access();
  } catch (const c10::Error& error) {
    return error.what_without_backtrace();
  }
  return "";
}

// Takes the memory out of the storage and returns it.
c10::DataPtr take_out(const at::Tensor& tensor, void* record, const char* message) {
  c10::StorageImpl& storage = *storage_of(tensor);
  c10::DataPtr memory = std::move(data_ptr_of(storage));
  put_absent(storage, record, &write_down, message);
  return memory;
}

TEST(StorageAccess, each_access_throws_while_the_memory_is_out_and_finds_it_when_it_is_back) {
  deaths.clear();
  int record = 0;
  const at::Tensor x = torch::arange(4, torch::kFloat);
  const at::Tensor view = x.narrow(0, 1, 2);
  const void* const place = x.const_data_ptr();
  for (int round = 0; round < 2; ++round) {
    c10::DataPtr memory = take_out(x, &record, "it is away");
    EXPECT_EQ(memory.get(), place);
    for (const at::Tensor& each : {x, view}) {
      EXPECT_NE(refusal([&] { (void)each.const_data_ptr(); }).find("it is away"),
                std::string::npos);
      EXPECT_NE(refusal([&] { (void)each.data_ptr(); }).find("it is away"), std::string::npos);
      EXPECT_NE(refusal([&] { (void)each.mutable_data_ptr(); }).find("it is away"),
                std::string::npos);
    }
    EXPECT_EQ(x.nbytes(), 16U) << "its sizes are as before";
    put_back(*storage_of(x), std::move(memory));
    EXPECT_EQ(x.const_data_ptr(), place);
    EXPECT_EQ(view.mutable_data_ptr(), static_cast<const char*>(place) + 4);
    EXPECT_EQ(x.sum().item<float>(), 6);
  }
  EXPECT_EQ(deaths, (std::vector<void*>{&record, &record}))
      << "of what stood in its place, each time";
}

TEST(StorageAccess, a_storage_that_dies_while_its_memory_is_out_tells_its_record) {
  deaths.clear();
  int record = 0;
  at::Tensor x = torch::ones({4});
  const c10::DataPtr memory = take_out(x, &record, "it is away");
  EXPECT_TRUE(deaths.empty());
  x.reset();
  EXPECT_EQ(deaths, std::vector<void*>{&record});
}

TEST(StorageAccess, what_is_not_a_dense_tensor_of_the_cpu_is_left_alone) {
  const at::Tensor dense = torch::randn({3, 3});
  const at::Tensor pairs = torch::randn({3}, torch::kComplexFloat);
  for (const at::Tensor& plain :
       {dense, dense.t(), dense.clone().requires_grad_(), pairs.conj(), at::_neg_view(dense)}) {
    EXPECT_TRUE(is_plain(*plain.unsafeGetTensorImpl()));
  }
  for (const at::Tensor& other : {dense.to_sparse(), at::empty({3}, at::kMeta),
                                  at::quantize_per_tensor(dense, 0.1, 0, at::kQInt8)}) {
    EXPECT_FALSE(is_plain(*other.unsafeGetTensorImpl())) << other.toString();
  }
  EXPECT_FALSE(has_materializer(*storage_of(dense)));
}

TEST(StorageAccess, a_tensor_without_a_storage_has_none) {
  EXPECT_EQ(storage_of(at::Tensor()), nullptr);
  EXPECT_EQ(storage_of(torch::randn({2, 2}).to_sparse()), nullptr);
  const at::Tensor x = torch::ones({2});
  EXPECT_EQ(storage_of(x), x.storage().unsafeGetStorageImpl());
  EXPECT_EQ(storage_of(x.view({2, 1})), storage_of(x));
}

}  // namespace
}  // namespace neap::intercept
