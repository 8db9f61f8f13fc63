# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""Programs that are compiled in part leave the same bits inside a budget."""

from __future__ import annotations

import gc
from contextlib import nullcontext

import programs
import pytest
import torch
import torch.nn.functional as F
from harness import expect_equal_bits, train

import torch_neap as neap
from torch_neap import _compiled


def compiled_blocks(backend):
    """A GPT of compiled blocks, with dropout in each."""
    torch._dynamo.reset()
    training = programs.gpt()
    for block in training.model.blocks:
        block.compile(backend=backend)
    return training


@pytest.mark.parametrize("backend", ["eager", "aot_eager", "inductor"])
def test_compiled_blocks_leave_the_same_bits(backend):
    expect_equal_bits(lambda: compiled_blocks(backend), (75, 60))


def chain(function, count=6):
    """A compiled function, and what it makes outside of a scope, each from the one before."""
    torch._dynamo.reset()
    compiled = torch.compile(function)
    plain = [torch.rand(256, 256)]
    for _ in range(count):
        plain.append(compiled(plain[-1]))
    return compiled, plain


def room_for(count):
    gc.collect()
    return neap.memory.usage().live + count * (256 << 10) + (64 << 10)


def test_what_a_compiled_graph_makes_is_evicted_and_made_again():
    compiled, plain = chain(lambda x: x.sin() * 1.25 + 0.5)
    with neap.budget(room_for(3), online=True) as step:
        made = [plain[0]]
        for _ in range(6):
            made.append(compiled(made[-1]))
        assert any(neap.is_evicted(one) for one in made)
        for ours, theirs in zip(made, plain, strict=True):
            assert torch.equal(ours, theirs)
        del made, ours  # else they would have to fit at the end
    stats = step.stats
    assert stats.evictions > 0
    assert stats.replays > 0
    assert stats.peak_bytes <= stats.budget_bytes


def test_a_graph_that_draws_random_numbers_is_made_again_with_the_same_ones():
    torch._dynamo.reset()
    compiled = torch.compile(lambda x: F.dropout(x, 0.5) + 1)
    x = torch.rand(256, 256)
    compiled(x)

    def masks():
        torch.manual_seed(3)
        return [compiled(x) for _ in range(6)]

    plain = [one.clone() for one in masks()]
    after = torch.rand(1)
    with neap.budget(room_for(3), online=True) as step:
        made = masks()
        assert torch.equal(torch.rand(1), after)
        for ours, theirs in zip(made, plain, strict=True):
            assert torch.equal(ours, theirs)
        del made, ours
    assert step.stats.replays > 0


def fill_up():
    """Evict what can be evicted."""
    fill = []
    with pytest.raises(torch.OutOfMemoryError):
        while True:
            fill.append(torch.empty(128, 256))


def add_one(x):
    x.add_(1)
    return x * 2


def test_a_graph_that_writes_a_large_input_is_not_run_again_and_its_readers_stay_right():
    torch._dynamo.reset()
    compiled = torch.compile(add_one)
    base = torch.rand(1024, 512)
    written = base * 3
    plain = [written.sin(), compiled(written), written, written.sin()]
    with neap.budget(room_for(8 * 7), online=True) as step:
        x = base * 3
        made = [x.sin(), compiled(x), x, x.sin()]
        fill_up()
        assert [neap.is_evicted(one) for one in made] == [True, False, False, True]
        for ours, theirs in zip(made, plain, strict=True):
            assert torch.equal(ours, theirs)
        assert step.stats.replays == 3  # the product and two sines


def test_a_graph_that_writes_a_small_input_is_run_again_on_a_copy_of_what_it_was():
    def count(x, counter):
        counter.add_(1)
        return x * counter

    torch._dynamo.reset()
    compiled = torch.compile(count)
    x = torch.rand(256, 256)
    counter = torch.zeros(256)
    plain = [compiled(x, counter) for _ in range(5)]
    counter.zero_()
    with neap.budget(room_for(4), online=True) as step:
        made = [compiled(x, counter) for _ in range(5)]
        for _ in range(2):
            fill_up()
            for ours, theirs in zip(made, plain, strict=True):
                assert torch.equal(ours, theirs)
        assert counter.tolist() == [5] * 256
        assert step.stats.replays >= 4
        del made, ours


def compiled_residuals():
    """A ResNet of compiled blocks, which update the statistics of their batch norms."""
    torch._dynamo.reset()
    training = programs.resnet()
    for part in training.model:
        if isinstance(part, programs.Residual):
            part.compile()
    return training


def test_compiled_blocks_with_batch_norms_leave_the_same_bits():
    expect_equal_bits(compiled_residuals, (75,))


def test_numbers_among_the_inputs_of_a_graph_are_those_of_its_first_call():
    torch._dynamo.reset()
    compiled = torch.compile(lambda x, n: x * n + 0.25, dynamic=True)
    x = torch.rand(256, 256)
    plain = [compiled(x, n) for n in range(3, 10)]
    with neap.budget(room_for(3), online=True) as step:
        made = [compiled(x, n) for n in range(3, 10)]
        for ours, theirs in zip(made, plain, strict=True):
            assert torch.equal(ours, theirs)
        del made, ours
    assert step.stats.replays > 0


