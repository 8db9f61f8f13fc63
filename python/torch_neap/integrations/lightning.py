# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""For `lightning.Trainer`.

>>> from torch_neap.integrations.lightning import BudgetCallback
>>> trainer = lightning.Trainer(callbacks=[BudgetCallback("8GiB")])
"""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback

from torch_neap import _attachment, _offload, _scope


class BudgetCallback(Callback):
    """Holds each training batch of a `Trainer` below a budget. Validation is plain.

    Parameters
    ----------
    budget, online, cache, offload
        As for `torch_neap.budget`.

    Attributes
    ----------
    stats
        The counts of the last batch that has ended.
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

    def on_train_batch_start(self, *_: Any, **__: Any) -> None:
        """Open the step. One that the module has skipped is still open."""
        self._series.begin()

    def on_train_batch_end(self, *_: Any, **__: Any) -> None:
        """End it, after the optimizer."""
        self._series.end()

    def on_exception(self, trainer: Any, module: Any, exception: BaseException) -> None:
        """Abandon the step that failed, and tell the other ranks."""
        if self._series.is_open:
            self._series.abandon()
            _scope.in_own_class(exception)
