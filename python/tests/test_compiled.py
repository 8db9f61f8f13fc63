# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""Programs that are compiled in part leave the same bits inside a budget."""

from __future__ import annotations

import programs
import pytest
import torch
from harness import expect_equal_bits


def compiled_mlps(backend):
    """A GPT whose perceptrons are compiled; its attention is not."""
    torch._dynamo.reset()
    training = programs.gpt()
    for block in training.model.blocks:
        block.mlp[1] = torch.compile(block.mlp[1], backend=backend)
    return training


@pytest.mark.parametrize("backend", ["eager", "aot_eager", "inductor"])
def test_compiled_blocks_leave_the_same_bits(backend):
    expect_equal_bits(lambda: compiled_mlps(backend), (75,))
