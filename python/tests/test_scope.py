# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""Scopes: what they count, how they end, and what they say to wrong use."""

from __future__ import annotations

import contextlib
import gc
import os
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import fields

import programs
import pytest
import torch

import torch_neap as neap

SIDE = 64
BYTES = SIDE * SIDE * 4


def room_for(count):
    gc.collect()  # what earlier tests have left would make room later
    neap.memory.trim()
    return neap.memory.usage().live + count * BYTES


def squares(count):
    x = torch.ones(SIDE, SIDE)
    return [x * number for number in range(count)]


def test_a_scope_counts_and_holds_its_budget():
    budget = room_for(6)
    with neap.budget(budget, online=True) as step:
        made = squares(12)
        assert step.stats.evictions > 0
        total = sum(float(one.sum()) for one in made)
        del made
    assert total == SIDE * SIDE * sum(range(12))
    assert step.stats.budget_bytes == budget
    assert 0 < step.stats.peak_bytes <= budget
    assert step.stats.replays > 0
    assert step.stats.operators > 0
    assert len(fields(step.stats)) == 26


@pytest.mark.parametrize("verify", [True, False])
def test_verify_names_an_operator_that_does_something_else_the_second_time(verify):
    calls = []

    def drift(x):
        calls.append(x.shape)
        return x * len(calls)

    with torch.library._scoped_library("neap_verify", "FRAGMENT") as library:
        library.define(f"drift_{verify}(Tensor x) -> Tensor")
        library.impl(f"drift_{verify}", drift, "CPU")
        neap.declare_replayable(f"neap_verify::drift_{verify}")
        operator = getattr(torch.ops.neap_verify, f"drift_{verify}")
        wanted = pytest.raises(neap.ReplayError, match="drift_True: replayed, made other bytes")
        x = torch.ones(SIDE, SIDE)
        with (
            wanted if verify else contextlib.nullcontext(),
            neap.budget(room_for(6), online=True, verify=verify) as step,
        ):
            made = [operator(x) for _ in range(12)]
            assert step.stats.evictions > 0
            total = sum(float(one.sum()) for one in made)
            made.clear()
            assert total > SIDE * SIDE * sum(range(1, 13))  # other bytes, and nothing said so


@pytest.mark.parametrize(
    "wrong", ["", "8Gob", "0", "-1", 0, -5, "0%", "-3%", "2000%", "x%", "nan%", 1.5, None, True]
)
def test_a_budget_that_is_none_is_refused(wrong):
    with pytest.raises(neap.InvalidArgument):
        neap.budget(wrong)


def test_online_with_a_plan_is_refused():
    with pytest.raises(neap.InvalidArgument, match="online"):
        neap.budget("1GiB", online=True, cache="plans")


def test_what_does_not_fit_raises_inside_and_has_its_class_outside():
    caught = []
    with pytest.raises(neap.BudgetExceeded) as raised, neap.budget(room_for(3), online=True):
        try:
            torch.ones(8 * SIDE, SIDE)
        except torch.OutOfMemoryError as error:
            caught.append(str(error))
            raise
    assert "exceeded" in caught[0]
    assert isinstance(raised.value, torch.OutOfMemoryError)
    assert raised.value.need == 8 * BYTES
    assert raised.value.budget < raised.value.in_use + raised.value.need
    assert str(raised.value) in caught[0]
    torch.ones(8 * SIDE, SIDE)  # the budget is gone


def test_an_error_of_the_user_passes_and_the_scope_is_closed():
    with pytest.raises(KeyError), neap.budget(room_for(6), online=True):
        squares(12)
        raise KeyError("of the user")
    with neap.budget("1GiB"):
        squares(2)


def test_an_error_of_torch_is_not_taken_for_one_of_neap():
    with pytest.raises(neap.BudgetExceeded), neap.budget(room_for(3), online=True):
        torch.ones(8 * SIDE, SIDE)
    with pytest.raises(RuntimeError) as raised, neap.budget("1GiB"):
        torch.ones(2, 3) @ torch.ones(2, 3)
    assert not isinstance(raised.value, neap.Error)


