#!/usr/bin/env python3
# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""snapshot_test.py NEAP [unittest arguments]: neap train --out, --save-every, --keep and --resume lose nothing."""
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import time
import unittest

from running import NEAP, CommandTest, neap

SMALL = ["--model", "mlp", "--data", "synthetic:1x8x8:10:640", "--batch-size", "32", "--threads", "1"]


def train(*arguments):
    """Train, and return the process with its JSON lines and its losses by step. An option beats that of SMALL."""
    given = [one for one in arguments if str(one).startswith("--")]
    others = [one for pair in zip(SMALL[::2], SMALL[1::2]) if pair[0] not in given for one in pair]
    done = neap("train", "--json", *others, *arguments)
    done.events = [json.loads(line) for line in done.stdout.splitlines()]
    done.losses = {one["step"]: one["loss"] for one in done.events if one["event"] == "step"}
    return done


def start(*arguments):
    return subprocess.Popen([NEAP, "train", "--json", *SMALL, *map(str, arguments)],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def snapshots(folder):
    return sorted(path.name for path in pathlib.Path(folder).iterdir() if path.name != "run.jsonl")


class SnapshotTest(CommandTest):
    def files(self, run, step):
        """The bytes of a snapshot, without the checksums."""
        snapshot = self.folder / run / f"step-{step:010}"
        return {name: (snapshot / name).read_bytes()
                for name in ("model.safetensors", "state.safetensors")}

    def test_a_training_goes_on_in_the_middle_of_an_epoch_under_another_budget(self):
        whole = train("--steps", "33", "--no-test", "--out", self.folder / "whole")
        self.assertEqual(whole.returncode, 0, whole.stderr)
        first = train("--steps", "33", "--no-test", "--out", self.folder / "parts",
                      "--save-every", "11", "--keep", "0", "--budget", "64MiB")
        self.assertEqual(snapshots(self.folder / "parts"),
                         ["step-0000000011", "step-0000000022", "step-0000000033"])
        for step in (33, 22):
            shutil.rmtree(self.folder / "parts" / f"step-{step:010}")
        second = train("--steps", "33", "--no-test", "--out", self.folder / "parts", "--resume",
                       "--budget", "32MiB", "--policy", "online")
        self.assertEqual(second.returncode, 0, second.stderr)
        self.assertIn("after step 11", second.stderr)
        self.assertEqual(list(second.losses), list(range(12, 34)))
        self.assertEqual({**first.losses, **second.losses}, whole.losses)
        self.assertEqual(self.files("parts", 33), self.files("whole", 33))
        summary = second.events[-1]
        self.assertEqual(summary["snapshot"], str(self.folder / "parts" / "step-0000000033"))
        again = train("--steps", "33", "--no-test", "--out", self.folder / "parts", "--resume")
        self.assertEqual((again.returncode, again.losses), (0, {}))

    def test_resume_with_out_begins_where_nothing_is_saved_yet(self):
        begun = train("--steps", "2", "--no-test", "--out", self.folder / "new", "--resume")
        self.assertEqual(begun.returncode, 0, begun.stderr)
        self.assertIn("the training begins", begun.stderr)
        self.assertEqual(len(begun.losses), 2)

    def test_an_interrupt_saves_the_step_that_ran(self):
        process = start("--steps", "100000", "--no-test", "--out", self.folder / "run")
        steps = 0
        while steps < 20:
            steps += json.loads(process.stdout.readline())["event"] == "step"
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate()
        self.assertEqual(process.returncode, 130, err)
        last = [json.loads(line) for line in out.splitlines()][-1]
        self.assertEqual(last["ending"], "interrupted")
        self.assertEqual(snapshots(self.folder / "run"), [f"step-{last['steps']:010}"])
        self.assertIn("go on with --out", err)
        more = train("--steps", str(last["steps"] + 2), "--no-test", "--out", self.folder / "run",
                     "--resume")
        self.assertEqual(more.returncode, 0, more.stderr)
        self.assertIn("had 100000 steps", more.stderr)
        self.assertEqual(len(more.losses), 2)

    def test_a_killed_training_loses_one_interval_at_most(self):
        chance = random.Random(7)
        for number in range(12):
            out = self.folder / f"run {number}"
            process = start("--steps", "100000", "--no-test", "--out", out, "--save-every", "2", "--keep", "2")
            last = 0
            for _ in range(chance.randrange(5, 30)):
                last = json.loads(process.stdout.readline()).get("step", 0)
            time.sleep(chance.random() / 50)
            process.kill()
            out_rest, _ = process.communicate()
            for line in out_rest.splitlines():
                try:
                    last = json.loads(line).get("step", last)
                except json.JSONDecodeError:
                    pass  # the line that was being written
            resumed = train("--steps", "100000", "--no-test", "--out", out, "--resume",
                            "--save-every", "1000000", "--budget", "1KiB")
            self.assertIn("going on from", resumed.stderr)
            step = int(resumed.stderr.split("after step ")[1].split()[0])
            self.assertGreaterEqual(step, last - 2)

    def test_a_refused_budget_says_how_to_go_on(self):
        train("--steps", "40", "--no-test", "--out", self.folder / "run", "--save-every", "5")
        shutil.rmtree(self.folder / "run" / "step-0000000040")
        refused = train("--steps", "40", "--no-test", "--out", self.folder / "run", "--resume",
                        "--budget", "1KiB")
        self.assertEqual(refused.returncode, 1)
        self.assertIn("step 35 is in", refused.stderr)
        self.assertIn("--resume", refused.stderr)
        self.assertEqual(snapshots(self.folder / "run"),
                         ["step-0000000030", "step-0000000035"])

    def test_what_is_kept_is_for_its_user_alone_and_replaces_links(self):
        out, victim = self.folder / "run", self.folder / "victim"
        out.mkdir()
        victim.write_text("of another program")
        (out / "run.jsonl").symlink_to(victim)
        old = os.umask(0)
        try:
            trained = train("--steps", "2", "--no-test", "--out", out)
        finally:
            os.umask(old)
        self.assertEqual(trained.returncode, 0, trained.stderr)
        snapshot = out / "step-0000000002"
        self.assertEqual(snapshot.stat().st_mode & 0o777, 0o700)
        for file in [out / "run.jsonl", *snapshot.iterdir()]:
            self.assertFalse(file.is_symlink())
            self.assertEqual(file.stat().st_mode & 0o777, 0o600, file)
        self.assertEqual(victim.read_text(), "of another program")

    def test_a_damaged_newest_falls_back_and_says_so(self):
        train("--steps", "4", "--no-test", "--out", self.folder / "run", "--save-every", "2")
        newest = self.folder / "run" / "step-0000000004" / "model.safetensors"
        content = bytearray(newest.read_bytes())
        content[-1] ^= 1
        newest.write_bytes(content)
        resumed = train("--steps", "4", "--no-test", "--out", self.folder / "run", "--resume")
        self.assertEqual(resumed.returncode, 0, resumed.stderr)
        self.assertIn("is damaged", resumed.stderr)
        self.assertEqual(list(resumed.losses), [3, 4])

    def test_another_training_is_refused(self):
        out = self.folder / "run"
        train("--steps", "2", "--no-test", "--out", out)
        self.assertIn("go on with --resume", train("--steps", "2", "--out", out).stderr)
        for other, what in ((["--seed", "2"], "its seed is 1"),
                            (["--lr", "0.5"], "its learning rate is"),
                            (["--optimizer", "sgd"], "its learning rate is 0.002"),
                            (["--batch-size", "16"], "its batch size is 32"),
                            (["--data", "synthetic:1x8x8:10:320"], "its data is")):
            refused = train("--steps", "2", "--out", out, "--resume", *other)
            self.assertEqual(refused.returncode, 1)
            self.assertIn(what, refused.stderr)
        self.assertEqual(snapshots(out), ["step-0000000002"])

    def test_a_training_goes_on_in_another_folder(self):
        first, second = self.folder / "first", self.folder / "second"
        train("--steps", "6", "--no-test", "--out", first, "--save-every", "3")
        shutil.rmtree(first / "step-0000000006")
        moved = train("--steps", "6", "--no-test", "--resume", first, "--out", second)
        self.assertEqual(list(moved.losses), [4, 5, 6], moved.stderr)
        self.assertEqual((snapshots(first), snapshots(second)), (["step-0000000003"], ["step-0000000006"]))
        foreign = train("--steps", "6", "--no-test", "--resume", first, "--out", second)
        self.assertEqual(foreign.returncode, 1)
        self.assertIn("has the snapshots of a training", foreign.stderr)
        refused = train("--steps", "6", "--no-test", "--resume", first, "--out", self.folder / "third",
                        "--budget", "1KiB")
        self.assertIn(f"--resume {first / 'step-0000000003'}", refused.stderr)

    def test_snapshots_that_cannot_be_read_are_not_begun_anew(self):
        out = self.folder / "run"
        train("--steps", "2", "--no-test", "--out", out)
        (out / "step-0000000002" / "snapshot.json").write_text("{}")
        again = train("--steps", "2", "--no-test", "--out", out, "--resume")
        self.assertEqual((again.returncode, again.losses), (1, {}))
        self.assertIn("none can be read", again.stderr)

    def test_any_path_can_be_saved(self):
        book = self.folder / os.fsdecode(b"b\xff\\ok.txt")
        book.write_text("so it goes on and on " * 2000)
        for _ in range(2):
            done = subprocess.run([NEAP, "train", "--model", "gpt", "--data", b"text:" + os.fsencode(book), "--steps",
                                   "1", "--batch-size", "2", "--no-test", "--out", self.folder / "run", "--resume"],
                                  capture_output=True)
            self.assertEqual(done.returncode, 0, done.stderr)

    def test_weights_are_evaluated_and_begin_another_training(self):
        out = self.folder / "run"
        done = train("--steps", "40", "--out", out)
        accuracy = done.events[-1]["accuracy"]
        newest = out / "step-0000000040"
        for weights in (out, newest, newest / "model.safetensors"):
            found = neap("evaluate", *SMALL, "--weights", weights, "--json", "--budget", "64MiB")
            self.assertEqual(found.returncode, 0, found.stderr)
            self.assertEqual(json.loads(found.stdout)["accuracy"], accuracy)
        self.assertIn(f"{100 * accuracy:.2f} %", neap("evaluate", *SMALL, "--weights", out, "--quiet").stdout)
        first = train("--steps", "1", "--no-test", "--lr", "0.000001")
        warm = train("--steps", "1", "--no-test", "--lr", "0.000001", "--init", out)
        self.assertLess(warm.losses[1], first.losses[1])
        other = neap("evaluate", *SMALL, "--weights", out, "--model", "resnet")
        self.assertEqual(other.returncode, 2)  # --model twice
        for wrong, code in ((self.folder / "none", 1), (self.folder, 1), (pathlib.Path("/dev/null"), 1)):
            refused = neap("evaluate", *SMALL, "--weights", wrong)
            self.assertEqual(refused.returncode, code)
            self.assertIn(str(wrong), refused.stderr)
        share = neap("evaluate", *SMALL, "--weights", out, "--budget", "30%")
        self.assertEqual(share.returncode, 2)

    def test_the_learning_rate_follows_its_schedule(self):
        for schedule, rates in (("constant", [0.25, 0.5, 0.5, 0.5, 0.5, 0.5]),
                                ("linear", [0.25, 0.5, 0.5, 0.375, 0.25, 0.125]),
                                ("cosine", [0.25, 0.5, 0.5, 0.4268, 0.25, 0.0732]),
                                ("step", [0.25, 0.5, 0.5, 0.5, 0.05, 0.005])):
            done = train("--steps", 6, "--no-test", "--lr", "0.5", "--schedule", schedule, "--warmup", 2,
                         "--optimizer", "sgd", "--clip-norm", "0.01", "--weight-decay", "0")
            steps = [one for one in done.events if one["event"] == "step"]
            self.assertEqual([round(one["learning_rate"], 4) for one in steps], rates, schedule)
            self.assertTrue(all(one["gradient_norm"] > 0.01 for one in steps))
        self.assertIsNone(train("--steps", 1, "--no-test").events[0]["gradient_norm"])
        # The gradient is scaled down, so the weights hardly move.
        far, near = (train("--steps", 8, "--no-test", "--optimizer", "sgd", "--lr", "0.5", "--clip-norm", norm)
                     for norm in ("0", "1e-9"))
        self.assertNotEqual(far.losses[8], near.losses[8])

    def test_options_that_do_not_go_together_are_wrong_use(self):
        for wrong in (["--resume"], ["--save-every", "5"], ["--out", ""],
                      ["--out", "x", "--save-every", "5x"], ["--out", "x", "--save-every", "0"],
                      ["--out", "x", "--save-every", "-3"], ["--out", "x", "--keep", "-1"]):
            self.assertEqual(train("--steps", "1", *wrong).returncode, 2, wrong)
        none = train("--steps", "1", "--resume", self.folder / "none")
        self.assertEqual(none.returncode, 1)
        self.assertIn("has no snapshot", none.stderr)
        nowhere = train("--steps", "1", "--no-test", "--out", "/proc/neap")
        self.assertEqual(nowhere.returncode, 1)
        self.assertIn("cannot be made", nowhere.stderr)
        self.assertEqual(nowhere.losses, {})


if __name__ == "__main__":
    unittest.main()
