# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""Trains a program plainly and inside a budget, and compares all bits that it leaves."""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch

import torch_neap as neap


@dataclass
class Training:
    """A model, what trains it, and one step. `step(number)` returns the loss."""

    model: torch.nn.Module
    optimizers: list[torch.optim.Optimizer]
    step: Callable[[int], torch.Tensor]


@dataclass
class Run:
    """What a training left: digests, outside of PyTorch's memory, and figures."""

    digests: dict[str, str]
    stays: int = 0
    activations: int = 0
    peak: int = 0
    replays: int = 0
    evictions: int = 0
    hits: int = 0


def digest(tensor: torch.Tensor) -> str:
    """Hash the bytes of a tensor."""
    flat = tensor.detach().contiguous().reshape(-1).view(torch.uint8)
    return hashlib.sha256(bytes(flat.tolist())).hexdigest()


def _named(training: Training) -> Iterator[tuple[str, torch.Tensor]]:
    for name, parameter in training.model.named_parameters():
        yield name, parameter
        if parameter.grad is not None:
            yield name + ".grad", parameter.grad
    yield from training.model.named_buffers()
    for number, optimizer in enumerate(training.optimizers):
        for group, state in enumerate(optimizer.state.values()):
            for name, value in state.items():
                if isinstance(value, torch.Tensor):
                    yield f"optimizer {number}, {group}.{name}", value
    yield "generator", torch.get_rng_state()


STEPS = 4


def train(make: Callable[[], Training], budget: int | None, **options: Any) -> Run:
    """Train from a fixed seed, and return what is left."""
    # A model of another test that waits in a cycle would count as memory that stays, and the budget
    # would be too large by it once it is collected.
    gc.collect()
    torch.manual_seed(7)
    training = make()
    run = Run({})
    for number in range(STEPS):
        neap.memory.trim()
        start = neap.memory.usage().live
        neap.memory.reset_peak()
        scope = nullcontext() if budget is None else neap.budget(budget, **options)
        with scope as step:
            loss = training.step(number)
            run.digests[f"loss {number}"] = repr(float(loss))
            del loss
        if step is not None:
            run.peak = max(run.peak, step.stats.peak_bytes)
            run.replays += step.stats.replays
            run.evictions += step.stats.evictions
            run.hits += step.stats.plan_hits
            if not options:
                neap.finish_planning()
        usage = neap.memory.usage()
        run.stays = max(start, usage.live)
        run.activations = usage.peak - run.stays
    for name, tensor in _named(training):
        run.digests[name] = digest(tensor)
    return run


def expect_equal_bits(
    make: Callable[[], Training], percents: tuple[int, ...] = (60, 35), **options: Any
) -> list[Run]:
    """Train plainly and with shares of the activations. All bits must be equal.

    The first share is planned, and others decide online.
    """
    plain = train(make, None)
    runs = []
    for index, percent in enumerate(percents):
        budget = plain.stays + plain.activations * percent // 100
        run = train(make, budget, **(options or ({"online": True} if index > 0 else {})))
        different = [name for name, value in plain.digests.items() if run.digests[name] != value]
        assert not different, f"at {percent} %: {different[:5]} differ"
        assert run.digests.keys() == plain.digests.keys()
        assert run.peak <= budget
        assert run.evictions > 0, "the budget was not tight, so nothing was tested"
        runs.append(run)
    return runs
