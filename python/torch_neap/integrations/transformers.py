# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""For `transformers.Trainer`.

>>> from torch_neap.integrations.transformers import BudgetCallback
>>> trainer = Trainer(model, arguments, train_dataset=data, callbacks=[BudgetCallback("8GiB")])
"""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback

from torch_neap import _amount, _scope


class BudgetCallback(TrainerCallback):
    """Holds each training step of a `Trainer` below a budget. Evaluation is plain.

    Parameters
    ----------
    budget, online, cache
        As for `torch_neap.budget`.

    Attributes
    ----------
    stats
        The counts of the last step that has ended.
    """

    def __init__(self, budget: int | str, *, online: bool = False, cache: str = "") -> None:
        self._amount = _amount.Amount.parse(budget)
        self._mode = _scope.Mode(online=online, cache=cache)
        self._step: _scope.Step | None = None
        self.stats = _scope.Stats()

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Forget a step that an exception has left open."""
        if self._step is not None:
            self._step.abandon()
            self._step = None

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Open the step, before its first batch."""
        self._step = _scope.open_step(self._amount, self._mode)

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """End it, after the optimizer."""
        step, self._step = self._step, None
        if step is not None:
            step.end()
            self.stats = step.stats
