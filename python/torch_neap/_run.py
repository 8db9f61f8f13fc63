# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""`python -m torch_neap run`: runs a program unmodified inside a budget.

The program's steps are found by those of its optimizers: see `_steps.py`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import runpy
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from torch_neap import _amount, _errors, _offload, _scope, _steps, memory

_STEPS_VARIABLE = "TORCH_NEAP_VERIFY_STEPS"
_DIGESTS_VARIABLE = "TORCH_NEAP_VERIFY_FILE"


@dataclass
class Summary:
    """What the table at the end shows."""

    budget_bytes: int = 0
    peak_bytes: int = 0
    steps: int = 0
    planned_steps: int = 0
    operators: int = 0
    replays: int = 0
    evicted_bytes: int = 0
    replay_seconds: float = 0
    bookkeeping_seconds: float = 0
    seconds: float = 0
    note: str = ""

    def add(self, stats: _scope.Stats) -> None:
        """Count a step that has ended."""
        self.budget_bytes = max(self.budget_bytes, stats.budget_bytes)
        self.peak_bytes = max(self.peak_bytes, stats.peak_bytes)
        self.steps += 1
        self.planned_steps += stats.plan_hits
        self.operators += stats.operators
        self.replays += stats.replays
        self.evicted_bytes += stats.evicted_bytes
        self.replay_seconds += stats.replay_ns / 1e9
        self.bookkeeping_seconds += stats.bookkeeping_ns / 1e9
        self.note = stats.plan_note or self.note

    def table(self) -> str:
        """As people read it."""
        rows = [
            ("budget", memory.text(self.budget_bytes) if self.budget_bytes else "none"),
            ("peak", memory.text(self.peak_bytes)),
            ("steps", f"{self.steps}, {self.planned_steps} of them by a plan"),
            ("operators", f"{self.operators}, and {self.replays} run again"),
            ("evicted", memory.text(self.evicted_bytes)),
            (
                "time",
                f"{self.seconds:.1f} s: {self.replay_seconds:.1f} s of operators run again, "
                f"{self.bookkeeping_seconds:.1f} s in neap",
            ),
        ]
        lines = [f"  {name:<10} {value}" for name, value in rows]
        if self.note:
            lines.append(f"  {'note':<10} {self.note}")
        return "neap\n" + "\n".join(lines)


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m torch_neap run",
        description="Runs a training program inside a memory budget, with the same bits.",
        usage="%(prog)s --budget 8GiB [options] -- train.py [its arguments]",
    )
    parser.add_argument(
        "--budget",
        required=True,
        metavar="BYTES",
        help="bytes, as 8GiB; a share of the second step's activations, as 50%%; or auto",
    )
    parser.add_argument("--online", action="store_true", help="decide without plans")
    parser.add_argument("--cache", default="", metavar="DIR", help="keeps plans between runs")
    parser.add_argument(
        "--offload", default="", metavar="DIR", help="also copies what does not fit to a file there"
    )
    parser.add_argument(
        "--offload-limit", default="", metavar="BYTES", help="the most that the file may hold"
    )
    parser.add_argument("--json", action="store_true", help="print the table as JSON")
    parser.add_argument(
        "--verify",
        type=int,
        default=0,
        metavar="N",
        help="run N steps plainly and N inside the budget, compare their bits, and stop",
    )
    parser.add_argument("-m", dest="module", action="store_true", help="PROGRAM is a module's name")
    parser.add_argument("program", help="a file, or a module with -m")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="of the program")
    return parser


def _run_program(program: str, module: bool, arguments: list[str]) -> None:
    if module:
        sys.argv = [program, *arguments]
        sys.path.insert(0, os.getcwd())
        runpy.run_module(program, run_name="__main__", alter_sys=True)
        return
    sys.argv = [program, *arguments]
    sys.path.insert(0, str(Path(program).resolve().parent))
    runpy.run_path(program, run_name="__main__")


# ---- Verification ----


class _Enough(SystemExit):
    """Ends the program after the steps that are compared."""


def _tensors(optimizer: torch.optim.Optimizer) -> Iterator[tuple[str, torch.Tensor]]:
    number = 0
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            yield f"parameter {number}", parameter
            if parameter.grad is not None:
                yield f"gradient {number}", parameter.grad
            state: dict[str, Any] = optimizer.state.get(parameter, {})
            for name, value in sorted(state.items(), key=lambda item: str(item[0])):
                if isinstance(value, torch.Tensor):
                    yield f"{name} {number}", value
            number += 1
    yield "generator", torch.get_rng_state()


