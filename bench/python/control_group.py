# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""Offloading in a control group, where the system's cache of files counts as memory.

    python control_group.py DIR [MODEL...]

Each way runs in a process and a memory control group of its own. Plain steps take their turn
without a limit. Before the steps of the way, the limit is set to what the process has, what a step
may have beside it (the budget less what stays between steps), and 64 MiB for what is not PyTorch's
memory. So most of what is written has to reach the disk before more memory can be had. Needs the
right to make control groups.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from pathlib import Path

import torch
from side_by_side import Training, in_budget, offloading, peers_of, ratios

import torch_neap as neap

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "cgroup"))
from memory_cgroup import MemoryCgroup

MIB = 1 << 20
ALLOWANCE = 64 * MIB
ROUNDS = 5
HOOKS = "saved-tensor hooks to files"
OFFLOADING = "neap, offloading"
HEADER = (
    "model",
    "way",
    "peak",
    "limit beside what stays, MiB",
    "processor time: median (least)",
    "wall time",
)


def be_measured(group: MemoryCgroup, model: str, share: int, hooks: bool, directory: Path) -> None:
    """Measure one way in the group, and print its row. `share`: 0 is the peak of the hooks."""
    group.enter()
    torch.set_num_threads(1)
    name = HOOKS if hooks else OFFLOADING
    training = Training(model)
    ways = peers_of(training, directory)
    plain = ways[0]
    way = next(way for way in ways if way.name == HOOKS)
    training.turn(plain)
    training.turn(way)
    neap.memory.trim()
    base = neap.memory.usage().live
    step = way.peak - base if share == 0 else (plain.peak - base) * share // 100
    if not hooks:
        way = in_budget(name, base + step, **offloading(directory))

    def limit() -> None:
        neap.memory.trim()
        group.set_limit(group.anonymous() + step + ALLOWANCE)

    limit()
    try:
        for _ in range(4):  # as in a training whose limit was there before: plans know the disk
            training.step(way)
            neap.finish_planning()
    except neap.BudgetExceeded:
        print(f"| {model} | {name}, {share} % | does not fit | | | |", flush=True)
        return
    group.set_limit(None)
    for _ in range(ROUNDS):
        for one in (plain, way):
            if one is way:
                limit()
            wall, processor = training.turn(one)
            group.set_limit(None)
            one.wall.append(wall)
            one.processor.append(processor)
    peak = f"{100 * (way.peak - base) / (plain.peak - base):.0f} %"
    row = [model, way.name, peak, f"{(step + ALLOWANCE) / MIB:.0f}", *ratios(way, plain)]
    print("| " + " | ".join(row) + " |", flush=True)


def main() -> None:
    """Measure and print a table in Markdown."""
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("models", nargs="*", default=["resnet", "gpt", "unet"])
    options = parser.parse_args()
    print("| " + " | ".join(HEADER) + " |")
    print("|---" * len(HEADER) + "|", flush=True)
    fresh = multiprocessing.get_context("spawn")
    for model in options.models:
        for share, hooks in [(0, True), (0, False), (10, False)]:
            try:
                group = MemoryCgroup()
            except OSError as error:
                sys.exit(f"a memory control group cannot be made: {error}")
            with group:
                child = fresh.Process(
                    target=be_measured, args=(group, model, share, hooks, options.directory)
                )
                child.start()
                child.join()
            if child.exitcode != 0:
                sys.exit(f"{model}: a process ended with {child.exitcode}")


if __name__ == "__main__":
    main()
