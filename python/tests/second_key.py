# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""A plugin of pytest that takes the dispatch key which neap prefers.

``pytest -p second_key`` then tests the package on its second key.
"""

import torch

LIBRARY = torch.library.Library("_", "IMPL")
LIBRARY.fallback(torch.library.fallthrough_kernel, "Fake")


def pytest_sessionfinish() -> None:
    """Fail if the tests ran on another key after all."""
    lines = torch._C._dispatch_dump("aten::zeros").splitlines()
    assert any("CustomRNGKeyId" in line and "neap" in line for line in lines), lines
