#!/usr/bin/env python3
# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""command_test.py NEAP SHIM [unittest arguments]: a call of the system fails while the command writes a file.

NEAP_COMMAND_FAULTS: how many of all faults each command gets, drawn from NEAP_SEED; 0: all of them.
"""
import errno
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import unittest

SHIM = sys.argv.pop(2)
sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "command"))

from running import NEAP  # noqa: E402

CALLS = ["open", "read", "write", "fsync", "rename", "ftruncate", "close", "mmap", "mkdir", "link", "unlink",
         "fstat", "fallocate", "fcntl"]
HINDER_REMOVAL = ["open", "close", "rename", "unlink"]
ERRORS = {"read": [errno.EIO, -1], "write": [errno.EIO, errno.ENOSPC, errno.EINTR, -1], "mmap": [errno.ENOMEM]}
SEED = int(os.environ.get("NEAP_SEED", "1"))
FAULTS = int(os.environ.get("NEAP_COMMAND_FAULTS", "16"))
STEP = ["--model", "mlp", "--input", "1", "8", "8", "--batch-size", "8", "--threads", "1"]
TRAIN = ["train", "--model", "mlp", "--data", "synthetic:1x8x8:10:64", "--batch-size", "32", "--threads", "1",
         "--steps", "3", "--no-test", "--save-every", "1", "--keep", "2"]


def run(folder, *arguments, fault="", counts=""):
    environment = dict(os.environ, LD_PRELOAD=SHIM, NEAP_FAULTS_FOLDER=str(folder), NEAP_FAULT=fault,
                       NEAP_FAULTS_COUNTS=str(counts))
    return subprocess.run([NEAP, *map(str, arguments)], env=environment, capture_output=True, text=True, timeout=600)


class FaultsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.scratch = tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
        cls.addClassCleanup(cls.scratch.cleanup)
        cls.made = pathlib.Path(cls.scratch.name)
        cls.trace = cls.made / "step.jsonl"
        subprocess.run([NEAP, "trace", *STEP, "--repetitions", "1", "-o", cls.trace], check=True, capture_output=True)
        print(f"  NEAP_SEED={SEED} NEAP_COMMAND_FAULTS={FAULTS}")

    def all_faults(self, counts):
        for call, most in enumerate(counts):
            for k in range(1, most + 1):
                for error in ERRORS.get(CALLS[call], [errno.EIO, errno.ENOSPC]):
                    for for_ever in (0, 1):
                        yield call, k, error, for_ever

    def check_faults(self, check, *arguments, prepare=lambda folder: None):
        """Run the command without a fault, then with each; `check` gets the call, the folder and the ended command."""
        name = arguments[0]
        with tempfile.TemporaryDirectory(dir=self.made) as first:
            prepare(pathlib.Path(first))
            counts = self.made / "counts"
            done = run(first, *(one(pathlib.Path(first)) if callable(one) else one for one in arguments),
                       counts=counts)
            self.assertEqual(done.returncode, 0, done.stderr)
            most = [int(line) for line in counts.read_text().split()]
        faults = list(self.all_faults(most))
        chosen = faults if FAULTS == 0 else random.Random(SEED).sample(faults, min(FAULTS, len(faults)))
        print(f"  {name}: {len(chosen)} of {len(faults)} faults")
        for fault in chosen:
            call = CALLS[fault[0]]
            with tempfile.TemporaryDirectory(dir=self.made) as folder, self.subTest(name, call=call, fault=fault):
                folder = pathlib.Path(folder)
                prepare(folder)
                done = run(folder, *(one(folder) if callable(one) else one for one in arguments),
                           fault=" ".join(map(str, fault)))
                self.assertIn(done.returncode, (0, 1), done.stderr)
                if done.returncode == 1:
                    self.assertRegex(done.stderr, r"(?m)^neap: ", "an error is told")
                check(call, folder, done)

    def check_file(self, name, *arguments, is_whole):
        def prepare(folder):
            (folder / name).write_text("what was there before")

        def check(call, folder, done):
            text = (folder / name).read_text()
            if done.returncode == 0 or text != "what was there before":
                self.assertTrue(is_whole(text), text[-200:])
            if call not in HINDER_REMOVAL:
                self.assertEqual(os.listdir(folder), [name])

        self.check_faults(check, *arguments, "-o", lambda folder: folder / name, prepare=prepare)

    def test_a_trace_is_written_whole_or_not_at_all(self):
        expected = len(self.trace.read_text().splitlines())
        self.check_file("step.jsonl", "trace", *STEP, "--repetitions", "1",
                        is_whole=lambda text: len([json.loads(line) for line in text.splitlines()]) == expected)

    def test_a_plan_is_written_whole_or_not_at_all(self):
        plan = subprocess.run([NEAP, "plan", self.trace, "--budget", "1GiB", "-o", "-"], check=True,
                              capture_output=True, text=True).stdout
        self.check_file("plan.jsonl", "plan", self.trace, "--budget", "1GiB", is_whole=lambda text: text == plan)

    def test_a_report_is_written_whole_or_not_at_all(self):
        self.check_file("page.html", "report", self.trace, "--no-frontier",
                        is_whole=lambda text: text.startswith("<!") and text.rstrip().endswith("</html>"))

    def test_a_training_loses_no_snapshot_and_no_line(self):
        steps = [f"step-{step:010}" for step in (1, 2, 3)]

        def check(call, folder, done):
            if done.returncode == 0:
                self.assertTrue((folder / "run" / steps[-1]).is_dir())
            again = run(folder, *TRAIN, "--out", folder / "run", "--resume")
            self.assertEqual(again.returncode, 0, again.stderr)
            names = os.listdir(folder / "run")
            self.assertIn(steps[-1], names)
            if call not in HINDER_REMOVAL:
                self.assertLessEqual(set(names), {"run.jsonl", *steps}, done.stderr)
            if (folder / "run/run.jsonl").exists():
                for line in (folder / "run/run.jsonl").read_text().splitlines()[:-1]:
                    json.loads(line)

        self.check_faults(check, *TRAIN, "--out", lambda folder: folder / "run")

    def test_the_best_weights_are_those_that_are_said_to_be_kept(self):
        """A write of best.safetensors that fails is told, and the next evaluation that beats what is kept is kept."""
        best = [*TRAIN[:TRAIN.index("--no-test")], "--eval-every", "1", "--save-every", "1", "--keep", "0", "--json"]
        best[best.index("--steps") + 1] = "4"
        counts = self.made / "counts of best"
        whole = self.made / "whole"
        done = run(self.made, *best, "--out", whole, counts=counts)
        self.assertEqual(done.returncode, 0, done.stderr)
        most = dict(zip(CALLS, (int(line) for line in counts.read_text().split())))
        weights = {step: (whole / f"step-{step:010}" / "model.safetensors").read_bytes() for step in (1, 2, 3, 4)}
        reference = json.loads(done.stdout.splitlines()[-1])
        self.assertEqual(reference["kept_step"], reference["best_step"])
        self.assertEqual((whole / "best.safetensors").read_bytes(), weights[reference["best_step"]])
        lost = kept_later = 0
        for call in ("link", "rename"):
            for k in range(1, most[call] + 1):
                fault = f"{CALLS.index(call)} {k} {errno.EIO} 0"
                with tempfile.TemporaryDirectory(dir=self.made) as folder, self.subTest(call, k=k):
                    out = pathlib.Path(folder) / "run"
                    done = run(folder, *best, "--out", out, fault=fault)
                    self.assertIn(done.returncode, (0, 1), done.stderr)
                    if not done.stdout:
                        continue
                    summary = json.loads(done.stdout.splitlines()[-1])
                    kept = summary["kept_step"]
                    file = out / "best.safetensors"
                    self.assertEqual(file.read_bytes() if file.exists() else None, weights.get(kept), done.stderr)
                    if kept != summary["best_step"]:
                        self.assertRegex(done.stderr, f"the weights after step {summary['best_step']} were not kept: "
                                                      ".*best.safetensors")
                        lost += 1
                        kept_later += kept is not None
        print(f"  best weights: {lost} were told as lost, and {kept_later} of them replaced by the next best ones")
        self.assertGreater(lost, 0)


if __name__ == "__main__":
    unittest.main()
