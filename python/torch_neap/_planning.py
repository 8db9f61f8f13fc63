# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""Traces of steps, plans of traces, and what a budget costs."""

from __future__ import annotations

import ctypes
import gc
import os
import weakref
from collections.abc import Callable
from typing import Any

from torch_neap import _amount, _errors, _library, _scope, _table, memory


class Trace:
    """A step as data: each operator with its time, each storage with its size and life.

    Attributes
    ----------
    operators
        How many operators ran.
    plain_ns
        Their time, ns.
    given_bytes
        What was there before the step, bytes.
    plain_peak_bytes
        The peak of the plain step, bytes.
    """

    def __init__(self, handle: ctypes.c_void_p) -> None:
        self._handle = handle
        weakref.finalize(self, _library.trace_free, handle)
        four = (ctypes.c_int64 * 4)()
        _library.check(_library.trace_figures(handle, four))
        self.operators, self.plain_ns, self.given_bytes, self.plain_peak_bytes = four

    def __repr__(self) -> str:
        return (
            f"<Trace of {self.operators} operators, {self.plain_ns / 1e6:.1f} ms, "
            f"peak {memory.text(self.plain_peak_bytes)}>"
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a file for `neap plan`; packed if its name ends in .gz."""
        _library.check(_library.trace_write(self._handle, os.fsencode(path)))

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Trace:
        """Read such a file."""
        handle = ctypes.c_void_p()
        _library.check(_library.trace_read(os.fsencode(path), ctypes.byref(handle)))
        return Trace(handle)


def trace(step: Callable[[], Any], *, steps: int = 1) -> Trace:
    """Run a step as PyTorch would, and write down what it did.

    Parameters
    ----------
    step
        A function without arguments that trains one step. Run one before: the first one makes the
        optimizer's state.
    steps
        Run so many in turn. The time of an operator is the median then.

    Raises
    ------
    ScopeConflict
        When a scope with a budget is open.
    Error
        When the steps are not the same.
    """
    raised: list[BaseException] = []

    def run() -> int:
        try:
            step()
        except BaseException as error:
            raised.append(error)
            return 1
        return 0

    handle = ctypes.c_void_p()
    status = _library.trace_step(_library.STEP(run), steps, ctypes.byref(handle))
    if raised:
        _library.error_clear()
        raise raised[0]
    _library.check(status)
    return Trace(handle)


class Plan:
    """What to free and what to run again in a step, so that it stays inside a budget.

    Attributes
    ----------
    budget, peak_bytes
        The budget that it was made for and its peak, bytes.
    plain_ns, rerun_ns, bound_ns
        The time of each operator once; the time that reruns add; what no plan could do better.
    reruns
        How many operators run again.
    """

    def __init__(self, handle: ctypes.c_void_p) -> None:
        self._handle = handle
        weakref.finalize(self, _library.plan_free, handle)
        six = (ctypes.c_int64 * 6)()
        _library.plan_figures(handle, six)
        self.budget, self.peak_bytes, self.plain_ns, self.rerun_ns, self.bound_ns, self.reruns = six

    @property
    def time(self) -> float:
        """The step's time relative to the plain one."""
        return 1 + self.rerun_ns / max(1, self.plain_ns)

    def __repr__(self) -> str:
        return (
            f"<Plan inside {memory.text(self.budget)}: {self.reruns} operators run again, "
            f"{self.time:.2f} of the plain time>"
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a file for `neap.budget(..., plan=path)`; packed if its name ends in .gz."""
        _library.check(_library.plan_write(self._handle, os.fsencode(path)))


def plan(trace: Trace, budget: int | str) -> Plan:
    """Plan a traced step.

    Parameters
    ----------
    trace
        The step.
    budget
        Bytes; a share of what the plain step needs above what was given, such as ``"50%"``; or
        ``"min"``, the smallest budget that works.

    Raises
    ------
    Error
        When no plan fits. It names a budget that works.
    """
    handle = ctypes.c_void_p()
    _library.check(_library.plan(trace._handle, _bytes_of(trace, budget), ctypes.byref(handle)))
    return Plan(handle)


def _bytes_of(trace: Trace, budget: int | str) -> int:
    if budget == "min":
        return -1
    amount = _amount.Amount.parse(budget)
    if amount.bytes is not None:
        return amount.bytes
    if amount.percent is None:
        return _amount.what_is_left()
    count = ctypes.c_int64()
    share = amount.percent / 100
    _library.check(_library.trace_budget_of_share(trace._handle, share, ctypes.byref(count)))
    return count.value


class Frontier(_table.Table):
    """Time by budget: what each budget costs."""

    def plot(self, axes: Any = None) -> Any:
        """Draw time against budget with matplotlib, and return the axes."""
        if axes is None:
            import matplotlib.pyplot as plt  # type: ignore[import-not-found, import-untyped, unused-ignore]  # noqa: PLC0415

            _, axes = plt.subplots()
        points = [(row[0] / 2**20, row[1]) for row in self.rows if row[1] is not None]
        axes.plot([x for x, _ in points], [y for _, y in points], marker="o")
        axes.set_xlabel("budget, MiB")
        axes.set_ylabel("time of a step, plain = 1")
        return axes


def frontier(trace: Trace, *, points: int = 10) -> Frontier:
    """Plan a traced step for budgets from the smallest that is possible to the plain peak.

    Returns
    -------
    Frontier
        A table: the budget in bytes, the time of the step and a lower bound of it, both relative to
        the plain one.
    """
    if points < 2:  # noqa: PLR2004
        raise _errors.InvalidArgument(f"frontier: {points} points; at least 2")
    numbers = (ctypes.c_int64 * (3 * points))()
    four = (ctypes.c_int64 * 4)()
    _library.check(_library.frontier(trace._handle, points, numbers, four))
    plain_ns = max(1, four[3])
    rows: list[list[Any]] = []
    texts: list[list[str]] = []
    for index in range(points):
        budget, *times = numbers[3 * index : 3 * index + 3]
        relative = [1 + ns / plain_ns if ns >= 0 else None for ns in times]
        rows.append([budget, *relative])
        texts.append(
            [memory.text(budget), *("-" if one is None else f"{one:.3f}" for one in relative)]
        )
    return Frontier(["budget, bytes", "time", "lower bound"], rows, texts)


def max_batch(
    make_step: Callable[[int], Callable[[], Any]],
    budget: int | str,
    *,
    start: int = 1,
    most: int = 1 << 20,
) -> int:
    """Find the largest batch that trains inside a budget, by doubling and bisection.

    Parameters
    ----------
    make_step
        Gets a batch size, and returns a function that trains one step of it.
    budget
        Bytes or ``"auto"``.
    start, most
        The batch to begin with, and the largest to try.

    Returns
    -------
    int
        The largest batch of which two steps in turn have run; 0 when not even `start` has.
    """
    amount = _amount.Amount.parse(budget)
    if amount.percent is not None:
        raise _errors.InvalidArgument("max_batch: name bytes or auto; a share has no meaning here")
    count = _amount.what_is_left() if amount.bytes is None else amount.bytes

    def fits(batch: int) -> bool:
        try:
            step = make_step(batch)
            for _ in range(2):
                with _scope.budget(count):
                    step()
                _library.check(_library.finish_planning())
        except _errors.BudgetExceeded:
            pass
        else:
            return True
        gc.collect()  # the traceback has the tensors of the step
        return False

    good, bad = 0, start
    while bad <= most and fits(bad):
        good, bad = bad, 2 * bad
    bad = min(bad, most + 1)
    while good and bad - good > 1:
        middle = (good + bad) // 2
        if fits(middle):
            good = middle
        else:
            bad = middle
    return good


class Analysis(_table.Table):
    """What a training step holds, by kind."""


def analyze(model: Any, optimizer: Any, step: Callable[[], Any]) -> Analysis:
    """Say what holds the memory of a training step.

    Parameters
    ----------
    model, optimizer
        What is trained.
    step
        A function without arguments that trains one step. It runs twice.

    Returns
    -------
    Analysis
        Bytes of parameters, buffers, gradients, optimizer state and activations, and the peak.
        Activations are what the step needs at its peak above what stays.
    """
    step()
    memory.trim()
    memory.reset_peak()
    before = memory.usage().live
    step()
    usage = memory.usage()

    def size(tensors: Any) -> int:
        storages = {one.untyped_storage().data_ptr(): one.untyped_storage() for one in tensors}
        return sum(storage.nbytes() for storage in storages.values())

    parameters = list(model.parameters())
    state = [
        value
        for one in optimizer.state.values()
        for value in one.values()
        if hasattr(value, "untyped_storage")
    ]
    counted = {
        "parameters": size(parameters),
        "buffers": size(model.buffers()),
        "gradients": size([one.grad for one in parameters if one.grad is not None]),
        "optimizer state": size(state),
        "activations": usage.peak - max(before, usage.live),
        "peak": usage.peak,
    }
    rows = [[name, count] for name, count in counted.items()]
    texts = [[name, memory.text(count)] for name, count in counted.items()]
    return Analysis(["kind", "bytes"], rows, texts)
