# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""Traces, plans and frontiers of steps in Python."""

from __future__ import annotations

import programs
import pytest
import torch

import torch_neap as neap


@pytest.fixture(scope="module")
def traced():
    training = programs.gpt()
    training.step(0)
    return training, neap.trace(lambda: training.step(1))


def test_a_trace_has_the_figures_of_the_step(traced):
    _, trace = traced
    assert trace.operators > 100
    assert trace.plain_ns > 0
    assert 0 < trace.given_bytes < trace.plain_peak_bytes
    assert "operators" in repr(trace)


def test_a_trace_survives_its_file(traced, tmp_path):
    _, trace = traced
    trace.save(tmp_path / "step.jsonl.gz")
    again = neap.Trace.load(tmp_path / "step.jsonl.gz")
    assert again.operators == trace.operators
    assert again.plain_peak_bytes == trace.plain_peak_bytes
    with pytest.raises(neap.Error, match="missing"):
        neap.Trace.load(tmp_path / "missing.jsonl")


def test_a_step_that_raises_is_no_trace():
    def step():
        raise KeyError("of the user")

    with pytest.raises(KeyError):
        neap.trace(step)
    with neap.budget("1GiB"):
        torch.ones(3)


def test_a_plan_of_a_trace_is_followed_from_its_file(traced, tmp_path):
    training, trace = traced
    plan = neap.plan(trace, "60%")
    assert plan.peak_bytes <= plan.budget < trace.plain_peak_bytes
    assert plan.reruns > 0
    assert 1 < plan.time < 2
    plan.save(tmp_path / "plan.jsonl")
    neap.memory.trim()
    with neap.budget(plan.budget + (1 << 20), plan=tmp_path / "plan.jsonl") as step:
        training.step(2)
    assert step.stats.planned_operators > 100, step.stats.plan_note


def test_the_smallest_plan_is_smaller_than_others(traced):
    _, trace = traced
    smallest = neap.plan(trace, "min")
    assert smallest.budget < neap.plan(trace, "60%").budget
    with pytest.raises(neap.Error):
        neap.plan(trace, smallest.budget // 2)


def test_a_frontier_shows_itself(traced):
    _, trace = traced
    frontier = neap.frontier(trace, points=4)
    assert len(frontier.rows) == 4
    assert frontier.rows[-1][0] == trace.plain_peak_bytes
    assert frontier.rows[-1][1] == 1
    assert "budget" in str(frontier)
    assert frontier._repr_html_().count("<tr>") == 5
    with pytest.raises(neap.InvalidArgument):
        neap.frontier(trace, points=1)


def test_max_batch_finds_the_largest_that_trains():
    model = torch.nn.Sequential(*[torch.nn.Linear(64, 64) for _ in range(4)])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def make_step(batch):
        x = torch.zeros(batch, 64)

        def step():
            optimizer.zero_grad()
            model(x).sum().backward()
            optimizer.step()

        return step

    neap.memory.trim()
    budget = neap.memory.usage().live + (2 << 20)
    largest = neap.max_batch(make_step, budget)
    assert 512 < largest < 8192
    assert neap.max_batch(make_step, budget, start=1 << 16) == 0
    with pytest.raises(neap.InvalidArgument, match="share"):
        neap.max_batch(make_step, "50%")


def test_analyze_counts_by_kind():
    training = programs.gpt()
    table = neap.analyze(training.model, training.optimizers[0], lambda: training.step(0))
    counted = dict(table.rows)
    parameters = sum(one.numel() * 4 for one in training.model.parameters())
    assert counted["parameters"] == parameters
    assert counted["gradients"] == parameters
    assert 2 * parameters <= counted["optimizer state"] <= 2.1 * parameters
    assert counted["activations"] > 0
    assert "activations" in str(table)
