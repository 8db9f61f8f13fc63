#!/usr/bin/env python3
# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""cgroup_test.py NEAP: runs the same job in a memory cgroup, with a budget and without one.

The limit is the memory of an idle program, the budget, and 64 MiB. The job has two threads, because each thread needs memory beside
LibTorch's, which would otherwise grow with the processor's cores. With the budget the job ends; without one the kernel kills it. In
the cgroup, a share of what a plain step needs is known although that step does not fit. `auto` is a budget that fits. A budget above
the limit causes a warning.
Ends with 77, which ctest shows as skipped, where no memory cgroup can be made.
"""
import json
import signal
import subprocess
import sys

from memory_cgroup import MemoryCgroup

SKIPPED = 77
MIB = 1 << 20
BUDGET = 600 * MIB
ALLOWANCE = 64 * MIB
JOB = ["--model", "resnet", "--batch-size", "512", "--steps", "1"]  # more than 1.4 GiB without a budget


def cgroup_of(limit):
    try:
        return MemoryCgroup(limit)
    except OSError as error:
        print(f"skipped: a memory cgroup cannot be made: {error}")
        sys.exit(SKIPPED)


def train(neap, arguments, cgroup=None, quiet=True):
    return subprocess.run(
        [neap, "train", "--data", "fashion-mnist", "--threads", "2", "--json",
         *(["--quiet"] if quiet else []), *arguments],
        preexec_fn=cgroup.enter if cgroup else None, capture_output=True, text=True)


def summary(done):
    assert done.returncode == 0, f"exit {done.returncode}: {done.stderr}"
    return json.loads(done.stdout.splitlines()[-1])


def main():
    neap = sys.argv[1]
    small = summary(train(neap, ["--model", "mlp", "--batch-size", "1", "--steps", "1"]))
    limit = small["max_rss_bytes"] + BUDGET + ALLOWANCE
    with cgroup_of(limit) as cgroup:
        inside = summary(train(neap, [*JOB, "--budget", str(BUDGET)], cgroup))
        assert inside["peak_bytes"] <= BUDGET, inside
        assert inside["replays"] > 0, inside
        plain = train(neap, [*JOB, "--budget", "none"], cgroup)
        share = train(neap, [*JOB, "--budget", "30%", "--no-test"], cgroup, quiet=False)
        whole = train(neap, [*JOB, "--budget", "30%", "--no-test"], quiet=False)
        auto = train(neap, [*JOB, "--budget", "auto", "--no-test"], cgroup, quiet=False)
        above = train(neap, ["--model", "mlp", "--batch-size", "1", "--steps", "1", "--budget", "64GiB", "--no-test"],
                      cgroup, quiet=False)
        doctor = subprocess.run([neap, "doctor"], preexec_fn=cgroup.enter, capture_output=True, text=True)
    assert plain.returncode == -signal.SIGKILL, \
        f"without neap, exit {plain.returncode} inside of {limit} bytes: {plain.stdout}{plain.stderr}"
    measured = summary(whole)["plain_peak_bytes"]
    assert measured > limit, (measured, limit)
    assert "would not fit in what is left" in share.stderr, share.stderr
    assert "would not fit" not in whole.stderr, whole.stderr
    estimated = summary(share)
    assert abs(estimated["plain_peak_bytes"] - measured) < 0.03 * measured, (estimated, measured)
    assert estimated["peak_bytes"] <= estimated["budget_bytes"], estimated
    assert estimated["plain_step_ms_median"] is None, estimated
    inside_auto = summary(auto)
    assert BUDGET / 2 < inside_auto["budget_bytes"] < limit, inside_auto
    assert "of the container's" in auto.stderr, auto.stderr
    assert "warning: a budget of 64.0 GiB is more than what is left" in above.stderr, above.stderr
    summary(above)
    text = next(line for line in doctor.stdout.splitlines() if "control group's limit" in line)
    assert text.endswith(f"{limit / MIB:.1f} MiB"), text
    print(f"a limit of {limit / MIB:.0f} MiB: with a budget of {BUDGET / MIB:.0f} MiB the job ended, "
          f"with {inside['replays']} replays; without one it was killed")


if __name__ == "__main__":
    main()
