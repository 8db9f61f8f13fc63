# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""The errors of neap.

An operator that fails raises what PyTorch's binding knows: `torch.OutOfMemoryError` where the
budget is exceeded, `RuntimeError` otherwise. Where the error leaves a scope it gets its own class,
which derives from these.
"""

from __future__ import annotations

import torch


class Error(RuntimeError):
    """Base of all errors of neap."""


class InvalidArgument(Error, ValueError):
    """A value that means nothing, such as a budget of 0 bytes."""


class ScopeConflict(Error):
    """Two scopes cannot be open together."""


class Interrupted(Error):
    """`neap.interrupt()` was called, and the next operator has raised."""


class ReplayError(Error):
    """An operator did not do the same when it ran again."""


class HandWritten(Error):
    """Bytes were written by hand that an evicted tensor would have to be made from again."""


class OffloadError(Error):
    """What was copied to a file cannot be read back, and nothing can make it again."""


class OutOfMemory(Error, torch.OutOfMemoryError):
    """The system has no memory left."""


class BudgetExceeded(Error, torch.OutOfMemoryError):
    """The budget cannot hold what must be in memory at one moment.

    Attributes
    ----------
    need : int
        The bytes of the allocation that was refused.
    in_use : int
        The bytes in use when it was refused.
    budget : int
        The budget, in bytes.
    smallest_feasible : int or None
        A budget in bytes that is known to hold the step.
    """

    need: int = 0
    in_use: int = 0
    budget: int = 0
    smallest_feasible: int | None = None


# In the order of `Class` in bindings.cpp, after its None.
_CLASSES: list[type[Error]] = [
    Error,
    InvalidArgument,
    ScopeConflict,
    Interrupted,
    ReplayError,
    HandWritten,
    OffloadError,
    OutOfMemory,
    BudgetExceeded,
]


def make(number: int, text: str, figures: list[int]) -> Error:
    """Make the error that the library has reported."""
    error = _CLASSES[number - 1](text)
    if isinstance(error, BudgetExceeded):
        error.need, error.in_use, error.budget = figures[:3]
        error.smallest_feasible = figures[3] or None
    return error
