# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""For `accelerate`.

>>> from torch_neap.integrations.accelerate import attach
>>> model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
>>> attached = attach(optimizer, "8GiB")
"""

from __future__ import annotations

import os

from accelerate.optimizer import AcceleratedOptimizer

from torch_neap import _attachment, _offload


def attach(
    optimizer: AcceleratedOptimizer,
    budget: int | str,
    *,
    online: bool = False,
    cache: str | os.PathLike[str] | None = None,
    offload: _offload.Place | None = None,
) -> _attachment.Attachment:
    """As `torch_neap.attach`, for an optimizer that `Accelerator.prepare()` has returned."""
    return _attachment.attach(
        optimizer.optimizer, budget, online=online, cache=cache, offload=offload
    )
