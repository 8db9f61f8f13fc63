# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""Small models and their training steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from harness import Training
from torch import nn


class Block(nn.Module):
    """A transformer block before normalization."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.before_attention = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.before_mlp = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width), nn.Dropout(dropout)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, width = x.shape
        qkv = self.qkv(self.before_attention(x)).view(batch, length, 3, self.heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        dropout = self.dropout if self.training else 0.0
        seen = F.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=dropout)
        x = x + self.out(seen.transpose(1, 2).reshape(batch, length, width))
        return x + self.mlp(self.before_mlp(x))


class GPT(nn.Module):
    """A small GPT. `call` calls a block: plainly, or checkpointed."""

    def __init__(
        self,
        width: int = 64,
        blocks: int = 4,
        length: int = 64,
        call: Callable[..., torch.Tensor] = lambda block, x: block(x),
    ) -> None:
        super().__init__()
        self.call = call
        self.embedding = nn.Embedding(128, width)
        self.position = nn.Parameter(torch.randn(length, width) * 0.02)
        self.blocks = nn.ModuleList(Block(width, 4, 0.1) for _ in range(blocks))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 128, bias=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.embedding(tokens) + self.position
        for block in self.blocks:
            x = self.call(block, x)
        return self.head(self.norm(x))


def tokens(number: int, batch: int = 4, length: int = 64) -> torch.Tensor:
    """A batch `(B, T + 1)` that hangs on its number only."""
    generator = torch.Generator().manual_seed(100 + number)
    return torch.randint(0, 128, (batch, length + 1), generator=generator)


Optimize = Callable[[Any], torch.optim.Optimizer]


def adamw(parameters: Any) -> torch.optim.Optimizer:
    """The usual optimizer."""
    return torch.optim.AdamW(parameters, lr=1e-3)


def gpt(optimize: Optimize = adamw, **of_model: Any) -> Training:
    """A GPT with clipped gradients."""
    model = GPT(**of_model)
    optimizer = optimize(model.parameters())

    def step(number: int) -> torch.Tensor:
        batch = tokens(number)
        loss = F.cross_entropy(model(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss

    return Training(model, [optimizer], step)


class Residual(nn.Module):
    """A residual block with in-place activations."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = self.relu(self.first_norm(self.first(x)))
        return self.relu(self.second_norm(self.second(inner)) + x)


def images(number: int, batch: int = 8, side: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    """Images `(B, 3, H, W)` and labels `(B)`."""
    generator = torch.Generator().manual_seed(200 + number)
    return (
        torch.randn(batch, 3, side, side, generator=generator),
        torch.randint(0, 10, (batch,), generator=generator),
    )


def resnet(optimize: Optimize = lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9)) -> Training:
    """A small ResNet."""
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        *[Residual(16) for _ in range(5)],
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 10),
    )
    optimizer = optimize(model.parameters())

    def step(number: int) -> torch.Tensor:
        x, y = images(number)
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return Training(model, [optimizer], step)


def mlp(optimize: Optimize = adamw, **of_loss: Any) -> Training:
    """A perceptron with batch normalization and dropout."""
    layers: list[nn.Module] = []
    for _ in range(8):
        layers += [nn.Linear(64, 64), nn.BatchNorm1d(64), nn.SiLU(), nn.Dropout(0.2)]
    model = nn.Sequential(*layers, nn.Linear(64, 10))
    optimizer = optimize(model.parameters())

    def step(number: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(300 + number)
        x = torch.randn(256, 64, generator=generator)
        y = torch.randint(0, 10, (256,), generator=generator)

        def closure() -> torch.Tensor:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            return loss

        return optimizer.step(closure)  # type: ignore[return-value]

    return Training(model, [optimizer], step)
