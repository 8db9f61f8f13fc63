# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""Programs leave the same bits inside a budget as plainly."""

from __future__ import annotations

import programs
import pytest
import torch
import torch.nn.functional as F
from harness import Training, expect_equal_bits
from torch import nn

import torch_neap as neap

OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9),
    "adamw": programs.adamw,
    "adamw_foreach": lambda p: torch.optim.AdamW(p, lr=1e-3, foreach=True),
    "adamw_fused": lambda p: torch.optim.AdamW(p, lr=1e-3, fused=True),
    "adamw_amsgrad": lambda p: torch.optim.AdamW(p, lr=1e-3, amsgrad=True),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=1e-2),
    "adadelta": torch.optim.Adadelta,
    "adamax": torch.optim.Adamax,
    "asgd": torch.optim.ASGD,
    "nadam": torch.optim.NAdam,
    "radam": torch.optim.RAdam,
    "rmsprop": torch.optim.RMSprop,
    "rprop": torch.optim.Rprop,
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizer_leaves_the_same_bits(name):
    expect_equal_bits(lambda: programs.mlp(OPTIMIZERS[name]), online=True)


def test_lbfgs_leaves_the_same_bits():
    expect_equal_bits(lambda: programs.mlp(lambda p: torch.optim.LBFGS(p, max_iter=3)), (60,))


def test_gpt_leaves_the_same_bits_by_a_plan():
    for percent in (60, 35):
        (run,) = expect_equal_bits(programs.gpt, (percent,))
        assert run.hits > 0


def test_gpt_leaves_the_same_bits_online():
    runs = expect_equal_bits(programs.gpt, online=True)
    assert all(run.replays > 0 and run.hits == 0 for run in runs)


def test_resnet_leaves_the_same_bits():
    expect_equal_bits(programs.resnet)


def in_autocast(kind):
    training = programs.gpt()
    plain = training.model.forward

    def forward(tokens):
        with torch.autocast("cpu", dtype=kind):
            return plain(tokens).float()

    training.model.forward = forward
    return training


def test_bf16_autocast_leaves_the_same_bits():
    expect_equal_bits(lambda: in_autocast(torch.bfloat16), (75,))


def with_grad_scaler():
    training = programs.resnet()
    model, optimizer = training.model, training.optimizers[0]
    scaler = torch.amp.GradScaler("cpu", init_scale=256.0)

    def step(number):
        x, y = programs.images(number)
        with torch.autocast("cpu", dtype=torch.float16):
            loss = F.cross_entropy(model(x).float(), y)
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        return loss

    return Training(model, [optimizer], step)


def test_fp16_with_a_grad_scaler_leaves_the_same_bits():
    # Where oneDNN has no fp16, a convolution needs nine times its input beside it.
    expect_equal_bits(with_grad_scaler, (60, 55))


def with_checkpoint(checkpoint):
    return programs.gpt(call=lambda block, x: checkpoint(block, x, use_reentrant=False))


def test_neaps_checkpoint_in_a_budget_leaves_the_same_bits():
    expect_equal_bits(lambda: with_checkpoint(neap.checkpoint), (60,))


def test_torchs_checkpoint_in_a_budget_leaves_the_same_bits():
    # Its activations are few, so the largest operator is 60 % of them.
    expect_equal_bits(lambda: with_checkpoint(torch.utils.checkpoint.checkpoint), (80, 65))


def test_torchs_reentrant_checkpoint_in_a_budget_leaves_the_same_bits():
    checkpoint = torch.utils.checkpoint.checkpoint
    call = lambda block, x: checkpoint(block, x, use_reentrant=True)  # noqa: E731
    expect_equal_bits(lambda: programs.gpt(call=call), (80, 60))


class Identity:
    """Hooks that pack a saved tensor to itself."""

    def __init__(self, training):
        self.training = training

    def step(self, number):
        with torch.autograd.graph.saved_tensors_hooks(lambda x: x, lambda x: x):
            return self.training.step(number)


def test_saved_tensor_hooks_leave_the_same_bits():
    def make():
        training = programs.gpt()
        return Training(training.model, training.optimizers, Identity(training).step)

    expect_equal_bits(make)


class Swish(torch.autograd.Function):
    """A function of the user."""

    @staticmethod
    def forward(context, x):
        y = x * torch.sigmoid(x)
        context.save_for_backward(x, y)
        return y

    @staticmethod
    def backward(context, gradient):
        x, y = context.saved_tensors
        sigmoid = torch.sigmoid(x)
        return gradient * (sigmoid + y * (1 - sigmoid))


