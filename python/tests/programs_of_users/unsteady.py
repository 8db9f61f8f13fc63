# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""Trains from another seed each time."""

import os

import torch
from torch import nn

torch.manual_seed(int.from_bytes(os.urandom(4), "little"))
model = nn.Linear(64, 64)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(3):
    optimizer.zero_grad()
    model(torch.randn(64, 64)).square().mean().backward()
    optimizer.step()
