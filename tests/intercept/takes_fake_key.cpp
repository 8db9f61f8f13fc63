// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Loaded before a test program, this takes the dispatch key that neap prefers, as a later LibTorch
// may. neap must then be as good on its second key.
#include <torch/library.h>

TORCH_LIBRARY_IMPL(_, Fake, m) { m.fallback(torch::CppFunction::makeFallthrough()); }