def test_a_users_function_leaves_the_same_bits():
    class OfTheUser(nn.Module):
        def forward(self, x):
            return Swish.apply(x)

    def make():
        training = programs.mlp()
        for index, layer in enumerate(training.model):
            if isinstance(layer, nn.SiLU):
                training.model[index] = OfTheUser()
        return training

    expect_equal_bits(make, (60, 25))


def gradient_penalty():
    training = programs.mlp()
    model, optimizer = training.model, training.optimizers[0]

    def step(number):
        generator = torch.Generator().manual_seed(400 + number)
        x = torch.randn(256, 64, generator=generator, requires_grad=True)
        out = model(x).square().mean()
        (gradient,) = torch.autograd.grad(out, x, create_graph=True)
        loss = out + gradient.square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return Training(model, [optimizer], step)


def test_double_backward_leaves_the_same_bits():
    expect_equal_bits(gradient_penalty, (60, 35))


def functional(lets_go=False):
    model = nn.Sequential(*[nn.Sequential(nn.Linear(64, 64), nn.Tanh()) for _ in range(8)])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    parameters = dict(model.named_parameters())

    def loss_of(values, x):
        return torch.func.functional_call(model, values, x).square().mean()

    def step(number):
        x = torch.randn(256, 64, generator=torch.Generator().manual_seed(500 + number))
        gradients, loss = torch.func.grad_and_value(loss_of)(parameters, x)
        for name, parameter in parameters.items():
            parameter.grad = gradients[name].detach()
        if lets_go:
            del gradients
            loss = loss.detach()
        optimizer.step()
        return loss

    return Training(model, [optimizer], step)


def test_functional_gradients_leave_the_same_bits():
    # The graph of the gradients lives while the optimizer writes the weights that it was made from.
    expect_equal_bits(functional, (80, 65))


def test_functional_gradients_that_are_let_go_leave_the_same_bits():
    expect_equal_bits(lambda: functional(lets_go=True), (60, 45))


def gradients_of_each_sample():
    model = nn.Sequential(*[nn.Sequential(nn.Linear(64, 64), nn.Tanh()) for _ in range(8)])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    parameters = dict(model.named_parameters())

    def loss_of(values, x):
        return torch.func.functional_call(model, values, x[None]).square().mean()

    def step(number):
        x = torch.randn(32, 64, generator=torch.Generator().manual_seed(500 + number))
        of_each = torch.func.vmap(torch.func.grad(loss_of), in_dims=(None, 0))(parameters, x)
        for name, parameter in parameters.items():
            parameter.grad = of_each[name].mean(0).detach()
        optimizer.step()
        return sum(one.square().sum() for one in of_each.values())

    return Training(model, [optimizer], step)


def test_gradients_of_each_sample_leave_the_same_bits():
    expect_equal_bits(gradients_of_each_sample, (60, 35))


def with_accumulation():
    training = programs.gpt()
    model, optimizer = training.model, training.optimizers[0]

    def step(number):
        optimizer.zero_grad()
        for part in range(2):
            batch = programs.tokens(2 * number + part)
            loss = F.cross_entropy(model(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())
            (loss / 2).backward()
        optimizer.step()
        return loss

    return Training(model, [optimizer], step)


def test_accumulation_leaves_the_same_bits():
    expect_equal_bits(with_accumulation)


class Rows(torch.utils.data.Dataset):
    """A dataset of rows that are made when asked for."""

    def __len__(self):
        return 8 * 128

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(index)
        return torch.randn(64, generator=generator), index % 10


def from_loader(workers, context):
    model = nn.Sequential(*[nn.Sequential(nn.Linear(64, 64), nn.GELU()) for _ in range(8)])
    optimizer = programs.adamw(model.parameters())
    loader = torch.utils.data.DataLoader(
        Rows(), batch_size=128, num_workers=workers, multiprocessing_context=context
    )
    batches = iter(loader)

    def step(number):
        x, y = next(batches)
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return Training(model, [optimizer], step)


@pytest.mark.parametrize(("workers", "context"), [(0, None), (2, "fork"), (2, "spawn")])
def test_a_data_loader_leaves_the_same_bits(workers, context):
    expect_equal_bits(lambda: from_loader(workers, context))


def test_inference_and_no_grad_inside_a_scope_leave_the_same_bits():
    def make():
        training = programs.gpt()

        def step(number):
            loss = training.step(number)
            with torch.inference_mode():
                training.model(programs.tokens(9)[:, :-1])
            with torch.no_grad():
                training.model(programs.tokens(9)[:, :-1])
            return loss

        return Training(training.model, training.optimizers, step)

    expect_equal_bits(make)
