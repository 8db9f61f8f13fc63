# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""Scopes: the time during which a budget holds."""

from __future__ import annotations

import atexit
import ctypes
import os
import weakref
from dataclasses import dataclass, fields
from types import TracebackType

import torch

from torch_neap import _addresses, _amount, _compiled, _errors, _library, _offload, _ranks, memory


@dataclass(frozen=True)
class Stats:
    """Counts of one scope.

    Operators of less than 20 us that follow another such operator are sampled: one in 16 of them is
    timed and counted as 16.

    Attributes
    ----------
    peak_bytes
        The most bytes that were reserved while it was open.
    budget_bytes
        The budget; 0 without one.
    operators, replays, evictions
        Operators of the program; operators that ran again; storages that were evicted.
    evicted_bytes
        The bytes of these storages.
    pinned_bytes
        Of storages that cannot be evicted, now or when the scope ended.
    recorder_bytes
        The most memory that recipes took.
    replay_ns, operator_ns, bookkeeping_ns
        Time inside operators that ran again, inside the program's operators, and in neap itself.
    plan_hits, plan_misses
        1 when all operators ran by a plan; 1 when the step left its plan.
    planned_operators, unplanned_bytes
        Operators that ran by a plan; bytes that were evicted because the plan fell short.
    predicted_peak_bytes, predicted_ns, planning_ns
        The peak and the time that the plan foresaw, and the time to make it in another thread.
    offloads, offloaded_bytes, loads, loaded_bytes
        Tensors that were copied to the directory of ``offload``, and back.
    offload_wait_ns, offload_peak_bytes
        The time in which the step waited for copies; the most bytes that lay there.
    plan_note, rule_note
        For people: why there is no plan, and which rules matched nothing.
    """

    peak_bytes: int = 0
    budget_bytes: int = 0
    operators: int = 0
    replays: int = 0
    evictions: int = 0
    evicted_bytes: int = 0
    pinned_bytes: int = 0
    recorder_bytes: int = 0
    replay_ns: int = 0
    operator_ns: int = 0
    bookkeeping_ns: int = 0
    plan_hits: int = 0
    plan_misses: int = 0
    planned_operators: int = 0
    unplanned_bytes: int = 0
    predicted_peak_bytes: int = 0
    predicted_ns: int = 0
    planning_ns: int = 0
    offloads: int = 0
    offloaded_bytes: int = 0
    loads: int = 0
    loaded_bytes: int = 0
    offload_wait_ns: int = 0
    offload_peak_bytes: int = 0
    plan_note: str = ""
    rule_note: str = ""


_COUNT_NAMES = [field.name for field in fields(Stats) if field.default == 0]
_COUNTS = len(_COUNT_NAMES)
assert _library.scope_count_of_counts() == _COUNTS, "Stats and bindings.cpp differ"


@dataclass(frozen=True)
class Mode:
    """How a scope decides what is evicted, and checks it: `neap.budget` explains the fields."""

    online: bool = False
    plan: str = ""
    cache: str = ""
    verify: bool = False
    offload: str = ""
    offload_limit: int = -1


