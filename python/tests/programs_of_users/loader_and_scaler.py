# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""Trains from a data loader with workers, in half precision, and keeps the best weights."""

import copy

import torch
import torch.nn.functional as F
from torch import nn


class Squares(torch.utils.data.Dataset):
    """Numbers and their squares."""

    def __len__(self) -> int:
        return 1024

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        x = torch.linspace(-1, 1, 64) * (index + 1) / 1024
        return x, x.square()


if __name__ == "__main__":
    torch.manual_seed(0)
    model = nn.Sequential(
        *[nn.Sequential(nn.Linear(64, 64), nn.LayerNorm(64), nn.SiLU()) for _ in range(8)]
    )
    optimizer = torch.optim.AdamW(model.parameters())
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    best, weights = float("inf"), None
    loader = torch.utils.data.DataLoader(Squares(), batch_size=256, shuffle=True, num_workers=2)
    for _ in range(2):
        for x, y in loader:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = F.mse_loss(model(x), y)
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
            if loss.item() < best:
                best, weights = loss.item(), copy.deepcopy(model.state_dict())
            print(repr(loss.item()))
    print(sum(float(one.double().sum()) for one in weights.values()))
