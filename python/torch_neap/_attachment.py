# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""Steps that a loop, a trainer or a runner opens and ends one after the other."""

from __future__ import annotations

import functools
import os
import sys
import threading
import weakref
from collections.abc import Callable
from types import TracebackType

import torch

from torch_neap import _amount, _offload, _scope


class Series:
    """Steps of one budget, at most one of them open.

    Attributes
    ----------
    stats
        The counts of the last step that has ended.
    steps
        How many have ended.
    """

    def __init__(self, amount: _amount.Amount, mode: _scope.Mode) -> None:
        self._amount = amount
        self._mode = mode
        self._step: _scope.Step | None = None
        self._thread = threading.get_ident()
        self.stats = _scope.Stats()
        self.steps = 0

    @property
    def is_open(self) -> bool:
        """Whether a step is open."""
        return self._step is not None

    def begin(self) -> None:
        """End the step that is open, if one is, and open the next one, also after an error."""
        self._thread = threading.get_ident()
        _watch(self)
        try:
            self.end()
        finally:
            self._step = _scope.open_step(self._amount, self._mode)

    def end(self) -> None:
        """End the step that is open, if one is."""
        step, self._step = self._step, None
        if step is None:
            return
        try:
            step.end()
        finally:
            self.stats = step.stats
            self.steps += 1

    @property
    def is_open_here(self) -> bool:
        """Whether this thread has opened the step that is open."""
        return self.is_open and self._thread == threading.get_ident()

    def abandon(self) -> None:
        """As `end()`, after a failure."""
        step, self._step = self._step, None
        if step is not None:
            step.abandon()


_watched: weakref.WeakSet[Series] = weakref.WeakSet()


def _watch(series: Series) -> None:
    """See to it that an error which ends a thread inside a step of `series` is told as neap's.

    No `with` block is left then. The other ranks learn of it as well.
    """
    _hook_into_end()
    _watched.add(series)


def _own_class(error: BaseException) -> BaseException:
    """Abandon the steps of this thread, which `error` ends, and find neap's error behind it."""
    open_ones = [series for series in _watched if series.is_open_here]
    for series in open_ones:
        series.abandon()
    own = _scope.in_own_class(error) if open_ones else None
    if own is None:
        return error
    own.__cause__ = error
    return own


@functools.cache
def _hook_into_end() -> None:
    of_program, of_thread = sys.excepthook, threading.excepthook

    def program_ends(
        kind: type[BaseException], error: BaseException, traceback: TracebackType | None
    ) -> None:
        try:
            error = _own_class(error)
        finally:
            of_program(type(error), error, traceback)

    def thread_ends(arguments: threading.ExceptHookArgs) -> None:
        error = arguments.exc_value
        try:
            error = error if error is None else _own_class(error)
        finally:
            words = (arguments.exc_type if error is None else type(error), error)
            of_thread(threading.ExceptHookArgs((*words, arguments.exc_traceback, arguments.thread)))

    sys.excepthook = program_ends
    threading.excepthook = thread_ends


def series_of(
    budget: int | str,
    online: bool,
    cache: str | os.PathLike[str] | None,
    verify: bool = False,
    offload: _offload.Place | None = None,
) -> Series:
    """Make a series, of what a user writes for it."""
    directory, limit = _offload.directory_and_limit(offload)
    mode = _scope.Mode(
        online=online,
        cache=os.fspath(cache or ""),
        verify=verify,
        offload=directory,
        offload_limit=limit,
    )
    return Series(_amount.Amount.parse(budget), mode)


def inside_backward() -> bool:
    """Whether this thread runs a node of a backward. A step cannot end there."""
    return bool(torch._C._current_graph_task_id() != -1)


class Attachment:
    """Steps from one step of an optimizer to the next.

    Attributes
    ----------
    stats
        The counts of the last step that has ended.
    steps
        How many have ended.
    """

    def __init__(self, series: Series, optimizer: torch.optim.Optimizer) -> None:
        self._series = series
        handle = optimizer.register_step_post_hook(lambda *_: self._stepped())
        self._remove: Callable[[], None] = handle.remove
        series.begin()

    def _stepped(self) -> None:
        if self._series.is_open and not inside_backward():
            self._series.begin()

    @property
    def stats(self) -> _scope.Stats:
        """The counts of the last step that has ended."""
        return self._series.stats

    @property
    def steps(self) -> int:
        """How many steps have ended."""
        return self._series.steps

    def detach(self) -> None:
        """End the step that is open. The program is plain from then on."""
        self._remove()
        self._series.end()

    def __enter__(self) -> Attachment:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self.detach()
            return
        self._remove()
        self._series.abandon()
        _scope.raise_in_own_class(error)


_attached: weakref.WeakKeyDictionary[torch.optim.Optimizer, Attachment] = (
    weakref.WeakKeyDictionary()
)


def attach(
    optimizer: torch.optim.Optimizer,
    budget: int | str,
    *,
    online: bool = False,
    cache: str | os.PathLike[str] | None = None,
    verify: bool = False,
    offload: _offload.Place | None = None,
) -> Attachment:
    """Hold a training loop below a budget, from now on.

    Parameters
    ----------
    optimizer
        The one that steps last in an iteration. Each of its steps ends a step of neap. What was
        attached to it before is detached.
    budget, online, cache, verify, offload
        As for `budget`.

    Returns
    -------
    Attachment
        Its `detach()` ends it, and so does the end of a ``with`` block.

    Examples
    --------
    >>> attached = neap.attach(optimizer, "8GiB")
    >>> train(model, optimizer)
    >>> attached.detach()
    """
    series = series_of(budget, online, cache, verify, offload)
    if (before := _attached.pop(optimizer, None)) is not None:
        before.detach()
    return _attached.setdefault(optimizer, Attachment(series, optimizer))
