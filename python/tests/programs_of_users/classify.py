# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""Trains a classifier. It knows nothing of neap."""

import argparse
import sys

import torch
import torch.nn.functional as F
from torch import nn

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--exit", type=int, default=0)
    options = parser.parse_args()
    torch.manual_seed(0)
    model = nn.Sequential(
        *[nn.Sequential(nn.Linear(64, 64), nn.GELU(), nn.Dropout(0.1)) for _ in range(8)],
        nn.Linear(64, 10),
    )
    optimizer = torch.optim.AdamW(model.parameters())
    for step in range(options.steps):
        x, y = torch.randn(512, 64), torch.randint(0, 10, (512,))
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        print(f"step {step}: loss {loss.item()!r}")
    sys.exit(options.exit)
