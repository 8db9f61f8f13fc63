# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""`torch.compile` inside a scope.

A graph that Inductor has compiled reads its inputs through their addresses, and no operator shows
that. So they are brought back before, and stay in memory while it runs. What the graph makes is
never evicted, because no operator made it.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence
from typing import Any

import torch

from torch_neap import _addresses, _library

_MODULE = "torch._inductor.output_code"


def _hold_inputs_of(graph: Any) -> None:
    if hasattr(graph.__call__, "__wrapped__"):
        return
    plain = graph.__call__

    @functools.wraps(plain)
    def held(self: Any, inputs: Sequence[Any]) -> Any:
        if not _addresses.matter():
            return plain(self, inputs)
        # The graph may take the inputs out of the list, so that they die early.
        tensors = [one for one in inputs if isinstance(one, torch.Tensor)]
        pinned: list[torch.Tensor] = []
        try:
            for tensor in tensors:
                _library.check(_library.pin(tensor._cdata))
                pinned.append(tensor)
            return plain(self, inputs)
        finally:
            for tensor in pinned:
                _library.check(_library.unpin(tensor._cdata))

    graph.__call__ = held


def _hold_inputs() -> None:
    module = sys.modules.get(_MODULE)
    if module is not None:
        _hold_inputs_of(module.CompiledFxGraph)


def install() -> None:
    """Hold the inputs of all graphs that are compiled. Imports no compiler itself."""
    _hold_inputs()
    plain = torch.compile
    if hasattr(plain, "_of_neap"):
        return

    @functools.wraps(plain)
    def compile(*args: Any, **kwargs: Any) -> Any:
        __import__(_MODULE)
        _hold_inputs()
        return plain(*args, **kwargs)

    compile._of_neap = True  # type: ignore[attr-defined]
    torch.compile = compile
