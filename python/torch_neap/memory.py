# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""How many bytes PyTorch holds on the CPU. The counts are the allocator's, so they are exact."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

from torch_neap import _library


@dataclass(frozen=True)
class Usage:
    """What the allocator holds, in bytes.

    Attributes
    ----------
    requested
        As the program asked for them.
    live
        Of all tensors, with rounding.
    cached
        Kept for later tensors.
    reserved
        Taken from the system: `live` and `cached`. A budget limits this.
    peak, peak_reserved
        The largest `live` and `reserved` since `reset_peak()`.
    unseen
        Of tensors from before neap was imported, as far as it has met them.
    allocations
        How many there were; no bytes.
    """

    requested: int
    live: int
    cached: int
    reserved: int
    peak: int
    peak_reserved: int
    unseen: int
    allocations: int


def usage() -> Usage:
    """Read the counts of this moment."""
    figures = (ctypes.c_int64 * 8)()
    _library.memory_usage(figures)
    return Usage(*figures)


def reset_peak() -> None:
    """Let `Usage.peak` and `Usage.peak_reserved` start anew."""
    _library.memory_reset_peak()


def trim() -> int:
    """Give cached memory back to the system, and return its bytes."""
    return int(_library.memory_trim())


def left() -> int:
    """Count the bytes that the machine or its container leaves; 0 where that is not known."""
    return int(_library.memory_left())


def text(count: int) -> str:
    """Write a number of bytes as people read it, as ``1.5 GiB``."""
    written: bytes = _library.bytes_text(count)
    return written.decode()
