# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""Trains a model for each of three folds, one after the other."""

import torch
from torch import nn

torch.manual_seed(0)
models = []
for fold in range(3):
    model = nn.Sequential(*[nn.Sequential(nn.Linear(64, 64), nn.Tanh()) for _ in range(8)])
    optimizer = torch.optim.Adam(model.parameters())
    models.append((model, optimizer))
    for _ in range(20):
        optimizer.zero_grad()
        loss = model(torch.randn(256, 64)).square().mean()
        loss.backward()
        optimizer.step()
    print(f"fold {fold}: loss {loss.item()!r}")
