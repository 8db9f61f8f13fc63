# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""Ranks that train together leave the same bits inside a budget. They talk over the loopback."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAMS = Path(__file__).parent / "programs_of_users"


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def run(way, ranks, budget, program="ranks.py"):
    environment = {
        **os.environ,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "WORLD_SIZE": str(ranks),
        "OMP_NUM_THREADS": "1",
        "GLOO_SOCKET_IFNAME": "lo",
    }
    running = [
        subprocess.Popen(
            [sys.executable, str(PROGRAMS / program), way, budget],
            env={**environment, "RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(ranks)
    ]
    ended = [one.communicate(timeout=300) for one in running]
    return [(one.returncode, *texts) for one, texts in zip(running, ended, strict=True)]


@pytest.mark.parametrize("way", ["ddp", "fsdp"])
def test_two_ranks_leave_the_same_bits(way):
    plain = run(way, 2, "none")
    held = run(way, 2, "60%")
    for (code, digests, errors), (held_code, held_digests, held_errors) in zip(
        plain, held, strict=True
    ):
        assert code == 0, errors
        assert held_code == 0, held_errors
        assert digests.splitlines()[:-1] == held_digests.splitlines()[:-1]
        assert int(held_digests.splitlines()[-1]) > 0, "nothing was evicted"


@pytest.mark.parametrize("way", ["with", "attached"])
@pytest.mark.parametrize("ranks", [2, 4])
def test_a_rank_that_is_refused_ends_the_others_with_its_error(ranks, way):
    ended = run(way, ranks, "-", program="refused_rank.py")
    for code, _, errors in ended:
        # Where its connections were cut, gloo's threads may end the process by an abort, after the
        # error was told: one run in a hundred.
        assert code in (1, -signal.SIGABRT), errors
        assert "BudgetExceeded" in errors
    for _, _, errors in ended[:-1]:
        assert f"rank {ranks - 1}: budget of" in errors, errors
