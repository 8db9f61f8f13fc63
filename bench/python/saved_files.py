# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""The naive way to offload: a file for each tensor that the graph of the step saves."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

SMALL = 4096  # bytes: a smaller tensor stays


class SavedFiles:
    """Hooks that write what is saved into files of a directory, and read it back.

    Parameters
    ----------
    directory
        Where they get a directory of their own, which goes with this object.
    staying
        Tensors that live in memory for the whole training: to write them frees nothing.
    """

    def __init__(self, directory: Path, staying: Iterable[Tensor]) -> None:
        self._folder = tempfile.TemporaryDirectory(dir=directory)
        self._staying = list(staying)
        self._storages: set[int] = set()
        self._numbers = itertools.count()
        # Nothing is checked for damage: to sum up the bytes takes longer than to write them.
        torch.serialization.set_crc32_options(False)

    def within(self) -> saved_tensors_hooks:
        """A block for a step."""
        self._storages = {tensor.untyped_storage()._cdata for tensor in self._staying}
        # What an earlier step has saved and not asked for is written over.
        self._numbers = itertools.count()
        return saved_tensors_hooks(self._write, self._read)

    def _write(self, tensor: Tensor) -> Tensor | str:
        storage = tensor.untyped_storage()
        if tensor.nbytes < SMALL or storage._cdata in self._storages:
            return tensor
        name = os.path.join(self._folder.name, str(next(self._numbers)))
        # A view would be written with the whole of its storage.
        whole = tensor if storage.nbytes() <= tensor.nbytes else tensor.clone()
        torch.save(whole.detach(), name)
        return name

    @staticmethod
    def _read(saved: Tensor | str) -> Tensor:
        if isinstance(saved, Tensor):
            return saved
        tensor: Tensor = torch.load(saved)
        os.remove(saved)
        return tensor
