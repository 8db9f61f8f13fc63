# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""`python -m torch_neap run`: programs that know nothing of neap."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAMS = Path(__file__).parent / "programs_of_users"


def run(*words):
    return subprocess.run(
        [sys.executable, "-m", "torch_neap", "run", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        cwd=PROGRAMS,
    )


def plain(program, *words):
    return subprocess.run(
        [sys.executable, program, *words], capture_output=True, text=True, check=True, cwd=PROGRAMS
    )


def without_times(text):
    """Take out the times that transformers prints."""
    return re.sub(r"'\w+_(runtime|per_second)': '[^']*'", "", text)


def test_a_program_prints_what_it_prints_plainly():
    program = PROGRAMS / "classify.py"
    done = run("--budget", "50%", "--json", "--", program, "--steps", "6")
    assert done.returncode == 0, done.stderr
    assert done.stdout == plain(program, "--steps", "6").stdout
    summary = json.loads(done.stderr.splitlines()[-1])
    assert summary["steps"] >= 4
    assert summary["evicted_bytes"] > 0
    assert summary["peak_bytes"] <= summary["budget_bytes"]


@pytest.mark.parametrize(
    ("program", "budget"),
    [
        ("hf_trainer.py", "70%"),
        ("lightning_fit.py", "70%"),
        ("timm_train.py", "70%"),
        ("loader_and_scaler.py", "75%"),
    ],
)
def test_a_program_as_the_documentation_of_others_shows_it_prints_the_same(program, budget):
    done = run("--budget", budget, "--json", "--", program)
    assert done.returncode == 0, done.stderr
    assert without_times(done.stdout) == without_times(plain(program).stdout)
    summary = json.loads(done.stderr.splitlines()[-1])
    assert summary["evicted_bytes"] > 0


def test_a_program_that_goes_on_to_another_model_has_steps_there_too():
    done = run("--budget", "1GiB", "--json", "--", "folds.py")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stderr.splitlines()[-1])["steps"] > 20


def test_a_module_is_run_too():
    done = run("--budget", "1GiB", "-m", "--", "classify", "--steps", "2")
    assert done.returncode == 0, done.stderr
    assert "steps" in done.stderr
    assert "loss" in done.stdout


@pytest.mark.parametrize("program", ["classify.py", "adversaries.py", "folds.py"])
def test_verify_compares_all_bits(program):
    done = run("--budget", "60%", "--verify", "3", "--", program)
    assert done.returncode == 0, done.stderr
    assert "of 3 steps are equal bit for bit" in done.stderr


def test_verify_sees_a_program_that_differs():
    done = run("--budget", "1GiB", "--verify", "2", "--", "unsteady.py")
    assert done.returncode == 1
    assert "differs from the plain run" in done.stderr


def test_the_program_keeps_its_exit_status():
    done = run("--budget", "1GiB", "--", "classify.py", "--exit", "7")
    assert done.returncode == 7


def test_a_budget_that_is_too_small_says_so():
    done = run("--budget", "200KiB", "--", "classify.py")
    assert done.returncode == 1
    assert "BudgetExceeded" in done.stderr


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--budget", "1GiB", "--", "missing.py"], "there is no file missing.py"),
        (["--budget", "1Gob", "--", "classify.py"], "1Gob"),
        (["--", "classify.py"], "--budget"),
        (["--budget", "1GiB"], "program"),
    ],
)
def test_wrong_words_are_refused_with_a_reason(words, text):
    done = run(*words)
    assert done.returncode == 2
    assert text in done.stderr
