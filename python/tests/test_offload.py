# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""Budgets that hold more than recomputation alone: tensors also go to a file and come back."""

from __future__ import annotations

import copy
import gc
import io

import programs
import pytest
import torch
from harness import expect_equal_bits

import torch_neap as neap


@pytest.mark.parametrize(
    ("make", "percents"),
    [(programs.gpt, (30, 15)), (programs.resnet, (40, 25)), (programs.mlp, (30, 15))],
)
def test_small_budgets_leave_the_same_bits(make, percents, tmp_path):
    expect_equal_bits(make, percents, online=True, offload=tmp_path)


def test_steps_by_a_plan_leave_the_same_bits(tmp_path):
    expect_equal_bits(programs.gpt, (30, 20), offload=tmp_path)


def room_for(count):
    gc.collect()
    neap.memory.trim()
    return neap.memory.usage().live + count * (256 << 10) + (64 << 10)


def fill(budget):
    with pytest.raises(torch.OutOfMemoryError):
        torch.empty(2 * budget, dtype=torch.uint8)


def moved_out(tmp_path, **options):
    """A parameter that a scope has left in its file."""
    weight = torch.nn.Parameter(torch.rand(256, 256))
    kept = weight.detach().clone()
    budget = room_for(4)
    with neap.budget(budget, online=True, offload=neap.Offload(tmp_path, **options)) as step:
        weight.square().sum()
        fill(budget)
        assert neap.is_evicted(weight)
    assert step.stats.offloads > 0
    return weight, kept


READING = {
    "an operator": lambda weight: weight.detach() * 1,
    "numpy": lambda weight: torch.from_numpy(weight.detach().numpy().copy()),
    "tolist": lambda weight: torch.tensor(weight.tolist()),
    "deepcopy": lambda weight: copy.deepcopy(weight).detach(),
    "data_ptr": lambda weight: weight.detach() if weight.data_ptr() else None,
}


@pytest.mark.parametrize("reading", READING.values(), ids=READING.keys())
def test_a_parameter_that_is_away_after_the_block_comes_back(reading, tmp_path):
    weight, kept = moved_out(tmp_path, limit="4MiB")
    assert neap.is_evicted(weight)
    assert torch.equal(reading(weight), kept)
    assert not neap.is_evicted(weight)


def test_a_parameter_that_is_away_is_saved(tmp_path):
    weight, kept = moved_out(tmp_path)
    file = io.BytesIO()
    torch.save({"weight": weight}, file)
    file.seek(0)
    assert torch.equal(torch.load(file)["weight"].detach(), kept)


def test_what_has_an_alias_from_before_the_scope_stays(tmp_path):
    weight = torch.nn.Parameter(torch.rand(256, 256))
    array = weight.detach().numpy()
    address = array.ctypes.data
    budget = room_for(4)
    with neap.budget(budget, online=True, offload=tmp_path):
        weight.square().sum()
        fill(budget)
        assert not neap.is_evicted(weight)
        assert weight.detach().numpy().ctypes.data == address


def test_an_attached_optimizer_trains_with_its_state_in_the_file(tmp_path):
    def train(budget):
        torch.manual_seed(3)
        model = torch.nn.Sequential(
            *(torch.nn.Linear(256, 256) for _ in range(8)),
        )
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        x = torch.rand(16, 256)
        attached = budget and neap.attach(optimizer, budget, online=True, offload=tmp_path)
        for _ in range(4):
            optimizer.zero_grad()
            model(x).square().sum().backward()
            optimizer.step()
            if attached:
                assert attached.stats.offloads > 0
                assert attached.stats.peak_bytes <= budget
        if attached:
            attached.detach()
        return [one.detach().clone() for one in model.parameters()]

    plain = train(None)
    gc.collect()
    neap.memory.trim()
    # Parameters, gradients and two moments are 8 MiB.
    ours = train(neap.memory.usage().live + (5 << 20))
    for one, other in zip(plain, ours, strict=True):
        assert torch.equal(one, other)


def test_wrong_places_are_named(tmp_path):
    gc.collect()  # what other tests have left in their files
    with (
        pytest.raises(neap.Error, match="missing"),
        neap.budget("1GiB", offload=tmp_path / "missing"),
    ):
        pass
    with pytest.raises(neap.InvalidArgument, match="limit"):
        neap.budget("1GiB", offload=neap.Offload(tmp_path, limit=0))
    with pytest.raises(neap.InvalidArgument):
        neap.budget("1GiB", offload=neap.Offload(tmp_path, limit="many"))
    with pytest.raises(neap.InvalidArgument, match="directory"):
        neap.budget("1GiB", offload="")