class Scope:
    """A scope of the library. It belongs to the thread that opened it."""

    def __init__(self, budget: int | None, mode: Mode, observe: bool) -> None:
        if torch.is_inference_mode_enabled():
            raise _errors.ScopeConflict(
                "a scope cannot open inside torch.inference_mode(): PyTorch forgets it where that "
                "ends; open the scope around it"
            )
        handle = ctypes.c_void_p()
        _library.check(
            _library.scope_open(
                -1 if budget is None else budget,
                mode.online,
                mode.plan.encode(),
                mode.cache.encode(),
                os.fsencode(mode.offload),
                mode.offload_limit,
                observe,
                mode.verify,
                ctypes.byref(handle),
            )
        )
        self._handle = handle
        self._free = weakref.finalize(self, _library.scope_free, handle)
        self._process = os.getpid()
        self._open = True
        _addresses.watch_aliases()
        _compiled.make_operators()

    def end(self) -> None:
        """Bring back what the program still holds, and close.

        It is closed after an error too, but not in another thread than its own.
        """
        if self._is_open_here():
            status = _library.scope_end(self._handle)
            self._closed()
            _library.check(status)

    def abandon(self) -> None:
        """Close after a failure: what does not fit stays evicted, and access to it raises."""
        if self._is_open_here():
            _library.scope_abandon(self._handle)
            self._closed()

    def _closed(self) -> None:
        self._open = bool(_library.scope_is_open(self._handle))
        _compiled.forget()

    def _is_open_here(self) -> bool:
        return self._open and os.getpid() == self._process

    def stats(self) -> Stats:
        """Count, while it is open or afterwards."""
        counts = (ctypes.c_int64 * _COUNTS)()
        _library.check(_library.scope_stats(self._handle, counts))
        plan_note: bytes = _library.scope_plan_note(self._handle)
        rule_note: bytes = _library.scope_rule_note(self._handle)
        by_name = dict(zip(_COUNT_NAMES, counts, strict=True))
        return Stats(**by_name, plan_note=plan_note.decode(), rule_note=rule_note.decode())


class PlainStep:
    """Measures a step without a budget, so that a share of its activations has a meaning."""

    def __init__(self) -> None:
        memory.trim()
        self._start = memory.usage().live
        memory.reset_peak()

    def budget(self, percent: float) -> int:
        """The budget for later steps: what stays, and `percent` of what came and went."""
        usage = memory.usage()
        stays = max(self._start, usage.live)
        return stays + int((usage.peak - stays) * percent / 100)


# By the text of the share, or `auto`: steps that name the same one get the same bytes, because a
# plan is for one budget.
_settled: dict[str, int] = {}
# The shares that a step has named. The first step makes gradients and the optimizer's state as it
# goes on, so the second one is measured.
_named: set[str] = set()


class Step:
    """One step: a scope, or the plain step that measures what a share is of.

    Attributes
    ----------
    stats
        The counts of the step, so far or at its end.
    """

    def __init__(self, amount: _amount.Amount | None, mode: Mode, observe: bool) -> None:
        self._amount = amount
        self._plain: PlainStep | None = None
        self._scope: Scope | None = None
        budget = None if amount is None else self._settle(amount)
        if self._plain is None:
            self._scope = Scope(budget, mode, observe)

    def _settle(self, amount: _amount.Amount) -> int | None:
        if amount.bytes is not None:
            return amount.bytes
        if amount.text not in _settled:
            if amount.percent is None:
                _settled[amount.text] = _amount.what_is_left()
            else:
                self._plain = PlainStep()
        return _settled.get(amount.text)

    @property
    def stats(self) -> Stats:
        """The counts of the step."""
        return Stats() if self._scope is None else self._scope.stats()

    def end(self) -> None:
        """End the step. It has ended after an error too."""
        if self._scope is not None:
            try:
                self._scope.end()
            except _errors.BudgetExceeded as error:
                _ranks.tell_others(error)
                raise
        elif self._plain is not None:
            assert self._amount is not None and self._amount.percent is not None
            if self._amount.text in _named:
                _settled[self._amount.text] = self._plain.budget(self._amount.percent)
            _named.add(self._amount.text)
            self._plain = None

    def abandon(self) -> None:
        """End the step after a failure."""
        self._plain = None
        if self._scope is not None:
            self._scope.abandon()


_open_steps: weakref.WeakSet[Step] = weakref.WeakSet()


def open_step(amount: _amount.Amount | None, mode: Mode, observe: bool = False) -> Step:
    """Open a step that is abandoned when the interpreter ends first."""
    step = Step(amount, mode, observe)
    _open_steps.add(step)
    return step


@atexit.register
def _abandon_all() -> None:
    for step in list(_open_steps):
        step.abandon()


