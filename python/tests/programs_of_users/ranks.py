# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""Trains one model in several ranks. Prints a digest a step, and how many storages were evicted."""

import hashlib
import sys

import torch
import torch.distributed
import torch.nn.functional as F
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

import torch_neap as neap


def main(way: str, budget: str) -> None:
    """Train."""
    torch.distributed.init_process_group("gloo")
    rank = torch.distributed.get_rank()
    torch.manual_seed(0)
    layers = [nn.Sequential(nn.Linear(64, 64), nn.GELU(), nn.Dropout(0.1)) for _ in range(6)]
    model: nn.Module = nn.Sequential(*layers, nn.Linear(64, 10))
    if way == "ddp":
        model = DistributedDataParallel(model)
    else:
        for layer in layers:
            fully_shard(layer)
        fully_shard(model)
    optimizer = torch.optim.AdamW(model.parameters())
    attached = neap.attach(optimizer, budget) if budget != "none" else None
    torch.manual_seed(rank)
    evictions = 0
    for _ in range(4):
        x, y = torch.randn(512, 64), torch.randint(0, 10, (512,))
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        print(repr(loss.item()))
        evictions += attached.stats.evictions if attached else 0
    if attached:
        attached.detach()
    for parameter in model.parameters():
        local = parameter.detach()
        local = local.to_local() if hasattr(local, "to_local") else local
        print(hashlib.sha256(local.numpy().tobytes()).hexdigest())
    print(evictions)
    torch.distributed.destroy_process_group()


main(sys.argv[1], sys.argv[2])
