# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""Trains a generator against a judge, each with an optimizer of its own."""

import torch
import torch.nn.functional as F
from torch import nn


def perceptron(start, end):
    """Make a model."""
    return nn.Sequential(
        nn.Linear(start, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, end)
    )


torch.manual_seed(0)
generator, judge = perceptron(16, 32), perceptron(32, 1)
of_generator = torch.optim.Adam(generator.parameters())
of_judge = torch.optim.Adam(judge.parameters())
for step in range(4):
    real = torch.randn(512, 32)
    fake = generator(torch.randn(512, 16))
    of_judge.zero_grad()
    (F.softplus(-judge(real)) + F.softplus(judge(fake.detach()))).mean().backward()
    of_judge.step()
    of_generator.zero_grad()
    loss = F.softplus(-judge(fake)).mean()
    loss.backward()
    of_generator.step()
    print(f"step {step}: loss {loss.item()!r}")
