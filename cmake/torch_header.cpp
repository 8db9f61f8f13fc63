// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// The file whose compilation makes the precompiled torch/torch.h that others share.
#include <torch/torch.h>
