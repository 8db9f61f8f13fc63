// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// A tensor has more than storage, sizes and strides: it may be lazily conjugated or negated. A
// recipe without these bits gives the wrong sign of all imaginary parts. Also, t_() and similar
// operators look like writes but write nothing. If they raised the version, a replay would ask for
// a recipe that does not exist (crash or "lost the recipe").
#include "regression/evicting.h"

namespace neap::test {
namespace {

at::Tensor complex(std::int64_t rows, std::int64_t columns) {
  torch::manual_seed(9);
  return torch::randn({rows, columns}, torch::kComplexFloat);
}

TEST(ArgumentBits, a_product_with_a_conjugated_matrix_comes_back_conjugated) {
  const at::Tensor a = complex(24, 24);
  const at::Tensor b = complex(24, 24);
  EXPECT_EQ(expect_same_bytes_when_back([&] { return a.conj().mm(b); }), 1);
  EXPECT_EQ(expect_same_bytes_when_back([&] { return a.mm(b.conj().t()); }), 1);
  EXPECT_EQ(expect_same_bytes_when_back([&] { return a.conj().mm(b.conj()); }), 1);
}

TEST(ArgumentBits, what_reads_the_negated_imaginary_part_of_a_conjugate_comes_back_negated) {
  const at::Tensor a = complex(24, 24);
  ASSERT_TRUE(torch::imag(a.conj()).is_neg());
  EXPECT_EQ(expect_same_bytes_when_back([&] { return torch::imag(a.conj()) + 1; }), 2)
      << "the negation is made real, then the sum";
}

TEST(ArgumentBits, a_conjugate_of_an_evicted_tensor_is_the_conjugate_of_its_bytes) {
  const at::Tensor a = complex(24, 24);
  at::Tensor made;
  const Counts counts;
  checkpoint([&] { made = (a * 2).conj(); });
  EXPECT_TRUE(evicted(made));
  EXPECT_TRUE(made.is_conj());
  EXPECT_EQ(
      first_difference(bytes_of({(a * 2).conj().resolve_conj()}), bytes_of({made.resolve_conj()})),
      std::nullopt);
  EXPECT_EQ(counts.replays(), 1);
}

TEST(ArgumentBits, complex_gradients_are_the_same_under_a_budget) {
  expect_same_bytes_under_budgets(
      [] {
        at::Tensor weight = (complex(48, 48) * 0.1).detach().requires_grad_();
        at::Tensor x = complex(48, 48);
        for (int i = 0; i < 10; ++i) x = torch::tanh(x.conj().mm(weight)) + x * 0.5;
        torch::real(x).sum().backward();
        return std::vector<at::Tensor>{weight.grad()};
      },
      {70, 60});
}

TEST(InplaceViews, write_no_data_so_the_tensor_comes_back_with_its_new_shape) {
  const at::Tensor x = torch::randn({24, 40});
  const std::vector<std::function<void(at::Tensor&)>> changes{
      [](at::Tensor& t) { t.t_(); },
      [](at::Tensor& t) { t.transpose_(0, 1); },
      [](at::Tensor& t) { t.unsqueeze_(1); },
      [](at::Tensor& t) { t.unsqueeze_(0).squeeze_(); },
      [](at::Tensor& t) {
        t.as_strided_({40, 12}, {1, 40});
      },
      [](at::Tensor& t) { t.swapaxes_(0, 1); },
      [](at::Tensor& t) { t.detach_(); },
  };
  for (std::size_t i = 0; i < changes.size(); ++i) {
    SCOPED_TRACE(i);
    EXPECT_EQ(expect_same_bytes_when_back([&] {
                at::Tensor made = x * 2;
                changes[i](made);
                return made;
              }),
              1);
    EXPECT_EQ(expect_same_bytes_when_back([&] {
                at::Tensor made = x * 2;
                changes[i](made);
                made.add_(1);
                at::Tensor other = made * 3;
                made.mul_(2);
                return other;
              }),
              3);
  }
}

TEST(InplaceViews, of_an_evicted_tensor_replay_nothing) {
  const at::Tensor x = torch::randn({24, 40});
  const Counts counts;
  at::Tensor made = made_in_region([&] { return x * 2; });
  ASSERT_TRUE(evicted(made));
  made.t_();
  EXPECT_TRUE(evicted(made));
  EXPECT_EQ(counts.replays(), 0);
  EXPECT_EQ(first_difference(bytes_of({(x * 2).t()}), bytes_of({made})), std::nullopt);
  EXPECT_EQ(counts.replays(), 1);
}

}  // namespace
}  // namespace neap::test
