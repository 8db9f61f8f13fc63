# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""The models that bench/models.cpp measures too, in Python, and two of transformers.

Each model is a stem, a list of blocks and an end, so that each way to checkpoint finds its places.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Model(nn.Module):
    """Calls `self.run(blocks, x)` between a stem and an end."""

    blocks: nn.ModuleList

    def __init__(self) -> None:
        super().__init__()
        self.run: Callable[[nn.ModuleList, Tensor], Tensor] = plainly

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        raise NotImplementedError


def plainly(blocks: nn.ModuleList, x: Tensor) -> Tensor:
    """Call the blocks one after the other."""
    for block in blocks:
        x = block(x)
    return x


class Residual(nn.Module):
    """Two convolutions and their input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(channels)
        self.dropout = nn.Dropout(0.1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.dropout(F.relu(self.first_norm(self.first(x))))
        return F.relu(self.second_norm(self.second(inner)) + x)


class ResNet(Model):
    """16 blocks, 32 channels; batches of 32 pictures (3, 32, 32)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU()
        )
        self.blocks = nn.ModuleList(Residual(32) for _ in range(16))
        self.end = nn.Linear(32, 10)

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        x, y = batch
        return F.cross_entropy(self.end(self.run(self.blocks, self.stem(x)).mean((2, 3))), y)

    @staticmethod
    def batch() -> tuple[Tensor, Tensor]:
        return torch.randn(32, 3, 32, 32), torch.randint(0, 10, (32,))


class Attention(nn.Module):
    """A block with the attention written out."""

    def __init__(self, width: int, heads: int, length: int) -> None:
        super().__init__()
        self.heads = heads
        self.before = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.dropout = nn.Dropout(0.1)
        self.out = nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 4 * width),
            nn.GELU(),
            nn.Linear(4 * width, width),
            nn.Dropout(0.1),
        )
        self.register_buffer("mask", torch.ones(length, length).triu(1).bool())

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        qkv = self.qkv(self.before(x)).view(batch, length, 3, self.heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-2, -1) / (width // self.heads) ** 0.5
        seen = self.dropout(scores.masked_fill(self.mask, float("-inf")).softmax(-1)) @ v
        x = x + self.dropout(self.out(seen.transpose(1, 2).reshape(batch, length, width)))
        return x + self.mlp(x)


class GPT(Model):
    """6 blocks, 256 wide; batches of 8 texts of 256 words."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(256, 256)
        self.places = nn.Embedding(256, 256)
        self.dropout = nn.Dropout(0.1)
        self.blocks = nn.ModuleList(Attention(256, 4, 256) for _ in range(6))
        self.norm = nn.LayerNorm(256)
        self.end = nn.Linear(256, 256, bias=False)

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        x, y = batch
        start = self.dropout(self.words(x) + self.places(torch.arange(x.shape[1])))
        out = self.end(self.norm(self.run(self.blocks, start)))
        return F.cross_entropy(out.flatten(0, 1), y.flatten())

    @staticmethod
    def batch() -> tuple[Tensor, Tensor]:
        return torch.randint(0, 256, (8, 256)), torch.randint(0, 256, (8, 256))


class Cells(nn.Module):
    """A layer of an LSTM, a cell for each word."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(width, width)

    def forward(self, words: Tensor) -> Tensor:
        state = torch.zeros_like(words[0]), torch.zeros_like(words[0])
        out = []
        for word in words.unbind():
            state = self.cell(word, state)
            out.append(state[0])
        return torch.stack(out)


class LSTM(Model):
    """2 layers of 256, written as cells; batches of 32 texts of 64 words."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(256, 256)
        self.blocks = nn.ModuleList(Cells(256) for _ in range(2))
        self.end = nn.Linear(256, 256)

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        x, y = batch
        out = self.end(self.run(self.blocks, self.words(x)))
        return F.cross_entropy(out.flatten(0, 1), y.flatten())

    @staticmethod
    def batch() -> tuple[Tensor, Tensor]:
        return torch.randint(0, 256, (64, 32)), torch.randint(0, 256, (64, 32))


class MLP(Model):
    """24 layers, 1024 wide; batches of 1024."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(1024, 1024), nn.GELU()) for _ in range(24)
        )

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        x, y = batch
        return F.mse_loss(self.run(self.blocks, x), y)

    @staticmethod
    def batch() -> tuple[Tensor, Tensor]:
        return torch.randn(1024, 1024), torch.randn(1024, 1024)


class Block(nn.Module):
    """A decoder's layer of transformers, which returns the hidden states alone."""

    def __init__(self, layer: nn.Module, **arguments: object) -> None:
        super().__init__()
        self.layer = layer
        self.arguments = arguments

    def forward(self, x: Tensor) -> Tensor:
        out = self.layer(x, **self.arguments)
        return out[0] if isinstance(out, tuple) else out