@pytest.mark.parametrize("backend", ["eager", "aot_eager", "inductor"])
def test_graphs_of_symbolic_sizes_may_be_compiled_inside_a_scope(backend):
    torch._dynamo.reset()
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU(), torch.nn.Dropout(0.1)
    )

    def gradients(compiled, scope):
        torch.manual_seed(1)
        found = []
        for size in (12, 13, 17):
            x = torch.randn(size, 3, size + 8, size, requires_grad=True)
            with scope():
                compiled(x).square().sum().backward()
            found.append(x.grad)
        return found

    plain = gradients(torch.compile(model, backend=backend, dynamic=True), nullcontext)
    torch._dynamo.reset()
    compiled = torch.compile(model, backend=backend, dynamic=True)
    ours = gradients(compiled, lambda: neap.budget("1GiB"))
    for one, other in zip(plain, ours, strict=True):
        assert torch.equal(one, other)


class Graph:
    """What a compiled graph says of itself."""

    def __init__(self, written=(), constants=None, is_backward=False):
        self.mutated_input_idxs = written
        self.constants = constants
        self.fx_kwargs = {"is_backward": is_backward}


def test_a_result_of_a_backward_in_the_memory_of_an_input_is_copied():
    x, saved = torch.rand(3), torch.rand(3)

    def run(graph, inputs):
        saved.mul_(2)
        return [saved, None, saved.view(3, 1)[1:]]

    results, new = _compiled._Graph(Graph(is_backward=True), run)([x, saved])
    assert [one.data_ptr() for one in new] == [results[0].data_ptr(), results[2].data_ptr()]
    assert saved.data_ptr() not in [one.data_ptr() for one in new]
    assert torch.equal(results[0], saved)
    assert results[1] is None


def test_gradients_of_a_compiled_backward_are_right_whatever_is_evicted():
    torch._dynamo.reset()
    compiled = torch.compile(lambda x: x.mul(2).sigmoid().sin())
    base = torch.rand(256, 256)

    def gradients():
        leaves = [base.clone().requires_grad_() for _ in range(3)]
        x = sum(compiled(one * 1.5).cos() for one in leaves)
        x.sum().backward()
        return [one.grad for one in leaves]

    plain = gradients()
    with neap.budget(room_for(24), online=True):
        made = gradients()
        fill_up()
        for ours, theirs in zip(made, plain, strict=True):
            assert torch.equal(ours, theirs)


def test_what_a_graph_makes_is_neither_an_input_nor_a_constant_and_counts_once():
    x, constant = torch.rand(3), torch.rand(3)
    made = torch.rand(3)

    def run(graph, inputs):
        results = [x, x[:2], constant.view(3, 1), None, 7, made, made[1:]]
        inputs.clear()
        return results

    graph = _compiled._Graph(Graph(constants={"c": constant}), run)
    results, new = graph([x])
    assert len(results) == 7
    assert [one.data_ptr() for one in new] == [made[1:].data_ptr()]


def test_a_graph_is_let_go_when_its_scope_closes():
    compiled, _ = chain(lambda x: x.exp2() + 0.125, count=1)
    with neap.budget(room_for(9), online=True):
        compiled(torch.rand(256, 256))
        assert len(_compiled._entries) == 1
    assert not _compiled._entries


def test_an_input_that_is_written_is_copied_where_it_is_small_and_alone():
    x, large = torch.rand(8), torch.empty(1 << 19)
    assert _compiled._can_copy([x], [x, torch.rand(8)])
    assert not _compiled._can_copy([x], [x, x[2:]])
    assert not _compiled._can_copy([large], [large])


def test_a_scope_may_be_left_before_the_results_of_a_graph_are_used():
    compiled, plain = chain(lambda x: x.cos() + 2)
    with neap.budget(room_for(9), online=True):
        made = [plain[0]]
        for _ in range(6):
            made.append(compiled(made[-1]))
    del compiled
    torch._dynamo.reset()
    gc.collect()
    for ours, theirs in zip(made, plain, strict=True):
        assert torch.equal(ours, theirs)


def compiled_whole():
    """A GPT that is one graph."""
    torch._dynamo.reset()
    training = programs.gpt()
    training.model.compile()
    return training


def test_a_model_that_is_one_graph_fits_whole_or_is_refused():
    plain = train(compiled_whole, None)
    enough = train(compiled_whole, plain.stays + plain.activations * 5 // 4)
    assert enough.digests == plain.digests
    with pytest.raises(neap.BudgetExceeded, match="torch_neap::compiled_graph"):
        train(compiled_whole, plain.stays + plain.activations // 2)


def test_a_graph_that_does_not_fit_when_it_runs_again_is_refused_by_a_budget_exceeded():
    compiled, plain = chain(lambda x: x.tan() + 0.25)
    with pytest.raises(neap.BudgetExceeded, match="torch_neap::compiled_graph"):
        with neap.budget(room_for(3), online=True):
            made = [plain[0]]
            for _ in range(6):
                made.append(compiled(made[-1]))
    del made


def test_memory_past_the_operators_is_refused_by_a_budget_exceeded():
    empty_strided = torch._C._dynamo.guards._empty_strided_cpu
    with pytest.raises(neap.BudgetExceeded):
        with neap.budget(room_for(1)):
            empty_strided((1024, 1024), (1024, 1), torch.float32)
