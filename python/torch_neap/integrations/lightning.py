# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""For `lightning.Trainer`.

>>> from torch_neap.integrations.lightning import BudgetCallback
>>> trainer = lightning.Trainer(callbacks=[BudgetCallback("8GiB")])
"""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback

from torch_neap import _amount, _scope


class BudgetCallback(Callback):
    """Holds each training batch of a `Trainer` below a budget. Validation is plain.

    Parameters
    ----------
    budget, online, cache
        As for `torch_neap.budget`.

    Attributes
    ----------
    stats
        The counts of the last batch that has ended.
    """

    def __init__(self, budget: int | str, *, online: bool = False, cache: str = "") -> None:
        self._amount = _amount.Amount.parse(budget)
        self._mode = _scope.Mode(online=online, cache=cache)
        self._step: _scope.Step | None = None
        self.stats = _scope.Stats()

    def on_train_batch_start(self, *_: Any, **__: Any) -> None:
        """Open the step. One that the module has skipped is still open."""
        self.on_train_batch_end()
        self._step = _scope.open_step(self._amount, self._mode)

    def on_train_batch_end(self, *_: Any, **__: Any) -> None:
        """End it, after the optimizer."""
        step, self._step = self._step, None
        if step is not None:
            step.end()
            self.stats = step.stats

    def on_exception(self, trainer: Any, module: Any, exception: BaseException) -> None:
        """Abandon the step that failed, and tell the other ranks."""
        step, self._step = self._step, None
        if step is not None:
            step.abandon()
            _scope.in_own_class(exception)
