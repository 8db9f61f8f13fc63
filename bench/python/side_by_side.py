# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""Ways to train in less memory, side by side in one process: `make bench-python`.

Each way is warmed up, then all take their turn, round after round. A turn is a step that gets its
memory from the system, and one that is measured. Time is the processor's time of the training
thread, and that of the wall. Memory is the peak of PyTorch's live bytes above those
before the step, as a share of the plain step's.

With --offload there are ways that write to a directory. They wait for the disk, and neap copies in
threads of its own, so only the time of the wall says what they cost.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import torch
import torch_remat
from models import MODELS, Model, plainly
from saved_files import SavedFiles
from torch import Tensor, nn
from torch.utils.checkpoint import (
    CheckpointPolicy,
    checkpoint,
    checkpoint_sequential,
    create_selective_checkpoint_contexts,
)

import torch_neap as neap

TIER_LIMIT = "4GiB"  # more than what any of the models saves

# Of two kinds of steps in one budget, a plan of the other kind is tried first: so each kind has a
# budget of its own.
BESIDE = 4096

PRODUCTS = {
    torch.ops.aten.mm.default,
    torch.ops.aten.addmm.default,
    torch.ops.aten.bmm.default,
    torch.ops.aten.convolution.default,
}


def per_block(blocks: nn.ModuleList, x: Tensor) -> Tensor:
    """Checkpoint each block."""
    for block in blocks:
        x = checkpoint(block, x, use_reentrant=False)
    return x


def sequential(segments: int, blocks: nn.ModuleList, x: Tensor) -> Tensor:
    """Checkpoint all segments but the last."""
    return checkpoint_sequential(list(blocks), segments, x, use_reentrant=False)


def _policy(_: object, op: object, *args: object, **kwargs: object) -> CheckpointPolicy:
    return CheckpointPolicy.MUST_SAVE if op in PRODUCTS else CheckpointPolicy.PREFER_RECOMPUTE


def selective(blocks: nn.ModuleList, x: Tensor) -> Tensor:
    """Checkpoint each block, and keep products and convolutions."""
    for block in blocks:
        contexts = partial(create_selective_checkpoint_contexts, _policy)
        x = checkpoint(block, x, use_reentrant=False, context_fn=contexts)
    return x


def remat(blocks: nn.ModuleList, x: Tensor) -> Tensor:
    """Checkpoint each block by torch_remat. It does not save the generator's state."""
    for number, block in enumerate(blocks):
        x = torch_remat.checkpoint(region_name=str(number))(block)(x)
    return x


class CompiledBlocks:
    """Call each block compiled."""

    def __init__(self) -> None:
        self.compiled: dict[nn.Module, Callable[[Tensor], Tensor]] = {}

    def __call__(self, blocks: nn.ModuleList, x: Tensor) -> Tensor:
        for block in blocks:
            if block not in self.compiled:
                self.compiled[block] = torch.compile(block)
            x = self.compiled[block](x)
        return x


class CompiledWhole:
    """Compile forward and loss as one graph, with a share of the activations to keep."""

    def __init__(self, share: float) -> None:
        self.share = share
        self.compiled: Callable[[tuple[Tensor, Tensor]], Tensor] | None = None

    def __call__(self, model: Model, batch: tuple[Tensor, Tensor]) -> Tensor:
        if self.compiled is None:
            self.compiled = torch.compile(model.loss)
        # It counts when a graph is compiled: at the first call.
        with torch._functorch.config.patch(activation_memory_budget=self.share):
            return self.compiled(batch)


def uncompiled(model: Model, batch: tuple[Tensor, Tensor]) -> Tensor:
    """The loss, by PyTorch's operators."""
    return model.loss(batch)


@dataclass
class Way:
    """A way to train, and what was measured of it."""

    name: str
    run: Callable[[nn.ModuleList, Tensor], Tensor] = plainly
    loss: Callable[[Model, tuple[Tensor, Tensor]], Tensor] = uncompiled
    within: Callable[[], AbstractContextManager[Any]] = nullcontext
    budget: int | None = None
    planned: bool = False  # the last step followed a plan
    peak: int = 0
    wall: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)


def in_budget(
    name: str,
    budget: int,
    run: Callable[[nn.ModuleList, Tensor], Tensor] = plainly,
    **options: object,
) -> Way:
    """A way of neap; `options` are those of `neap.budget`."""
    return Way(name, run, within=partial(neap.budget, budget, **options), budget=budget)


def offloading(directory: Path | None) -> dict[str, object]:
    """The options of `neap.budget` that offload; none where the package has none, or no place."""
    if directory is None:
        return {}
    if not hasattr(neap, "Offload"):
        print("this torch_neap cannot offload: its ways to do so are left out", file=sys.stderr)
        return {}
    return {"offload": neap.Offload(directory, limit=TIER_LIMIT)}


class Training:
    """A model that each way trains on in turn."""

    def __init__(self, name: str) -> None:
        make, optimize, self.segments = MODELS[name]
        torch.manual_seed(0)
        self.model: Model = make()
        self.optimizer = optimize(self.model.parameters())
        self.batch = make.batch()

    def can_remat(self) -> bool:
        """Whether torch_remat applies: no block draws random numbers."""
        return not any(
            isinstance(part, nn.Dropout) and part.p > 0
            for block in self.model.blocks
            for part in block.modules()
        )

    def can_select(self) -> bool:
        """Whether products can be kept: no block writes into one, as the cell of an LSTM does."""
        return not any(isinstance(part, nn.LSTMCell) for part in self.model.blocks.modules())

    def turn(self, way: Way) -> tuple[float, float]:
        """Train two steps, and return wall and processor time of the second one in seconds."""
        neap.memory.trim()
        self.step(way)
        return self.step(way)

    def step(self, way: Way) -> tuple[float, float]:
        """Train one step, and return its wall and processor time in seconds."""
        self.model.run = way.run
        neap.memory.reset_peak()
        wall, processor = time.perf_counter(), time.thread_time()
        with way.within() as step:
            self.optimizer.zero_grad()
            loss = way.loss(self.model, self.batch)
            loss.backward()
            self.optimizer.step()
            del loss
        took = time.perf_counter() - wall, time.thread_time() - processor
        if way.budget is not None:
            way.planned = step.stats.plan_hits > 0
        way.peak = neap.memory.usage().peak
        self.optimizer.zero_grad()
        return took


