# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""Where a scope may copy tensors to that do not fit."""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass

from torch_neap import _errors, _library


@dataclass(frozen=True)
class Offload:
    """A directory for tensors that do not fit a budget, beside making them again.

    The file there has no name, and is gone when the process ends, however it ends.

    Parameters
    ----------
    directory
        It must exist. In a container, its cache of files counts as the container's memory.
    limit
        The most bytes of the file, as a number or a text such as ``"4GiB"``. Absent: what the file
        system gives.

    Examples
    --------
    >>> with neap.budget("20%", offload=neap.Offload("/scratch", limit="4GiB")) as step:
    ...     train_step()
    """

    directory: str | os.PathLike[str]
    limit: int | str | None = None

    def limit_bytes(self) -> int:
        """The limit in bytes; -1: none.

        Raises
        ------
        InvalidArgument
            When the limit means nothing.
        """
        if self.limit is None:
            return -1
        if isinstance(self.limit, bool) or not isinstance(self.limit, int | str):
            raise _errors.InvalidArgument(
                f"a limit of {self.limit!r}: write bytes, as 4294967296 or '4GiB'"
            )
        if isinstance(self.limit, int):
            count = self.limit
        else:
            parsed = ctypes.c_int64()
            _library.check(_library.parse_bytes(self.limit.encode(), ctypes.byref(parsed)))
            count = parsed.value
        if count <= 0:
            raise _errors.InvalidArgument(f"a limit of {self.limit}: it must be more than 0 bytes")
        return count


Place = Offload | str | os.PathLike[str]
"""What a user writes: a directory, or one with a limit."""


def directory_and_limit(place: Place | None) -> tuple[str, int]:
    """The directory, empty for none, and its limit in bytes, -1 for none."""
    if place is None:
        return "", -1
    if not isinstance(place, Offload):
        place = Offload(place)
    directory = os.fspath(place.directory)
    if not directory:
        raise _errors.InvalidArgument("offload: name a directory that exists; its name is empty")
    return directory, place.limit_bytes()
