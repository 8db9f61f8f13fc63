# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""`torch.compile` inside a scope: each call of a compiled graph is one operator.

A graph that Inductor has compiled reads its inputs through their addresses and allocates past the
dispatcher, so neap would see nothing of it. Here its call goes through an operator of neap's own.
The inputs are brought back first, and what the graph makes can be evicted: another call of the
graph makes it again. Of an input that the graph writes into, such as the statistics of a batch
norm, that call needs the old content. So a small one is copied before. A graph that writes into
large ones is not called again, and what it makes stays in memory. Nor is the graph of a backward:
it reuses the memory of activations that it is the last to read, and says so nowhere.
"""

from __future__ import annotations

import functools
import itertools
import operator
import sys
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from torch_neap import _addresses, _library

_MODULE = "torch._inductor.output_code"
_CLASSES = ("CompiledFxGraph", "CompiledAOTI")
_MOST_COPIED_BYTES = 1 << 20  # of one call


@dataclass(frozen=True)
class _Graph:
    """A compiled graph, and how it is called."""

    compiled: Any
    plain: Callable[[Any, Sequence[Any]], Any]

    @property
    def written(self) -> frozenset[int] | None:
        """The places of the inputs that it writes into; None where it does not say."""
        places = getattr(self.compiled, "mutated_input_idxs", None)
        return None if places is None else frozenset(places)

    @property
    def reuses_inputs(self) -> bool:
        """Whether a result may lie in the memory of an input that the graph was the last to read.

        A graph that does not say whether it is of a backward may be.
        """
        return bool(getattr(self.compiled, "fx_kwargs", {}).get("is_backward", True))

    def __call__(self, inputs: Sequence[Any]) -> tuple[Any, list[torch.Tensor]]:
        """The results, and those of them that have a storage of their own, one a storage."""
        constants = getattr(self.compiled, "constants", None) or {}
        # The graph may take the inputs out of the list. None may die before the end, because a new
        # storage could get its number.
        before = [*_tensors_in(inputs), *_tensors_in(constants.values())]
        old = {0, *map(_storage_number, before)}
        results = self.plain(self.compiled, inputs)
        if self.reuses_inputs:
            # To neap an input's storage has the input's content for ever.
            results = _map_tensors(
                lambda one: one.clone() if _storage_number(one) in old else one, results
            )
        by_storage = {_storage_number(one): one for one in _tensors_in(results)}
        return results, [one for number, one in by_storage.items() if number not in old]


@dataclass(frozen=True)
class _Entry:
    """A graph, and the kinds of its inputs, `torch.Tensor` or `int`, in their order."""

    graph: _Graph
    kinds: tuple[type, ...]

    def run(self, tensors: list[torch.Tensor], numbers: list[int]) -> list[torch.Tensor]:
        by_kind: dict[type, Iterator[Any]] = {torch.Tensor: iter(tensors), int: iter(numbers)}
        inputs = [next(by_kind[kind]) for kind in self.kinds]
        # These are copies of the old contents, and another call may need them, too.
        for place in self.graph.written or ():
            inputs[place] = inputs[place].clone()
        return self.graph(inputs)[1]


# By the number that stands for it in a recipe. A recipe may outlive the one who owns the graph, so
# an entry stays until there is no scope.
_entries: dict[int, _Entry] = {}
# A thread adds an entry only while there is a scope, and another one drops them only while there is
# none.
_entries_lock = threading.Lock()
# The numbers of a graph by the kinds of its inputs, by the id() of the graph as long as it lives.
# They count first calls. Another process makes these in the same order, so plans on disk fit.
_numbers: dict[int, dict[tuple[type, ...], int]] = {}
_next_number = itertools.count()


@dataclass
class _Call:
    """A call of the program, on its way through the dispatcher."""

    graph: _Graph
    inputs: Sequence[Any]
    tensors: list[torch.Tensor]
    results: Any = None

    def is_for(self, tensors: list[torch.Tensor]) -> bool:
        """Whether the kernel runs for this call. A replay comes with tensors of its own."""
        return len(tensors) == len(self.tensors) and all(map(operator.is_, tensors, self.tensors))

    def run(self) -> list[torch.Tensor]:
        self.results, made = self.graph(self.inputs)
        return made


class _Calls(threading.local):
    """The calls of this thread that have not reached their kernel."""

    def __init__(self) -> None:
        self.waiting: list[_Call] = []


_calls = _Calls()


def _tensors_in(some: Any) -> list[torch.Tensor]:
    if isinstance(some, torch.Tensor):
        return [some]
    return [one for one in some if isinstance(one, torch.Tensor)]


def _map_tensors(change: Callable[[torch.Tensor], torch.Tensor], some: Any) -> Any:
    if isinstance(some, torch.Tensor):
        return change(some)
    return [change(one) if isinstance(one, torch.Tensor) else one for one in some]


def _storage_number(tensor: torch.Tensor) -> int:
    """0 for a tensor without a storage."""
    try:
        number: int = _addresses.storage_of(tensor)._cdata
    except (NotImplementedError, RuntimeError):
        return 0
    return number


def _run(number: int, tensors: list[torch.Tensor], numbers: list[int]) -> list[torch.Tensor]:
    """The kernel of `torch_neap::compiled_graph`."""
    if _calls.waiting and _calls.waiting[-1].is_for(tensors):
        return _calls.waiting.pop().run()
    return _entries[number].run(tensors, numbers)


def _run_once(written: list[torch.Tensor], tensors: list[torch.Tensor]) -> list[torch.Tensor]:
    """The kernel of `torch_neap::writing_graph`, which never runs again."""
    call = _calls.waiting.pop()
    assert call.is_for(tensors)
    return call.run()


def _do_nothing(written: list[torch.Tensor]) -> None:
    """The kernel of `torch_neap::will_write`."""


@dataclass(frozen=True)
class _Operators:
    """The operators, which live as long as the library."""

    library: Any
    compiled_graph: Callable[..., Any]
    writing_graph: Callable[..., Any]
    will_write: Callable[..., Any]


@functools.cache
def _operators() -> _Operators:
    """Define them, when a graph runs inside a scope for the first time."""
    library: Any = torch.library.Library("torch_neap", "DEF")  # type: ignore[no-untyped-call]
    # A graph draws its random numbers from the default generator.
    library.define(
        "compiled_graph(int graph, Tensor[] tensors, int[] numbers) -> Tensor[]",
        tags=(torch.Tag.nondeterministic_seeded,),
    )
    library.define("writing_graph(Tensor(a!)[] written, Tensor[] tensors) -> Tensor[]")
    library.define("will_write(Tensor(a!)[] written) -> ()")
    library.impl("compiled_graph", _run, "CompositeExplicitAutograd")
    library.impl("writing_graph", _run_once, "CompositeExplicitAutograd")
    library.impl("will_write", _do_nothing, "CompositeExplicitAutograd")
    _library.check(_library.declare_replayable(b"torch_neap::compiled_graph"))
    of = torch.ops.torch_neap
    return _Operators(
        library, of.compiled_graph.default, of.writing_graph.default, of.will_write.default
    )


def _number_of(graph: _Graph, kinds: tuple[type, ...]) -> int:
    key = id(graph.compiled)
    numbers = _numbers.get(key)
    if numbers is None:
        numbers = _numbers[key] = {}
        weakref.finalize(graph.compiled, _numbers.pop, key, None)
    if kinds not in numbers:
        numbers[kinds] = next(_next_number)
    number = numbers[kinds]
    with _entries_lock:
        if number not in _entries:
            _entries[number] = _Entry(graph, kinds)
    return number


def forget() -> None:
    """Let go of the graphs, if there is no scope any more."""
    with _entries_lock:
        if not _addresses.matter():
            _entries.clear()


def _can_copy(written: list[torch.Tensor], tensors: list[torch.Tensor]) -> bool:
    """Whether the old contents may be copied: they are small, and no other input shares them."""
    storages = [_storage_number(one) for one in tensors]
    return sum(one.nbytes for one in written) <= _MOST_COPIED_BYTES and all(
        storages.count(_storage_number(one)) == 1 for one in written
    )


def _through_neap(call: _Call) -> Any:
    operators = _operators()
    inputs, places = call.inputs, call.graph.written
    kinds = tuple(torch.Tensor if isinstance(one, torch.Tensor) else type(one) for one in inputs)
    # A graph that does not say what it writes may write all.
    written = [one for at, one in enumerate(inputs) if places is None or at in places]
    written = _tensors_in(written)
    can_run_again = (
        places is not None
        and not call.graph.reuses_inputs
        and {torch.Tensor, int}.issuperset(kinds)
        and _can_copy(written, call.tensors)
    )
    _calls.waiting.append(call)
    depth = len(_calls.waiting)
    try:
        with torch._C._AutoDispatchBelowAutograd():
            if not can_run_again:
                operators.writing_graph(written, call.tensors)
                return call.results
            if written:
                old = {id(one): one.clone() for one in written}
                call.tensors = [old.get(id(one), one) for one in call.tensors]
                # The engine must protect the readers before, and the graph is told of the copies.
                operators.will_write(written)
            numbers = [one for one in inputs if not isinstance(one, torch.Tensor)]
            operators.compiled_graph(_number_of(call.graph, kinds), call.tensors, numbers)
    finally:
        del _calls.waiting[depth - 1 :]  # it is still there where the inputs could not come back
    return call.results


def _make_operator_of(graph_class: Any) -> None:
    if hasattr(graph_class.__call__, "_of_neap"):
        return
    plain = graph_class.__call__

    @functools.wraps(plain)
    def called(self: Any, inputs: Sequence[Any]) -> Any:
        if not _addresses.matter():
            return plain(self, inputs)
        tensors = _tensors_in(inputs)
        if not tensors:
            return plain(self, inputs)
        return _through_neap(_Call(_Graph(self, plain), inputs, tensors))

    called._of_neap = True  # type: ignore[attr-defined]
    graph_class.__call__ = called


def make_operators() -> None:
    """Make operators of all graphs that are compiled. A second call does nothing."""
    module = sys.modules.get(_MODULE)
    for name in _CLASSES:
        if hasattr(module, name):
            _make_operator_of(getattr(module, name))


def install() -> None:
    """Make operators of all graphs as soon as there is a compiler. Imports none itself."""
    make_operators()
    plain = torch.compile
    if hasattr(plain, "_of_neap"):
        return

    @functools.wraps(plain)
    def compile(*args: Any, **kwargs: Any) -> Any:
        __import__(_MODULE)
        make_operators()
        return plain(*args, **kwargs)

    compile._of_neap = True  # type: ignore[attr-defined]
    torch.compile = compile