def _digest(tensor: torch.Tensor) -> str:
    flat = tensor.detach().contiguous().view(-1).view(torch.uint8)
    return hashlib.sha256(flat.numpy().tobytes()).hexdigest()


def _write_digests(path: str, most: int) -> None:
    """Write a line for each tensor of each step, and end the program after `most` steps."""
    done = 0

    def stepped(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        nonlocal done
        with open(path, "a", encoding="utf-8") as file:
            for name, tensor in _tensors(optimizer):
                file.write(f"{name} of step {done + 1}\t{_digest(tensor)}\n")
        done += 1
        if done >= most:
            raise _Enough(0)

    register_optimizer_step_post_hook(stepped)


def _verify(options: argparse.Namespace) -> int:
    """Run the program twice, and compare."""
    lines: list[list[str]] = []
    for way in ("plain", "budget"):
        with tempfile.NamedTemporaryFile(suffix=".digests") as file:
            environment = dict(os.environ)
            environment[_STEPS_VARIABLE] = str(options.verify)
            environment[_DIGESTS_VARIABLE] = file.name
            command = [sys.executable, "-m", "torch_neap", "run"]
            command += ["--budget", options.budget if way == "budget" else "none"]
            command += ["--online"] if options.online else []
            command += ["--offload", options.offload] if options.offload else []
            command += ["--offload-limit", options.offload_limit] if options.offload_limit else []
            command += ["-m"] if options.module else []
            command += ["--", options.program, *options.arguments]
            code = subprocess.run(command, env=environment, check=False).returncode
            if code != 0:
                print(
                    f"neap: the {way} run ended with {code}; nothing was compared", file=sys.stderr
                )
                return code
            lines.append(Path(file.name).read_text(encoding="utf-8").splitlines())
    plain, budget = lines
    if not plain:
        print("neap: no optimizer made a step, so nothing was compared", file=sys.stderr)
        return 1
    for ours, theirs in zip(budget, plain, strict=False):
        if ours != theirs:
            name = theirs.partition("\t")[0]
            print(f"neap: {name} differs from the plain run", file=sys.stderr)
            return 1
    if len(plain) != len(budget):
        print("neap: the two runs made different numbers of steps", file=sys.stderr)
        return 1
    print(
        f"neap: {len(plain)} tensors of {options.verify} steps are equal bit for bit",
        file=sys.stderr,
    )
    return 0


# ---- The command ----


def _fail(text: str) -> int:
    print(f"neap: {text}", file=sys.stderr)
    return 2


def main() -> int:
    """Run `neap-run` with the words of this process."""
    return run(sys.argv[1:])


def run(words: list[str]) -> int:
    """Run the command with these words. Returns the exit status."""
    options = _arguments().parse_args(words)
    if options.arguments[:1] == ["--"]:
        options.arguments = options.arguments[1:]
    if not options.module and not Path(options.program).is_file():
        return _fail(f"there is no file {options.program}; name the program after --")
    if options.verify < 0:
        return _fail(f"--verify {options.verify}: a number of steps above 0")
    try:
        amount = None if options.budget == "none" else _amount.Amount.parse(options.budget)
        place = _offload.Offload(options.offload, options.offload_limit or None)
        directory, limit = _offload.directory_and_limit(place if options.offload else None)
    except _errors.InvalidArgument as error:
        return _fail(str(error))
    if options.verify:
        return _verify(options)
    if _DIGESTS_VARIABLE in os.environ:
        _write_digests(os.environ[_DIGESTS_VARIABLE], int(os.environ[_STEPS_VARIABLE]))
    if amount is None:
        _run_program(options.program, options.module, options.arguments)
        return 0
    mode = _scope.Mode(
        online=options.online, cache=options.cache, offload=directory, offload_limit=limit
    )
    return _run_steps(options, amount, mode)


def _run_steps(options: argparse.Namespace, amount: _amount.Amount, mode: _scope.Mode) -> int:
    summary = Summary()
    steps = _steps.Steps(amount, mode, summary.add)
    started = time.monotonic()
    try:
        _run_program(options.program, options.module, options.arguments)
        steps.end()
    except SystemExit:
        steps.abandon()
        raise
    except BaseException as error:
        steps.abandon()
        _scope.raise_in_own_class(error)
        raise
    finally:
        steps.close()
        summary.seconds = time.monotonic() - started
        _report(summary, options.json)
    return 0


def _report(summary: Summary, as_json: bool) -> None:
    print(json.dumps(asdict(summary)) if as_json else summary.table(), file=sys.stderr)