def test_interrupt_reaches_the_next_operator():
    with pytest.raises(neap.Interrupted), neap.budget("1GiB"):
        neap.interrupt()
        torch.ones(3)


def test_a_generator_that_is_dropped_closes_its_scope():
    def steps():
        with neap.budget(room_for(6), online=True):
            yield squares(12)

    one = steps()
    next(one)
    del one
    gc.collect()
    with neap.budget("1GiB"):
        squares(2)


def test_a_scope_in_a_second_thread_is_refused():
    errors = []

    def open_scope():
        try:
            with neap.budget("1GiB"):
                pass
        except neap.ScopeConflict as error:
            errors.append(str(error))

    with neap.budget("2GiB"):
        thread = threading.Thread(target=open_scope)
        thread.start()
        thread.join()
    assert len(errors) == 1
    open_scope()
    assert len(errors) == 1


def test_scopes_nest_when_they_name_the_same_budget():
    with neap.budget("1GiB"):
        with neap.budget("1GiB"):
            squares(2)
        with pytest.raises(neap.ScopeConflict, match="another budget"), neap.budget("2GiB"):
            pass


def test_a_scope_inside_inference_mode_is_refused():
    with torch.inference_mode(), pytest.raises(neap.ScopeConflict, match="inference_mode"):
        with neap.budget("1GiB"):
            pass


def test_a_share_is_measured_in_the_second_step():
    training = programs.mlp()
    budgets = []
    for number in range(4):
        with neap.budget("61.5%") as step:
            training.step(number)
        budgets.append(step.stats.budget_bytes)
    assert budgets[:2] == [0, 0]
    assert budgets[2] > 0
    assert budgets[2] == budgets[3]
    assert step.stats.evictions > 0


def test_auto_is_what_the_machine_leaves():
    with neap.budget("auto") as step:
        squares(1)
    assert step.stats.budget_bytes > BYTES


def test_attach_makes_each_step_of_the_optimizer_one_of_neap():
    training = programs.mlp()
    attached = neap.attach(training.optimizers[0], "1GiB")
    for number in range(3):
        training.step(number)
    assert attached.steps == 3
    assert attached.stats.operators > 0
    attached.detach()
    training.step(3)
    assert attached.steps == 4
    attached.detach()


def test_what_is_attached_goes_on_after_a_step_that_did_not_fit():
    training = programs.mlp()
    with neap.attach(training.optimizers[0], room_for(300), online=True) as attached:
        training.step(0)
        held = torch.ones(60 * SIDE, SIDE)
        made = [held * number for number in range(6)]
        with pytest.raises(neap.BudgetExceeded):
            training.step(1)
        del made, held
        with pytest.raises(torch.OutOfMemoryError):
            torch.ones(400 * SIDE, SIDE)
        assert attached.steps == 2
    torch.ones(400 * SIDE, SIDE)


def test_what_is_attached_anew_takes_the_place_of_the_old():
    training = programs.mlp()
    old = neap.attach(training.optimizers[0], "2GiB")
    new = neap.attach(training.optimizers[0], "1GiB")
    training.step(0)
    assert (old.steps, new.steps) == (1, 1)
    new.detach()
    with neap.budget("3GiB"):
        torch.ones(3)


def test_a_scope_that_another_thread_would_end_stays_open():
    errors = []

    def end():
        try:
            step.end()
        except neap.ScopeConflict as error:
            errors.append(error)
        step.abandon()

    with neap.budget(room_for(6), online=True) as step:
        made = squares(12)
        thread = threading.Thread(target=end)
        thread.start()
        thread.join()
        assert len(errors) == 1
        assert torch.equal(made[3], torch.ones(SIDE, SIDE) * 3)
        with pytest.raises(torch.OutOfMemoryError):
            torch.ones(100 * SIDE, SIDE)
        del made
    torch.ones(100 * SIDE, SIDE)