class GPT2(Model):
    """GPT-2 small of transformers, random weights; four texts of 256 words."""

    def __init__(self) -> None:
        super().__init__()
        from transformers import GPT2Config, GPT2LMHeadModel  # noqa: PLC0415

        whole = GPT2LMHeadModel(GPT2Config())
        self.whole = whole
        self.blocks = nn.ModuleList(Block(layer) for layer in whole.transformer.h)

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        x, y = batch
        inner = self.whole.transformer
        start = inner.drop(inner.wte(x) + inner.wpe(torch.arange(x.shape[1])))
        out = self.whole.lm_head(inner.ln_f(self.run(self.blocks, start)))
        return F.cross_entropy(out.flatten(0, 1), y.flatten())

    @staticmethod
    def batch() -> tuple[Tensor, Tensor]:
        return torch.randint(0, 50257, (4, 256)), torch.randint(0, 50257, (4, 256))


class Pair(nn.Module):
    """Two convolutions of a level."""

    def __init__(self, start: int, end: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(start, end, 3, padding=1, bias=False),
            nn.BatchNorm2d(end),
            nn.ReLU(),
            nn.Conv2d(end, end, 3, padding=1, bias=False),
            nn.BatchNorm2d(end),
            nn.ReLU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class UNet(Model):
    """Levels of 16, 32, 64 and 128 channels; batches of 4 pictures (3, 128, 128)."""

    def __init__(self) -> None:
        super().__init__()
        widths = [16, 32, 64, 128]
        self.blocks = nn.ModuleList(
            [Pair(start, end) for start, end in zip([3, *widths[:-1]], widths, strict=True)]
            + [Pair(2 * width, width) for width in reversed(widths[:-1])]
        )
        self.ups = nn.ModuleList(
            nn.ConvTranspose2d(2 * width, width, 2, stride=2) for width in reversed(widths[:-1])
        )
        self.end = nn.Conv2d(16, 4, 1)

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        x, y = batch
        skips = []
        for level in range(4):
            x = self.run(self.blocks[level : level + 1], x)
            if level < 3:
                skips.append(x)
                x = F.max_pool2d(x, 2)
        for level in range(3):
            x = torch.cat([self.ups[level](x), skips.pop()], 1)
            x = self.run(self.blocks[4 + level : 5 + level], x)
        return F.cross_entropy(self.end(x), y)

    @staticmethod
    def batch() -> tuple[Tensor, Tensor]:
        return torch.randn(4, 3, 128, 128), torch.randint(0, 4, (4, 128, 128))


class LlamaLayer(nn.Module):
    """A layer of Llama with the places of its words."""

    def __init__(self, layer: nn.Module, rotary: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.rotary = [rotary]  # not a part of each layer

    def forward(self, x: Tensor) -> Tensor:
        places = torch.arange(x.shape[1])[None]
        out = self.layer(x, position_embeddings=self.rotary[0](x, places), attention_mask=None)
        return out[0] if isinstance(out, tuple) else out


class Llama(Model):
    """A Llama of 100 million parameters of transformers; four texts of 256 words."""

    def __init__(self) -> None:
        super().__init__()
        from transformers import LlamaConfig, LlamaForCausalLM  # noqa: PLC0415

        self.whole = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=16000,
                hidden_size=640,
                intermediate_size=1792,
                num_hidden_layers=16,
                num_attention_heads=10,
                num_key_value_heads=10,
            )
        )
        rotary = self.whole.model.rotary_emb
        self.blocks = nn.ModuleList(LlamaLayer(one, rotary) for one in self.whole.model.layers)

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        x, y = batch
        inner = self.whole.model
        out = self.whole.lm_head(inner.norm(self.run(self.blocks, inner.embed_tokens(x))))
        return F.cross_entropy(out.flatten(0, 1), y.flatten())

    @staticmethod
    def batch() -> tuple[Tensor, Tensor]:
        return torch.randint(0, 16000, (4, 256)), torch.randint(0, 16000, (4, 256))


MODELS: dict[str, tuple[type[Model], Callable[[object], torch.optim.Optimizer], int]] = {
    "resnet": (ResNet, lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9), 4),
    "gpt": (GPT, lambda p: torch.optim.AdamW(p, lr=1e-3), 2),
    "lstm": (LSTM, lambda p: torch.optim.AdamW(p, lr=1e-3), 1),
    "mlp": (MLP, lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9), 5),
    "unet": (UNet, lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9), 1),
    "llama": (Llama, lambda p: torch.optim.AdamW(p, lr=1e-4), 4),
    "gpt2": (GPT2, lambda p: torch.optim.AdamW(p, lr=1e-4), 3),
}
"""The model, its optimizer, and the segments of checkpoint_sequential, the root of its blocks.

Where that is 1, or the blocks are no chain, it is left out.
"""
