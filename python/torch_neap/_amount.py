# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""What a user writes for a budget: bytes, a share of a step's activations, or `auto`."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

from torch_neap import _errors, _library, memory

_LEAST_MARGIN = 64 << 20
_MOST_PERCENT = 1000


@dataclass(frozen=True)
class Amount:
    """A budget as it was written. One of `bytes` and `percent` is set, or neither for `auto`."""

    text: str
    bytes: int | None = None
    percent: float | None = None

    @staticmethod
    def parse(budget: int | str) -> Amount:
        """Read a budget.

        Parameters
        ----------
        budget
            Bytes, as a number or a text such as ``"1.5GiB"``; a share of the activations of a plain
            step, such as ``"50%"``; or ``"auto"``, what the machine or its container leaves.

        Raises
        ------
        InvalidArgument
            When it is none of these.
        """
        if isinstance(budget, bool) or not isinstance(budget, int | str):
            raise _errors.InvalidArgument(
                f"a budget of {budget!r}: write bytes, as 8589934592 or '8GiB', a share, as '50%', "
                "or 'auto'"
            )
        if isinstance(budget, int):
            return Amount(memory.text(budget), bytes=_positive(budget, str(budget)))
        text = budget.strip()
        if text == "auto":
            return Amount(text)
        if text.endswith("%"):
            return Amount(text, percent=_share(text))
        count = ctypes.c_int64()
        _library.check(_library.parse_bytes(text.encode(), ctypes.byref(count)))
        return Amount(text, bytes=_positive(count.value, text))


def _positive(count: int, text: str) -> int:
    if count <= 0:
        raise _errors.InvalidArgument(f"a budget of {text}: it must be more than 0 bytes")
    return count


def _share(text: str) -> float:
    try:
        percent = float(text[:-1])
    except ValueError:
        percent = 0.0
    if not 0 < percent <= _MOST_PERCENT:
        raise _errors.InvalidArgument(
            f"'{text}' is not a share: write a number above 0 and up to {_MOST_PERCENT} before the "
            "%, as '50%'"
        )
    return percent


def what_is_left() -> int:
    """Count the bytes that the machine or its container leaves, less a margin of a tenth."""
    memory.trim()
    left = memory.left()
    if left == 0:
        raise _errors.Error(
            "a budget of auto: what is left of memory is not known here, or nothing is; name bytes,"
            " as '1.5GiB'"
        )
    count = memory.usage().reserved + left - max(left // 10, _LEAST_MARGIN)
    if count <= 0:
        raise _errors.Error(
            f"a budget of auto: no more than {memory.text(left)} of memory are left; end other "
            "programs, or name bytes, as '40MiB'"
        )
    return count
