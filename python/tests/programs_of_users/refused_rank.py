# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""Trains one model in several ranks. The last rank has a budget that is too small."""

import sys

import torch
import torch.distributed
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import torch_neap as neap

torch.distributed.init_process_group("gloo")
rank, ranks = torch.distributed.get_rank(), torch.distributed.get_world_size()
model = DistributedDataParallel(nn.Sequential(*[nn.Linear(64, 64) for _ in range(6)]))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
room = (128 << 10) if rank == ranks - 1 else (64 << 20)


def step() -> None:
    """Train on one batch."""
    optimizer.zero_grad()
    model(torch.randn(512, 64)).square().mean().backward()
    optimizer.step()


if sys.argv[1] == "attached":
    neap.attach(optimizer, neap.memory.usage().reserved + room)
    for _ in range(3):
        step()
for _ in range(3):
    with neap.budget(neap.memory.usage().reserved + room):
        step()