def in_own_class(error: BaseException | None) -> _errors.Error | None:
    """The error of neap behind an exception of PyTorch's binding; None where there is none."""
    if not isinstance(error, RuntimeError) or isinstance(error, _errors.Error):
        return None
    own = _library.last_error()
    if own is None or str(own) not in str(error):
        if not _library.error_note_refusal(str(error).encode()):
            return _ranks.refusal_of_another()
        own = _library.last_error()
        assert own is not None
    _library.error_clear()
    if isinstance(own, _errors.BudgetExceeded):
        _ranks.tell_others(own)
    return own


class _Block:
    """A statement that opens a step and ends it; it may be entered again."""

    def __init__(self, amount: _amount.Amount | None, mode: Mode, observe: bool) -> None:
        self._amount = amount
        self._mode = mode
        self._observe = observe
        self._steps: list[Step] = []

    def __enter__(self) -> Step:
        self._steps.append(open_step(self._amount, self._mode, self._observe))
        return self._steps[-1]

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        leave(self._steps.pop(), error)


class budget(_Block):
    """Holds what PyTorch has on the CPU below a budget, with the same bits.

    While it is open, the operators of its thread are recorded. Where the budget is full, tensors
    are evicted, and what needs them runs their operators again. No code of the program runs twice.

    Parameters
    ----------
    budget
        Bytes, as a number or a text such as ``"8GiB"``. A share of the activations of a plain step,
        such as ``"50%"``: the first two blocks that name it run without a budget, and the second
        one is measured. Later blocks of the process that name the same share get the same bytes.
        Or ``"auto"``: what the machine or its container leaves.
    online
        Decide as the step goes on, instead of by a plan of it.
    plan
        A plan file, as ``neap plan -o`` writes it: this plan and no other.
    cache
        A directory that keeps plans from one process to the next.
    verify
        Compare what operators make again with what was evicted, by a hash of the bytes. The first
        difference raises `ReplayError`, with the operator: one that does not do the same each time,
        or that writes into what it should only read. Each such content is read twice.
    offload
        A directory, or an `Offload` with a limit. Tensors may also go to a file there and come
        back, where that costs less than to make them again. Then also parameters, gradients and
        the optimizer's state may go, so a step runs in a budget that does not hold them. Those of
        them that are away when the block ends stay there; operators bring them back at any time.

    Raises
    ------
    BudgetExceeded
        When something does not fit. It is a `torch.OutOfMemoryError`, which is also what operators
        inside the block raise.
    ScopeConflict
        When another thread has a scope, or an outer scope another budget.
    InvalidArgument
        When the budget means nothing.

    Examples
    --------
    >>> with neap.budget("8GiB") as step:
    ...     loss = model(x).loss
    ...     loss.backward()
    ...     optimizer.step()
    >>> step.stats.peak_bytes <= 8 << 30
    True
    """

    def __init__(
        self,
        budget: int | str,
        *,
        online: bool = False,
        plan: str | os.PathLike[str] | None = None,
        cache: str | os.PathLike[str] | None = None,
        verify: bool = False,
        offload: _offload.Place | None = None,
    ) -> None:
        if online and (plan or cache):
            raise _errors.InvalidArgument("online decides without plans: leave out plan and cache")
        directory, limit = _offload.directory_and_limit(offload)
        mode = Mode(online, os.fspath(plan or ""), os.fspath(cache or ""), verify, directory, limit)
        super().__init__(_amount.Amount.parse(budget), mode, observe=False)


def leave(step: Step, error: BaseException | None) -> None:
    """End a step as the block around it ends: normally, or with an exception."""
    if error is None:
        step.end()
        return
    step.abandon()
    raise_in_own_class(error)


def raise_in_own_class(error: BaseException) -> None:
    """Raise the error of neap behind an exception of PyTorch's binding, if there is one."""
    own = in_own_class(error)
    try:
        if own is not None:
            raise own from error
    finally:
        del own, error  # the traceback has this frame, and would keep the tensors of the step


class observe(_Block):
    """A scope without a budget, in which `saved_report()` knows each tensor. It evicts nothing."""

    def __init__(self) -> None:
        super().__init__(None, Mode(), observe=True)
