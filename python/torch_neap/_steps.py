# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""Finds the steps of a program that knows nothing of neap.

A step ends with a step of an optimizer. Of several optimizers, it ends with that one at whose step
the fewest bytes are alive: there no graph waits for a backward. Which one that is, is known when
the first of them steps again.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from torch_neap import _amount, _attachment, _scope, memory

_MOST_STEPS_OF_OTHERS = 16


class Steps:
    """Steps inside a budget, from now on.

    Parameters
    ----------
    ended
        Is told the counts of each step.
    """

    def __init__(
        self, amount: _amount.Amount, mode: _scope.Mode, ended: Callable[[_scope.Stats], None]
    ) -> None:
        self._amount = amount
        self._mode = mode
        self._ended = ended
        self._optimizers: weakref.WeakSet[torch.optim.Optimizer] = weakref.WeakSet()
        # Bytes at the step of each optimizer, of the first round.
        self._live: weakref.WeakKeyDictionary[torch.optim.Optimizer, int] = (
            weakref.WeakKeyDictionary()
        )
        self._last: weakref.ref[torch.optim.Optimizer] | None = None  # whose step ends ours
        self._others: list[int] = []  # optimizers that have stepped since it did, by id()
        self._restore = self._count_optimizers()
        self._hook = register_optimizer_step_post_hook(lambda one, *_: self._stepped(one))
        self._step: _scope.Step | None = _scope.open_step(amount, mode)

    def _count_optimizers(self) -> Callable[[], None]:
        plain = torch.optim.Optimizer.__init__

        @functools.wraps(plain)
        def counted(optimizer: torch.optim.Optimizer, *args: Any, **kwargs: Any) -> None:
            plain(optimizer, *args, **kwargs)
            self._optimizers.add(optimizer)

        torch.optim.Optimizer.__init__ = counted  # type: ignore[assignment, method-assign]

        def restore() -> None:
            torch.optim.Optimizer.__init__ = plain  # type: ignore[method-assign]

        return restore

    def _stepped(self, optimizer: torch.optim.Optimizer) -> None:
        if _attachment.inside_backward() or not self._is_last(optimizer):
            return
        try:
            self.end()
        finally:
            self._step = _scope.open_step(self._amount, self._mode)

    def _is_last(self, optimizer: torch.optim.Optimizer) -> bool:
        if len(self._optimizers) == 1:
            return True
        if self._last is not None and self._last() is not optimizer:
            if self._others.count(id(optimizer)) < _MOST_STEPS_OF_OTHERS:
                self._others.append(id(optimizer))
                return False
            self._last = None  # it steps no more: the program has gone on to another model
            self._live.clear()
        if self._last is None:
            if optimizer not in self._live:
                self._live[optimizer] = memory.usage().live
                return False
            self._last = weakref.ref(min(self._live, key=self._live.__getitem__))
        self._others.clear()
        return self._last() is optimizer

    def end(self) -> None:
        """End the step that is open."""
        step, self._step = self._step, None
        if step is None:
            return
        step.end()
        self._ended(step.stats)

    def abandon(self) -> None:
        """End the step that is open, after a failure."""
        step, self._step = self._step, None
        if step is not None:
            step.abandon()

    def close(self) -> None:
        """Leave the program's steps alone from now on."""
        self._hook.remove()
        self._restore()
