# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""Ranks that train together end together.

A rank whose budget is exceeded leaves the others in a collective, where they would wait for it. So
it says so in the store that the ranks share, and closes its connections. The others then get an
error from their collective, look into the store, and raise the same error as the first.
"""

from __future__ import annotations

import contextlib
import time
from typing import Any

import torch.distributed as dist

from torch_neap import _errors

_KEY = "torch_neap/refused"
_READ = "torch_neap/refused/read"
_PATIENCE = 10.0  # seconds


def _has_others() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def _leave(store: Any) -> None:
    """Close the connections. Rank 0, which has the store, stays until all others have read it."""
    rank, ranks = dist.get_rank(), dist.get_world_size()
    for group in list(dist.distributed_c10d._world.pg_map):
        group.abort()
    store.add(_READ, 1)
    end = time.monotonic() + _PATIENCE
    while rank == 0 and store.add(_READ, 0) < ranks and time.monotonic() < end:
        time.sleep(0.01)


def tell_others(error: _errors.BudgetExceeded) -> None:
    """Say that this rank was refused, so that the others do not wait for it."""
    if not _has_others():
        return
    store = dist.distributed_c10d._get_default_store()
    with contextlib.suppress(RuntimeError):  # the store may be gone with another rank
        store.set(_KEY, f"rank {dist.get_rank()}: {error}")
        _leave(store)


def refusal_of_another() -> _errors.BudgetExceeded | None:
    """The error of a rank that was refused; None where there is none."""
    if not _has_others():
        return None
    store = dist.distributed_c10d._get_default_store()
    with contextlib.suppress(RuntimeError):
        if store.check([_KEY]):
            text = store.get(_KEY).decode()
            _leave(store)
            return _errors.BudgetExceeded(text)
    return None
