# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""Each block of Python in docs/python.md and README.md runs, those of a page in one namespace."""

from __future__ import annotations

import re
from pathlib import Path

import torch_neap as neap

ROOT = Path(__file__).resolve().parents[2]


def test_the_blocks_of_the_page_run(capsys):
    page = (ROOT / "docs" / "python.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) >= 5
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "docs/python.md", "exec"), names)
    printed = capsys.readouterr().out
    assert "aten::" in printed


def test_the_page_names_all_that_the_package_has():
    page = (ROOT / "docs" / "python.md").read_text()
    hidden = {"Attachment", "Error", "OutOfMemory", "ReplayError", "Stats", "Step", "unpin"}
    hidden |= {"Analysis", "Frontier", "Plan", "Trace"}  # what functions return
    missing = [name for name in neap.__all__ if name not in page and name not in hidden]
    assert missing == ["is_evicted"]
