# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""neap: trains any PyTorch model inside a memory budget, with the same bits.

>>> import torch_neap as neap
>>> with neap.budget("8GiB") as step:
...     loss = model(x).loss
...     loss.backward()
...     optimizer.step()

Importing it puts neap's allocator behind the CPU tensors of PyTorch. Import it before the first
tensor: the memory of older ones is not counted.
"""

from __future__ import annotations

import ctypes

import torch

from torch_neap import _addresses, _compiled, _library, memory
from torch_neap._attachment import Attachment, attach
from torch_neap._checkpoint import checkpoint, checkpoint_sequential, patch_checkpoint
from torch_neap._errors import (
    BudgetExceeded,
    Error,
    HandWritten,
    Interrupted,
    InvalidArgument,
    OffloadError,
    OutOfMemory,
    ReplayError,
    ScopeConflict,
)
from torch_neap._offload import Offload
from torch_neap._planning import (
    Analysis,
    Frontier,
    Plan,
    Trace,
    analyze,
    frontier,
    max_batch,
    plan,
    trace,
)
from torch_neap._scope import Stats, Step, budget, observe

__version__: str = _library.version().decode()

_library.check(_library.install())
_addresses.install()
_compiled.install()


def pin(tensor: torch.Tensor) -> torch.Tensor:
    """Keep the storage of a tensor in memory until `unpin()` or its death, and return the tensor.

    Raises
    ------
    BudgetExceeded
        When the storage is evicted and does not fit.
    """
    _library.check(_library.pin(tensor._cdata))
    return tensor


def unpin(tensor: torch.Tensor) -> None:
    """Undo one `pin()`."""
    _library.check(_library.unpin(tensor._cdata))


def expose(tensor: torch.Tensor) -> None:
    """Say that the bytes of a tensor will be written by hand while operators run.

    The storage stays in memory until the scope closes, and so does what is made from it.
    `Tensor.numpy()` and its kin say a little less by themselves: parameters and other tensors from
    before the scope are watched instead, and a write that comes too late raises `HandWritten`.

    Raises
    ------
    BudgetExceeded
        When what must come back does not fit.
    """
    _library.check(_library.expose(tensor._cdata))


def declare_replayable(name: str) -> None:
    """Say that the same inputs give the same bits in an operator of the program.

    What an operator that PyTorch does not ship makes stays in memory, unless this is said of it. It
    must only read its inputs and keep no state. One that draws random numbers takes a generator, or
    has the tag ``torch.Tag.nondeterministic_seeded``.

    Parameters
    ----------
    name
        Such as ``"my_ops::gate"``: all overloads of it, loaded or not.

    Raises
    ------
    InvalidArgument
        When the name has no namespace.
    """
    _library.check(_library.declare_replayable(name.encode()))


def is_evicted(tensor: torch.Tensor) -> bool:
    """Whether the storage of a tensor is evicted."""
    return bool(_library.is_evicted(tensor._cdata))


def interrupt() -> None:
    """Make the next operator inside a scope raise. Any thread may call it."""
    _library.interrupt()


def finish_planning() -> None:
    """Wait until no plan is being made. What the next scope does depends on no race then."""
    _library.check(_library.finish_planning())


def saved_report(loss: torch.Tensor) -> str:
    """Describe what PyTorch holds after a forward, for the backward of `loss`.

    Parameters
    ----------
    loss
        A tensor with a graph. Call it inside a scope: `budget` or `observe`.

    Raises
    ------
    InvalidArgument
        When the loss has no graph.
    Error
        When nothing is tracked in this thread.
    """
    text = ctypes.c_char_p()
    _library.check(_library.saved_report(loss._cdata, ctypes.byref(text)))
    assert text.value is not None
    return text.value.decode()


__all__ = [
    "Analysis",
    "Attachment",
    "BudgetExceeded",
    "Error",
    "Frontier",
    "HandWritten",
    "Interrupted",
    "InvalidArgument",
    "Offload",
    "OffloadError",
    "OutOfMemory",
    "Plan",
    "ReplayError",
    "ScopeConflict",
    "Stats",
    "Step",
    "Trace",
    "analyze",
    "attach",
    "budget",
    "checkpoint",
    "checkpoint_sequential",
    "declare_replayable",
    "expose",
    "finish_planning",
    "frontier",
    "interrupt",
    "is_evicted",
    "max_batch",
    "memory",
    "observe",
    "patch_checkpoint",
    "pin",
    "plan",
    "saved_report",
    "trace",
    "unpin",
]