def test_a_refused_step_frees_its_tensors_at_once():
    gc.collect()
    gc.disable()
    try:
        before = neap.memory.usage().live
        with contextlib.suppress(neap.BudgetExceeded):
            with neap.budget(room_for(40), online=True):
                kept = torch.empty(20 * SIDE, SIDE)
                torch.ones(80 * SIDE, SIDE)
        del kept
        assert neap.memory.usage().live == before
    finally:
        gc.enable()


# The main thread sits in join() while another one allocates, and the budget is full.
def test_another_thread_evicts_while_the_thread_of_the_scope_idles_in_python():
    with neap.budget(room_for(10), online=True) as step:
        made = squares(8)
        assert step.stats.evictions == 0
        taken, seconds = [], []

        def allocate():
            begun = time.monotonic()
            taken.extend(torch.full((SIDE, SIDE), 2.5) for _ in range(6))
            seconds.append(time.monotonic() - begun)

        thread = threading.Thread(target=allocate)
        thread.start()
        thread.join()
        assert len(taken) == 6
        assert step.stats.evictions > 0
        taken.clear()
        for number, one in enumerate(made):
            assert torch.equal(one, torch.ones(SIDE, SIDE) * number)
        del made


def test_a_child_of_fork_has_no_scope_and_no_budget():
    with neap.budget(room_for(6), online=True):
        made = squares(12)
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            good = b"n"
            try:
                torch.set_num_threads(1)  # OpenMP has no other threads here, as in a data loader
                torch.ones(100 * SIDE, SIDE)  # far over the budget
                with neap.budget("1GiB"):
                    squares(3)
                good = b"y"
            finally:
                os.write(write, good)
                os._exit(0)
        os.waitpid(child, 0)
        assert os.read(read, 1) == b"y"
        assert torch.equal(made[3], torch.ones(SIDE, SIDE) * 3)
        del made


def run_python(program, **environment):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        check=False,
    )


def test_a_program_that_ends_inside_a_scope_ends_well():
    done = run_python(
        """
        import torch, torch_neap as neap
        step = neap.budget(neap.memory.usage().live + (1 << 20), online=True)
        step.__enter__()
        made = [torch.ones(64, 64) * i for i in range(200)]
        print("end")
        """
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")


def test_a_program_that_exits_inside_a_scope_keeps_its_status():
    done = run_python(
        """
        import sys, torch, torch_neap as neap
        with neap.budget("1GiB"):
            torch.ones(3)
            sys.exit(5)
        """
    )
    assert (done.returncode, done.stderr) == (5, "")


def test_ctrl_c_passes_through_a_scope():
    done = run_python(
        """
        import os, signal, torch, torch_neap as neap
        try:
            with neap.budget("1GiB"):
                os.kill(os.getpid(), signal.SIGINT)
                while True:
                    torch.ones(3)
        except KeyboardInterrupt:
            print("interrupted")
        with neap.budget("1GiB"):
            print(float(torch.ones(3).sum()))
        """
    )
    assert (done.returncode, done.stdout) == (0, "interrupted\n3.0\n")


def test_another_torch_is_refused_with_the_list():
    done = run_python(
        """
        import torch
        torch.__version__ = "2.99.1"
        import torch_neap
        """
    )
    assert done.returncode == 1
    assert "no library for torch 2.99.1; it has those for torch 2." in done.stderr


def test_the_saved_report_knows_what_waits_for_the_backward():
    training = programs.gpt()
    batch = programs.tokens(0)
    with neap.observe():
        loss = training.model(batch[:, :-1]).sum()
        report = neap.saved_report(loss)
    assert "aten::" in report
    with pytest.raises(neap.InvalidArgument, match="no graph"):
        neap.saved_report(loss.detach())


def test_the_profiler_sees_the_memory_of_operators():
    with torch.profiler.profile(profile_memory=True) as profile:
        with neap.budget("1GiB"):
            torch.ones(SIDE, SIDE).exp()
    memory = {event.key: event.self_cpu_memory_usage for event in profile.key_averages()}
    assert memory["aten::exp"] == BYTES
