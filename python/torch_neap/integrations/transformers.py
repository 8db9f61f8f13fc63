# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""For `transformers.Trainer`.

>>> from torch_neap.integrations.transformers import BudgetCallback
>>> trainer = Trainer(model, arguments, train_dataset=data, callbacks=[BudgetCallback("8GiB")])
"""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback

from torch_neap import _attachment, _offload, _scope


class BudgetCallback(TrainerCallback):
    """Holds each training step of a `Trainer` below a budget. Evaluation is plain.

    Parameters
    ----------
    budget, online, cache, offload
        As for `torch_neap.budget`.

    Attributes
    ----------
    stats
        The counts of the last step that has ended.
    """

    def __init__(
        self,
        budget: int | str,
        *,
        online: bool = False,
        cache: str = "",
        offload: _offload.Place | None = None,
    ) -> None:
        self._series = _attachment.series_of(budget, online, cache, offload=offload)

    @property
    def stats(self) -> _scope.Stats:
        """The counts of the last step that has ended."""
        return self._series.stats

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Forget a step that an exception has left open."""
        self._series.abandon()

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Open the step, before its first batch."""
        self._series.begin()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """End it, after the optimizer."""
        self._series.end()
