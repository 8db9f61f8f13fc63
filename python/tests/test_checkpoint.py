# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""`neap.checkpoint` and `patch_checkpoint()` stand in for PyTorch's."""

from __future__ import annotations

from functools import partial

import pytest
import torch
import torch.utils.checkpoint
from torch import nn
from torch.utils.checkpoint import (
    CheckpointPolicy,
    create_selective_checkpoint_contexts,
)
from torch.utils.checkpoint import (
    checkpoint as imported_checkpoint,
)

import torch_neap as neap


def layers():
    torch.manual_seed(1)
    return nn.Sequential(
        *[nn.Sequential(nn.Linear(64, 64), nn.GELU(), nn.Dropout(0.3)) for _ in range(4)]
    )


def gradients(model, call):
    torch.manual_seed(2)
    x = torch.randn(128, 64, requires_grad=True)
    call(model, x).sum().backward()
    return [x.grad, *[parameter.grad for parameter in model.parameters()]]


def same(ours, theirs):
    return all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


def by_layer(checkpoint):
    def call(model, x):
        for layer in model:
            x = checkpoint(layer, x)
        return x

    return call


def plain(model, x):
    return model(x)


def test_a_checkpoint_has_the_gradients_of_the_plain_call():
    assert same(gradients(layers(), by_layer(neap.checkpoint)), gradients(layers(), plain))


def test_a_checkpoint_evicts_and_the_function_runs_once():
    calls = []

    def function(x):
        calls.append(1)
        return x.sin().cos().exp()

    x = torch.randn(256, 256, requires_grad=True)
    before = neap.memory.usage().live
    y = neap.checkpoint(function, x)
    held = neap.memory.usage().live - before
    y.sum().backward()
    assert len(calls) == 1
    assert held < 2 * 256 * 256 * 4


@pytest.mark.parametrize(
    "of_torch",
    [
        {"use_reentrant": False},
        {"use_reentrant": True},
        {"preserve_rng_state": False},
        {"determinism_check": "none"},
        {"early_stop": False},
    ],
)
def test_the_options_of_torch_are_accepted(of_torch):
    call = by_layer(lambda layer, x: neap.checkpoint(layer, x, **of_torch))
    assert same(gradients(layers(), call), gradients(layers(), plain))


def test_debug_is_accepted_and_said_once():
    with pytest.warns(UserWarning, match="debug"):
        neap.checkpoint(torch.sin, torch.ones(3), debug=True)


def test_what_the_function_gets_and_returns_may_be_nested():
    def function(pair, *, scale):
        return {"sum": [pair[0] + pair[1]], "scaled": pair[0] * scale, "text": "kept"}

    x, y = torch.ones(64, 64, requires_grad=True), torch.ones(64, 64)
    results = neap.checkpoint(function, (x, y), scale=3)
    assert results["text"] == "kept"
    assert not neap.is_evicted(results["sum"][0])
    assert float(results["scaled"].sum()) == 3 * 64 * 64


def test_an_error_of_the_function_passes():
    def function(_):
        raise KeyError("of the user")

    with pytest.raises(KeyError):
        neap.checkpoint(function, torch.ones(3))
    assert float(neap.checkpoint(torch.sin, torch.zeros(3)).sum()) == 0


def test_a_selective_checkpoint_keeps_what_its_policy_saves():
    seen = []

    def policy(context, op, *args, **kwargs):
        assert not context.is_recompute
        seen.append(str(op))
        return (
            CheckpointPolicy.MUST_SAVE
            if op is torch.ops.aten.mm.default
            else CheckpointPolicy.PREFER_RECOMPUTE
        )

    made = {}

    def function(x):
        made["product"] = x.mm(x)
        made["sine"] = made["product"].sin()
        return made["sine"].exp()

    x = torch.randn(64, 64, requires_grad=True)
    y = neap.checkpoint(
        function, x, context_fn=partial(create_selective_checkpoint_contexts, policy)
    )
    assert "aten.mm.default" in seen
    assert not neap.is_evicted(made["product"])
    assert neap.is_evicted(made["sine"])
    y.sum().backward()
    expected = torch.autograd.grad(x.mm(x).sin().exp().sum(), x)[0]
    assert torch.equal(x.grad, expected)


def test_a_selective_checkpoint_keeps_a_product_that_a_view_follows():
    made = {}

    def policy(_, op, *args, **kwargs):
        save = op is torch.ops.aten.mm.default
        return CheckpointPolicy.MUST_SAVE if save else CheckpointPolicy.PREFER_RECOMPUTE

    def function(x):
        made["product"] = torch.nn.functional.linear(x, weight)
        return made["product"].sin().exp()

    weight = torch.randn(64, 64, requires_grad=True)
    neap.checkpoint(
        function,
        torch.randn(4, 16, 64),
        context_fn=partial(create_selective_checkpoint_contexts, policy),
    )
    assert not neap.is_evicted(made["product"])


def test_checkpoint_sequential_has_the_gradients_of_the_plain_call():
    call = lambda model, x: neap.checkpoint_sequential(model, 2, x)  # noqa: E731
    assert same(gradients(layers(), call), gradients(layers(), plain))


def test_patch_checkpoint_reaches_modules_that_imported_the_name():
    calls = []

    def function(x):
        calls.append(1)
        return x.sin().exp()

    with neap.patch_checkpoint():
        assert imported_checkpoint is neap.checkpoint
        assert torch.utils.checkpoint.checkpoint is neap.checkpoint
        x = torch.ones(64, 64, requires_grad=True)
        torch.utils.checkpoint.checkpoint(function, x, use_reentrant=False).sum().backward()
    assert len(calls) == 1
    assert torch.utils.checkpoint.checkpoint is not neap.checkpoint
    assert imported_checkpoint is torch.utils.checkpoint.checkpoint