def peers_of(training: Training, directory: Path | None) -> list[Way]:
    """The plain step, and the ways that PyTorch has."""
    ways = [Way("plain"), Way("checkpoint per block", per_block)]
    if training.segments > 1:
        ways.append(Way("checkpoint_sequential", partial(sequential, training.segments)))
    if training.can_select():
        ways.append(Way("selective checkpoint", selective))
    if training.can_remat():
        ways.append(Way("torch_remat per block", remat))
    ways += [
        Way("torch.compile", loss=CompiledWhole(1.0)),
        Way("torch.compile, activation budget 0.5", loss=CompiledWhole(0.5)),
        Way("torch.compile by blocks", CompiledBlocks()),
    ]
    if directory is not None:
        model = training.model
        staying = chain(model.parameters(), model.buffers(), training.batch)
        files = SavedFiles(directory, staying)
        ways.append(Way("saved-tensor hooks to files", within=files.within))
    return ways


def own_ways(peers: list[Way], base: int, shares: list[int], directory: Path | None) -> list[Way]:
    """The ways of neap: at the peaks of the peers, and at shares of the plain step's."""
    ways: list[Way] = []
    offload = offloading(directory)
    plain = peers[0]

    def add(budget: int, place: str, name: str) -> None:
        ways.append(in_budget(f"neap {place}", budget))
        if offload:
            ways.append(in_budget(name, budget + BESIDE, **offload))

    for peer in peers[1:]:
        # Of two peaks that are nearly the same, one is enough.
        near = [
            way for way in ways if way.budget and abs(way.budget - peer.peak) < plain.peak // 50
        ]
        if peer.peak < plain.peak and not near:
            place = f"at the peak of {peer.name}"
            add(peer.peak, place, f"neap, offloading, {place}")
    for share in shares:
        place = f"at {share} %"
        add(base + (plain.peak - base) * share // 100, place, f"neap {place}, offloading")
    half = base + (plain.peak - base) // 2 + 2 * BESIDE
    compiled = next(peer for peer in peers if isinstance(peer.run, CompiledBlocks))
    ways.append(in_budget("neap at 50 %, compiled by blocks", half, compiled.run))
    return ways


def measure(name: str, rounds: int, shares: list[int], directory: Path | None) -> list[Way]:
    """Measure all ways of one model."""
    training = Training(name)
    peers = peers_of(training, directory)
    for way in peers:
        training.turn(way)
    neap.memory.trim()
    base = neap.memory.usage().live
    own = own_ways(peers, base, shares, directory)
    ways = peers + own
    for way in own:
        try:
            for _ in range(4):
                training.step(way)
                neap.finish_planning()
        except neap.BudgetExceeded as error:
            print(f"{name}, {way.name}: {str(error).splitlines()[0]}", file=sys.stderr)
            training.optimizer.zero_grad()  # or the next way begins with them
            ways.remove(way)
    for _ in range(rounds):
        for way in ways:
            wall, processor = training.turn(way)
            way.wall.append(wall)
            way.processor.append(processor)
            if way.budget is not None and not way.planned:
                print(f"{name}, {way.name}: a step without a plan", file=sys.stderr)
    for way in ways:
        way.peak -= base
    return ways


def ratios(way: Way, plain: Way) -> tuple[str, str]:
    """The processor's time and the wall's over the plain step's: median (least)."""

    def text(of: list[float], base: list[float]) -> str:
        median = statistics.median(one / other for one, other in zip(of, base, strict=True))
        return f"{median:.2f} ({min(of) / min(base):.2f})"

    return text(way.processor, plain.processor), text(way.wall, plain.wall)


def rows(name: str, ways: list[Way]) -> list[list[str]]:
    """The figures as a table has them."""
    plain = ways[0]
    return [
        [name, way.name, f"{100 * way.peak / plain.peak:.0f} %", *ratios(way, plain)]
        for way in ways
    ]


def main() -> None:
    """Measure and print a table in Markdown."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--shares", default="", help="default: 50,30,15; with --offload 10,6, too")
    parser.add_argument("--csv", default="", help="adds the figures to what this file has")
    parser.add_argument("--offload", type=Path, help="a directory, for the ways that offload")
    parser.add_argument("models", nargs="*", default=list(MODELS))
    options = parser.parse_args()
    chosen = options.shares or ("50,30,15,10,6" if options.offload else "50,30,15")
    shares = [int(one) for one in chosen.split(",")]
    torch.set_num_threads(1)
    header = ["model", "way", "peak", "processor time: median (least)", "wall time"]
    lines = []
    print("| " + " | ".join(header) + " |")
    print("|---|---|---|---|---|")
    for name in options.models:
        ways = measure(name, options.rounds, shares, options.offload)
        for line in rows(name, ways):
            print("| " + " | ".join(line) + " |", flush=True)
            lines.append(line)
    if options.csv:
        with open(options.csv, "a", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows(
                lines if file.tell() else [header, *lines]
            )


if __name__ == "__main__":
    main()
