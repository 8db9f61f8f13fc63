# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""What an operator, a scope and a call through ctypes cost in Python: `make bench-python`."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext

import torch

import torch_neap as neap
from torch_neap import _library

ROUNDS = 9
OPERATORS = 2000


def per_call(work: Callable[[], object], count: int) -> float:
    """The microseconds of one of `count` calls."""
    begun = time.perf_counter()
    for _ in range(count):
        work()
    return (time.perf_counter() - begun) / count * 1e6


def show(name: str, figures: list[float]) -> None:
    """Print the median and the least."""
    print(f"| {name} | {statistics.median(figures):.2f} ({min(figures):.2f}) |", flush=True)


def main() -> None:
    """Measure, each in turn with the others."""
    torch.set_num_threads(1)
    x = torch.ones(240)
    weight = torch.ones(240, requires_grad=True)
    scopes = {
        "plain": nullcontext,
        "in a scope without a budget": neap.observe,
        "in a budget that is never full, online": lambda: neap.budget("8GiB", online=True),
        "in a budget that is never full, by a plan": lambda: neap.budget("8GiB"),
    }
    found: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        for name, scope in scopes.items():
            for kind, one in (("x * 2", x), ("weight * 2, with a graph", weight)):
                with scope():
                    took = per_call(lambda one=one: one * 2, OPERATORS)
                neap.finish_planning()
                found.setdefault(f"{kind}, {name}", []).append(took)
        calls = {
            "an empty scope": lambda: neap.budget("8GiB", online=True).__enter__().end(),
            "a call through ctypes": _library.error_class,
            "checkpoint of a function that does nothing": lambda: neap.checkpoint(abs, 1),
        }
        for name, call in calls.items():
            found.setdefault(name, []).append(per_call(call, OPERATORS // 4))
    print("| what | us: median (least) |")
    print("|---|---|")
    for name, figures in found.items():
        show(name, figures)


if __name__ == "__main__":
    main()
