#!/usr/bin/env python3
# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""command_test.py NEAP OWN_MODEL UNSTEADY_MODEL [unittest arguments]: the command as people use it, and as they misuse it."""
import json
import os
import pathlib
import re
import resource
import signal
import subprocess
import sys
import unittest

import running
from running import NEAP, idx, neap, write_pictures

OWN_MODEL = pathlib.Path(sys.argv.pop(1))  # the library of examples/own_model
UNSTEADY_MODEL = pathlib.Path(sys.argv.pop(1))  # that of unsteady_model.cpp
FORTUNES = pathlib.Path("/usr/share/games/fortunes/cookie")
SUMMARY_KEYS = {"ending", "reason", "budget_bytes", "peak_bytes", "plain_peak_bytes", "max_rss_bytes", "replays",
                "step_ms_median", "loss", "accuracy"}


class CommandTest(running.CommandTest):
    def setUp(self):
        super().setUp()
        write_pictures(self.folder)

    def train(self, *arguments, **options):
        return neap("train", "--data", self.folder, "--threads", 1, *arguments, **options)

    # ---- what people are told

    def test_help_has_examples_everywhere(self):
        for arguments in ([], ["train"], ["verify"], ["analyze"], ["bench"], ["max-batch"], ["doctor"]):
            done = neap(*arguments, "--help")
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn("neap " + (arguments[0] if arguments else ""), done.stdout)
            self.assertIn("xample", done.stdout)

    def test_doctor_says_what_it_found(self):
        done = neap("doctor")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        for text in ("neap", "LibTorch", "Fake", "allocator", "oneDNN", "thread", "not seen"):
            self.assertIn(text.lower(), done.stdout.lower())

    def test_the_version_is_told(self):
        self.assertRegex(neap("--version").stdout, r"^neap \d+\.\d+\.\d+\n$")

    # ---- wrong use

    def test_wrong_use_ends_with_2_and_names_what_is_wrong(self):
        for arguments, text in [
                ([], "subcommand"),
                (["fly"], "'fly' is no command"),
                (["train", "--modle", "mlp"], "--modle"),
                (["train", "--model", "vgg"], "vgg not in {gpt,mlp,resnet,transformer}, and no path of a "
                                              "library"),
                (["train", "--optimizer", "lion"], "lion"),
                (["train", "--budget", "12XB"], "'12XB' is not a number of bytes: at position 3"),
                (["train", "--budget", "-5"], "'-5' is not a number of bytes"),
                (["train", "--budget", "0%"], "'0%' is not a share"),
                (["train", "--budget", "x%"], "'x%' is not a share"),
                (["train", "--batch-size", "0"], "--batch-size: '0' is no whole number from 1 to 1099511627776"),
                (["train", "--steps", "-1"], "--steps: '-1' is no whole number from 0 to"),
                (["train", "--lr", "nan"], "--lr: 'nan' is no number from 0 to 1e+06"),
                (["verify", "--budget", ""], "--budget"),
                (["train", "--policy", "best"], "--policy: 'best'; expected planned, online, or"),
                (["train", "--policy", "online", "--plan-cache", "x"],
                 "--plan-cache keeps the plans of --policy planned"),
                (["verify", "--json"], "--json"),
                (["train", "--config", "nowhere.toml"], "nowhere.toml"),
                (["analyze", "--batch-sizes", "8,0"], "--batch-sizes: '0' is no whole number from 1 to"),
                (["analyze", "--input", "3,x,32"], "--input"),
                (["analyze", "--input", "7"], "--model resnet: --input has samples of 7, and this "
                                              "model reads pictures"),
                (["analyze", "--model", "gpt", "--input", "3,8,8"], "--input has samples of 3x8x8 tokens, and "
                                                                    "this model reads rows of tokens"),
                (["analyze", "--budget", "12XB"], "--budget: '12XB' is not a number of bytes"),
                (["bench", "--budgets", "50%,0%"], "--budgets: "),
                (["max-batch"], "--budget is required"),
                (["max-batch", "--budget", "30%"], "--budget: '30%' is no number of bytes"),
                (["max-batch", "--budget", "none"], "--budget: 'none' is no number of bytes"),
                (["max-batch", "--budget", "1GiB", "--margin", "100%"], "--margin: '100%'"),
                (["max-batch", "--budget", "1GiB", "--margin", ""], "--margin: ''"),
                (["max-batch", "--budget", "1GiB", "--time-limit", "-1"], "--time-limit")]:
            with self.subTest(arguments):
                self.assert_ended(neap(*arguments), 2, text)

    def test_the_values_of_a_config_file_are_used_and_the_command_line_wins(self):
        config = self.write("neap.toml", 'model = "mlp"\nsteps = 2\nbatch-size = 32\nseed = 5\n')
        lines = self.json_lines(self.train("--config", config, "--json"))
        self.assertEqual(lines[-1]["steps"], 2)
        lines = self.json_lines(self.train("--config", config, "--steps", 3, "--json"))
        self.assertEqual(lines[-1]["steps"], 3)

    def test_config_files_that_are_wrong_are_refused_with_the_place(self):
        for text, told in [('optimiser = "sgd"\n', "unknown key 'optimiser'; did you mean 'optimizer'?"),
                           ('steps = "many"\n', "steps"), ("steps = [1, 2]\n", "steps"),
                           ("steps = \n", "line 1"), ('model = "vgg"\n', "vgg")]:
            with self.subTest(text):
                path = self.write("wrong.toml", text)
                self.assert_ended(self.train("--config", path), 2, str(path), told)

    # ---- data

    def test_data_that_is_missing_or_damaged_ends_with_1_and_names_the_file(self):
        self.assert_ended(neap("train", "--data", self.folder / "nowhere"), 1, "nowhere",
                          "is not a folder")
        images = self.folder / "train-images-idx3-ubyte"
        whole = images.read_bytes()
        for content, told in [(whole[:-5], "cut short"), (whole + b"x", "too long"),
                              (b"\0\0\x08\x01" + whole[4:], "mixed up"), (b"", "cut short"),
                              (idx(0x803, [1 << 31, 1 << 31, 28], b""), "more than can be meant")]:
            with self.subTest(told):
                images.write_bytes(content)
                self.assert_ended(self.train("--model", "mlp"), 1, str(images), told)
        images.write_bytes(whole)
        labels = self.folder / "train-labels-idx1-ubyte"
        labels.write_bytes(idx(0x801, [256], [200] * 256))
        self.assert_ended(self.train("--model", "mlp"), 1, str(labels), "label 0 is 200")

    def test_data_that_is_wrongly_named_ends_with_2_and_says_where(self):
        for spec, told in [("cifar11:/nowhere", "neither a folder nor a kind of data"),
                           ("synthetic:3x8y8:10", "expected x and an extent"),
                           ("synthetic:3x8x8:0", "expected the number of classes"),
                           ("text:", "expected a file")]:
            with self.subTest(spec):
                self.assert_ended(neap("train", "--data", spec), 2, "--data: ", spec, told)

    def test_a_model_that_cannot_read_the_data_is_refused_with_one_that_can(self):
        text = self.write("text.txt", "All work and no play. " * 100)
        for model, spec, told in [
                ("resnet", f"text:{text}", "samples of 256 tokens, and this model reads no tokens; "
                                           "take --model gpt"),
                ("gpt", "synthetic:3x8x8:10", "samples of 3x8x8, and this model reads rows of tokens"),
                ("resnet", "synthetic:7:10", "this model reads pictures, as 3x32x32; take --model mlp"),
                ("transformer", "synthetic:3x8x12:10", "square pictures with a side that 4 divides")]:
            with self.subTest(model + spec):
                self.assert_ended(neap("train", "--model", model, "--data", spec), 2, told)
        self.assert_ended(neap("train", "--model", "mlp", "--data", "synthetic:7:10:20"), 2,
                          "--batch-size 128: synthetic:7:10:20 has 20 training samples")

    def test_models_take_channels_side_and_classes_from_the_data(self):
        text = self.write("text.txt", "All work and no play. " * 100)
        cifar = self.folder / "cifar"
        cifar.mkdir()
        for name in [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]:
            (cifar / name).write_bytes(b"".join(bytes([i % 10]) + bytes([i % 251]) * 3072
                                                for i in range(10000)))
        for model, spec in [("mlp", f"cifar10:{cifar}"), ("resnet", "synthetic:2x8x12:7:16"),
                            ("transformer", "synthetic:2x8x8:7:16"), ("mlp", "synthetic:5:7:16"),
                            ("gpt", f"text:{text}")]:
            with self.subTest(spec):
                done = neap("train", "--model", model, "--data", spec, "--steps", 3, "--batch-size",
                            4, "--budget", "120%", "--json", "--seed", 2, "--threads", 1)
                summary = self.json_lines(done)[-1]
                self.assertEqual(summary["steps"], 3)
                self.assertLessEqual(summary["peak_bytes"], summary["budget_bytes"])
                self.assertTrue(0 <= summary["accuracy"] <= 1, summary)

    @unittest.skipUnless(FORTUNES.exists(), "the Debian package fortunes is not installed")
    def test_a_language_model_learns_from_a_text(self):
        *steps, summary = self.json_lines(
            neap("train", "--model", "gpt", "--data", f"text:{FORTUNES}", "--steps",
                 30, "--batch-size", 8, "--budget", "50%", "--threads", 1, "--json"))
        self.assertGreater(steps[0]["loss"], 5.4, "ln 256: all bytes are equally likely")
        self.assertLess(steps[-1]["loss"], 3.5)
        self.assertGreater(summary["accuracy"], 0.17, "16 % of the bytes are blanks")
        self.assertLessEqual(summary["peak_bytes"], summary["budget_bytes"])
        self.assertGreater(summary["replays"], 0)

    def test_a_seed_gives_the_same_losses_again(self):
        losses = []
        for seed in (4, 4, 5):
            lines = self.json_lines(self.train("--model", "mlp", "--batch-size", 100, "--epochs", 3,
                                               "--json", "--seed", seed))
            self.assertEqual(lines[-1]["steps"], 6, "256 pictures have two whole batches of 100")
            losses.append([line["loss"] for line in lines])
        self.assertEqual(losses[0], losses[1])
        self.assertNotEqual(losses[0], losses[2])

    # ---- training

    def json_lines(self, done):
        self.assertEqual(done.returncode, 0, done.stderr)
        return [json.loads(line) for line in done.stdout.splitlines()]

    def test_json_is_one_object_a_line_and_ends_with_the_summary(self):
        lines = self.json_lines(self.train("--model", "resnet", "--steps", 3, "--batch-size", 32,
                                           "--budget", "40%", "--json"))
        summary = lines[-1]
        self.assertLessEqual(SUMMARY_KEYS, summary.keys())
        self.assertLessEqual(summary["peak_bytes"], summary["budget_bytes"])
        self.assertLess(summary["budget_bytes"], summary["plain_peak_bytes"])
        self.assertGreater(summary["replays"], 0)
        self.assertGreater(summary["max_rss_bytes"], summary["peak_bytes"])
        self.assertEqual(summary["steps"], 3)

    def test_the_budget_does_not_change_the_loss(self):
        losses = set()
        for budget in ("none", "100%", "40%"):
            summary = self.json_lines(self.train("--model", "transformer", "--steps", 3, "--seed", 3,
                                                 "--batch-size", 32, "--accumulate", 2, "--optimizer",
                                                 "adamw", "--budget", budget, "--json"))[-1]
            losses.add((summary["loss"], summary["accuracy"]))
        self.assertEqual(len(losses), 1, losses)

    def test_a_run_ends_with_a_table_and_quiet_leaves_nothing_else(self):
        done = self.train("--model", "mlp", "--steps", 2, "--batch-size", 64, "--budget", "100%")
        self.assert_ended(done, 0)
        for text in ("plain peak", "budget", "peak", "replay", "accuracy"):
            self.assertIn(text, (done.stdout + done.stderr).lower())
        self.assertNotIn("\r", done.stdout + done.stderr, "no progress line where no terminal is")
        quiet = self.train("--model", "mlp", "--steps", 2, "--quiet", "--json")
        self.assert_ended(quiet, 0)
        self.assertEqual(quiet.stderr, "")

    def test_the_evaluation_shows_how_far_it_is_and_is_left_out_when_asked(self):
        common = ("--model", "mlp", "--steps", 1, "--batch-size", 64)
        done = self.train(*common)
        self.assert_ended(done, 0)
        tested = [line for line in done.stderr.splitlines() if line.startswith("test batch ")]
        self.assertRegex(tested[0], r"^test batch 1/4  \d+m\d\ds left  \d+ samples/s$")
        self.assertRegex(tested[-1], r"^test batch 4/4  0m00s left  \d+ samples/s$")
        self.assertIn("test accuracy", done.stdout)
        without = self.train(*common, "--no-test")
        self.assert_ended(without, 0)
        self.assertIn("step 1/1", without.stderr)
        self.assertNotIn("test", without.stdout + without.stderr)
        self.assertIsNone(self.json_lines(self.train(*common, "--no-test", "--json"))[-1]["accuracy"])
        config = self.write("neap.toml", "no-test = true\n")
        self.assertIsNone(self.json_lines(self.train(*common, "--config", config, "--json"))[-1]["accuracy"])

    def test_verify_proves_equal_bits(self):
        done = neap("verify", "--model", "transformer", "--budget", "40%", "--steps", 2,
                    "--batch-size", 32)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stdout, r"equal bits: \d+ tensors, \d+ bytes")

    def test_verify_takes_no_more_memory_for_more_steps(self):
        peaks = [neap("verify", "--model", "mlp", "--budget", "none", "--batch-size", 1, "--steps", steps,
                      "--threads", 1, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (3 << 29, 3 << 29)))
                 for steps in (1, 60)]
        for done in peaks:
            self.assert_ended(done, 0)
        # A copy of each step would take 60 times this.
        one, many = (int(re.match(r"equal bits: \d+ tensors, (\d+) bytes", done.stdout).group(1)) for done in peaks)
        self.assertGreater(one, 32 << 20)
        self.assertGreater(many, 59 * one)

    def test_verify_ends_at_the_first_difference_however_many_steps_are_asked_for(self):
        done = self.unsteady("inside 1", "verify", "--budget", "none", "--steps", 1 << 40)
        self.assertEqual(done.returncode, 1)
        self.assertIn("different bits in step 1: ", done.stdout)

    def test_verify_says_why_there_are_no_plain_steps(self):
        self.assert_ended(self.unsteady("killed", "verify", "--budget", "none"), 1,
                          "neap: the process with the plain steps was killed by signal 9; where that is for want "
                          "of memory, take a smaller --batch-size")

    def test_an_interrupt_ends_verify_and_both_of_its_processes(self):
        process = subprocess.Popen([NEAP, "verify", "--model", "mlp", "--budget", "none", "--steps", str(1 << 40)],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children")
        while not (child := children.read_text().strip()):
            pass
        process.send_signal(signal.SIGINT)
        self.assertIn("interrupted", process.communicate(timeout=120)[1])
        self.assertEqual(process.returncode, 130)
        self.assertFalse(pathlib.Path(f"/proc/{child}").exists())

    def test_a_training_that_is_refused_or_not_finite_has_a_summary_with_the_reason(self):
        for arguments, ending, reason in [
                (["--budget", "3MiB"], "budget_exceeded", "budget of 3.0 MiB"),
                (["--optimizer", "sgd", "--lr", "1e6", "--epochs", 50], "not_finite", "loss"),
                (["--budget", "200MiB", "--policy", "./nowhere.jsonl"], "failed", "nowhere.jsonl")]:
            with self.subTest(ending):
                done = self.train("--model", "mlp", *arguments, "--json")
                self.assertEqual(done.returncode, 1, done.stderr)
                summary = json.loads(done.stdout.splitlines()[-1])
                self.assertEqual((summary["event"], summary["ending"]), ("summary", ending))
                self.assertIn(reason, summary["reason"])
                self.assertIn(f"neap: {summary['reason']}", done.stderr)
                table = self.train("--model", "mlp", *arguments)
                self.assert_ended(table, 1, reason)
                if ending == "failed":
                    self.assertEqual(table.stdout, "", "there is nothing to sum up for people")
                    continue
                for row in ("  ended  ", "  steps  ", "  peak  "):
                    self.assertIn(row, table.stdout)

    def test_time_against_plain_is_said_of_steps_after_the_first_ones_only(self):
        common = ("--model", "mlp", "--batch-size", 16, "--budget", "200%", "--no-test")
        self.assertNotIn("time against plain", self.train(*common, "--steps", 19).stdout)
        self.assertIn("time against plain", self.train(*common, "--steps", 20).stdout)

    def test_a_percentage_means_the_same_in_all_commands(self):
        common = ("--model", "mlp", "--threads", 1)
        trained = self.json_lines(neap("train", *common, "--data", "synthetic:3x32x32:10", "--batch-size", 64,
                                       "--budget", "80%", "--steps", 1, "--no-test", "--json"))[-1]
        analyzed = neap("analyze", *common, "--batch-sizes", 64, "--budget", "80%", "--repetitions", 1, "--json")
        benched = json.loads(neap("bench", *common, "--batch-sizes", 64, "--budgets", "80%", "--repetitions", 1,
                                  "--json").stdout)["rows"]
        verified = neap("verify", *common, "--batch-size", 64, "--budget", "80%", "--steps", 1)
        planned = json.loads(neap("plan", *common, "--batch-size", 64, "--budget", "80%", "--format-rules", "--json").stdout)
        budget = trained["budget_bytes"]
        self.assertEqual(budget, trained["plain_base_bytes"] +
                         int(0.8 * (trained["plain_peak_bytes"] - trained["plain_base_bytes"])))
        self.assertEqual(json.loads(analyzed.stdout)["performance"]["budget_bytes"], budget)
        self.assertEqual(benched[2]["budget_bytes"], budget)
        # A trace has no room that the allocator keeps between blocks.
        self.assertLess(abs(planned["budget_bytes"] - budget), 0.01 * budget)
        self.assertEqual(re.search(r"budget (\S+ \S+),", verified.stderr).group(1),
                         re.search(r"80% is (.*)", analyzed.stderr).group(1))

    def test_addresses_are_taken_as_they_are_needed_where_the_system_limits_them(self):
        limit = 2000000 << 10  # ulimit -v 2000000
        for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
            with self.subTest(kind):
                done = neap("verify", "--model", "resnet", "--budget", "40%", "--steps", 1, "--batch-size", 16,
                            "--threads", 1, preexec_fn=lambda kind=kind: resource.setrlimit(kind, (limit, limit)))
                self.assert_ended(done, 0)
                self.assertIn("equal bits", done.stdout)

    def test_plans_are_kept_from_one_run_to_the_next(self):
        kept = self.folder / "plans"
        common = ("--model", "transformer", "--steps", 3, "--batch-size", 32)
        # In bytes: of a share the plain steps are run first, and the first step follows a plan already.
        budget = self.json_lines(self.train(*common, "--budget", "40%", "--json"))[-1]["budget_bytes"]
        arguments = (*common, "--budget", budget, "--plan-cache", kept)
        first = self.json_lines(self.train(*arguments, "--json"))
        self.assertFalse(first[0]["planned"])
        files = list(kept.iterdir())
        self.assertGreaterEqual(len(files), 1)
        for file in files:
            self.assertEqual(file.stat().st_mode & 0o777, 0o600)
        again = self.json_lines(self.train(*arguments, "--json"))
        self.assertTrue(any(line["planned"] for line in again[:2]), again)
        self.assertEqual([line["loss"] for line in first], [line["loss"] for line in again])
        self.assertLessEqual(again[-1]["peak_bytes"], again[-1]["budget_bytes"])
        for file in files:
            file.write_bytes(file.read_bytes()[:-5])
        damaged = self.train(*arguments)
        self.assert_ended(damaged, 0, f"{files[0]} is ignored: it is damaged: its sum is wrong")
        with self.subTest("where none can be kept"):
            file = self.write("file", "")
            done = self.train(*arguments[:-1], file)
            self.assert_ended(done, 0, f"{file} is ignored: Not a directory")

    def test_impossible_budgets_end_with_1_and_say_what_to_do(self):
        small = self.train("--model", "mlp", "--steps", 1, "--budget", "64KiB")
        self.assert_ended(small, 1, "budget of 64.0 KiB cannot be set", "name a larger one")
        tight = self.train("--model", "resnet", "--steps", 1, "--budget", "2%")
        self.assert_ended(tight, 1, "exceeded", "aten::", "the smallest budget known to work for this step is")

    # ---- models of one's own

    def test_a_model_of_ones_own_is_trained_on_its_batches_with_its_defaults(self):
        done = neap("train", "--model", OWN_MODEL, "--steps", 60, "--budget", "70%", "--threads", 1,
                    "--json")
        *steps, summary = self.json_lines(done)
        self.assertLessEqual(summary["peak_bytes"], summary["budget_bytes"])
        self.assertIn("60/60", neap("train", "--model", OWN_MODEL, "--steps", 60).stderr)
        self.assertLess(steps[-1]["loss"], 0.6 * steps[0]["loss"])
        self.assertIsNone(summary["accuracy"])
        slow = self.json_lines(neap("train", "--model", OWN_MODEL, "--steps", 60, "--lr", "1e-6",
                                    "--threads", 1, "--json"))
        self.assertGreater(slow[-2]["loss"], 0.9 * steps[0]["loss"])

    def test_a_model_of_ones_own_is_trained_on_data_that_is_named(self):
        summary = self.json_lines(neap("train", "--model", OWN_MODEL, "--data", "synthetic:2x64:4",
                                       "--batch-size", 100, "--json"))[-1]
        self.assertEqual(summary["steps"], 10, "1024 samples")
        self.assertTrue(0 <= summary["accuracy"] <= 1)

    def test_all_commands_take_a_model_of_ones_own(self):
        own = ("--model", OWN_MODEL, "--threads", 1)
        done = neap("verify", *own, "--budget", "70%")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stdout, r"equal bits: \d+ tensors, \d+ bytes")
        small = (*own, "--repetitions", 1, "--batch-sizes", "8,64")
        self.assertIn("blocks.3.norm", neap("analyze", *small).stdout)
        rows = json.loads(neap("bench", *small, "--budgets", "75%", "--json").stdout)["rows"]
        self.assertEqual(len(rows), 6)
        self.assertTrue(all(row["equal_bits"] for row in rows), rows)
        self.assertGreater(rows[1]["replays"], 0, "use_checkpoint puts checkpoints around the blocks")
        shown = json.loads(neap("max-batch", *own, "--input", "1,64", "--budget", "9MiB", "--json").stdout)
        self.assertGreater(shown["neap"]["batch_size"], shown["plain"]["batch_size"])

    def test_a_model_of_ones_own_without_steps_or_for_other_samples_is_refused(self):
        for arguments, told in [
                ([], "makes its batches itself, without an end; say how many with --steps"),
                (["--steps", 1, "--accumulate", 65], "--accumulate 65 parts of a batch of 64"),
                (["--data", "synthetic:3x8x8:10"], "--data synthetic:3x8x8:10 has samples of 3x8x8, and "
                                                   "tone_net reads signals (C, T), as 1x256")]:
            with self.subTest(arguments):
                self.assert_ended(neap("train", "--model", OWN_MODEL, *arguments), 2, told)
        for command in (["analyze"], ["bench"], ["max-batch", "--budget", "1GiB"]):
            with self.subTest(command):
                self.assert_ended(neap(*command, "--model", OWN_MODEL, "--input", 7), 2,
                                  "--input has samples of 7, and tone_net reads signals (C, T)")

    def test_a_library_that_is_none_or_of_other_versions_is_refused_with_the_reason(self):
        whole = OWN_MODEL.read_bytes()
        mark = whole.index(b"built with neap ")
        versions = whole[mark + 16:whole.index(b"\0", mark)]
        neap_version, torch_version = versions.split(b" and LibTorch ")
        other = versions.replace(neap_version, b"9" + neap_version[1:], 1)
        other_torch = versions.replace(torch_version, b"9" + torch_version[1:])
        for name, content, told in [
                ("nowhere", None, "cannot be read: No such file or directory"),
                ("empty", b"", "is no shared library"),
                ("text", b"int main() {}", "is no shared library of this machine; build one with NEAP_MODEL"),
                ("bare", whole.replace(b"neap plugin, ", b"some plugin, "), "defines no model; add NEAP_MODEL"),
                ("unmarked", whole.replace(b"neap_plugin_entry", b"neap_plugin_enter"),
                 "does not export neap_plugin_entry"),
                ("old", whole.replace(versions, other), f"was built with neap {other.decode()}, and this is "
                                                        f"neap {versions.decode()}; build it anew"),
                ("torch", whole.replace(versions, other_torch), f"was built with neap {other_torch.decode()}"),
                ("cut", whole[:len(whole) // 2], f"is damaged: its {len(whole) // 2} bytes are fewer"),
                ("head", whole[:40], "is damaged: its 40 bytes are fewer")]:
            with self.subTest(name):
                path = self.folder / f"lib{name}.so"
                if content is not None:
                    path.write_bytes(content)
                for command in (["train", "--steps", 1], ["verify"], ["analyze"], ["bench"],
                                ["max-batch", "--budget", "1GiB"]):
                    self.assert_ended(neap(*command, "--model", path), 1, f"--model {path}: ", told)
        self.assert_ended(neap("train", "--model", f"{self.folder}/"), 1, "is a folder; name the library")

    def unsteady(self, how, *arguments):
        return neap(*arguments, "--model", UNSTEADY_MODEL, "--threads", 1,
                    env={**os.environ, "UNSTEADY": how})

    def test_a_model_that_gives_other_bits_each_time_is_found_out(self):
        self.assert_ended(self.unsteady("", "verify", "--budget", "none"), 0)
        done = self.unsteady("forward", "verify", "--budget", "none")
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stdout, r"^plain LibTorch does not repeat its own bits: step 1: loss\[0\]: "
                                      r"first 0x[0-9a-f]+, then 0x[0-9a-f]+; inside the budget they are "
                                      r"different again, so nothing is proved; the model, or an operator of "
                                      r"it, is not deterministic\n$")
        done = self.unsteady("forward", "bench", "--batch-sizes", 8, "--budgets", "1GiB",
                             "--repetitions", 1)
        self.assert_ended(done, 1, "batch 8, checkpointed: bits are not proved to be the plain step's: ")

    def test_a_difference_is_put_down_to_neap_only_where_plain_steps_repeat_themselves(self):
        done = self.unsteady("inside 1", "verify", "--budget", "none")
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stdout, r"^different bits in step 1: loss\[0\]: plain 0x[0-9a-f]+, "
                                      r"inside the budget 0x[0-9a-f]+\n$")
        done = self.unsteady("plain 1", "verify", "--budget", "none")
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stdout, r"^plain LibTorch does not repeat its own bits: step 1: loss\[0\]: "
                                      r"first 0x[0-9a-f]+, then 0x[0-9a-f]+; inside the budget all are those "
                                      r"of its second run\n$")

    def test_a_model_of_ones_own_that_is_not_as_asked_is_refused_with_what_is_missing(self):
        for how, code, told in [
                ("no model", 1, "model unsteady has no make_model; set it"),
                ("no shape", 2, "its definition names no shape; set samples.shape"),
                ("no classes", 2, "its definition names neither classes nor batches"),
                ("optimizer", 2, "its optimizer 'lion' is none of sgd, adam and adamw"),
                ("factory", 1, f"--model {UNSTEADY_MODEL}: its factory: no definition today"),
                ("make_model", 1, f"--model {UNSTEADY_MODEL}: make_model: the weights are not there"),
                ("extent", 2, "its definition has samples of -4, 2 classes and a vocabulary of 0; name "
                              "extents of at least 1"),
                ("shapes", 1, "mat1 and mat2 shapes cannot be multiplied"),
                ("no exception", 1, "an exception of no known type"),
                ("rows", 1, "make_batch was asked for 32 rows and returned 3; return x and y of as many")]:
            with self.subTest(how):
                self.assert_ended(self.unsteady(how, "verify", "--budget", "none"), code, told)

    def test_what_a_definition_leaves_to_the_command_and_what_it_names(self):
        losses = {}
        for name, arguments in {"own": [], "same": ["--optimizer", "sgd"], "lr": ["--lr", 0.5],
                                "other": ["--lr", 0.25], "adamw": ["--optimizer", "adamw"],
                                "0.002": ["--optimizer", "adamw", "--lr", 0.002]}.items():
            lines = self.json_lines(self.unsteady("defaults", "train", "--data", "synthetic:4:2:64", "--steps", 3,
                                                  "--json", *arguments))
            losses[name] = [line["loss"] for line in lines[:-1]]
        self.assertGreater(losses["own"][0], 100, "its loss is cross entropy and 100")
        self.assertEqual(losses["own"], losses["same"])
        self.assertEqual(losses["own"], losses["lr"])
        self.assertNotEqual(losses["own"], losses["other"])
        self.assertEqual(losses["adamw"], losses["0.002"], "its rate is for sgd")
        self.assert_ended(self.unsteady("defaults", "train", "--steps", 3), 2,
                          "makes no batches; name --data, or set make_batch")

    def test_the_accuracy_is_by_the_classes_where_the_definition_says_they_stand(self):
        text = self.write("text.txt", "x " * 10000)  # every window has 256 tokens, as many as there are classes
        for how in ("classes first", "classes last"):
            lines = self.json_lines(self.unsteady(how, "train", "--data", f"text:{text}", "--steps", 1,
                                                  "--batch-size", 4, "--json"))
            self.assertEqual(lines[-1]["accuracy"], 0.5, "it says that all are blanks")

    # ---- measuring

    def test_analyze_shows_time_and_memory_by_batch_and_goes_on_after_one_that_does_not_fit(self):
        common = ["analyze", "--model", "mlp", "--input", "3,8,8", "--repetitions", 2, "--threads", 1]
        done = neap(*common, "--batch-sizes", "4,16")
        self.assert_ended(done, 0)
        for text in ("forward", "best batch", "Linear", "activations"):
            self.assertIn(text.lower(), done.stdout.lower())
        csv, svg = self.folder / "out.csv", self.folder / "out.svg"
        fitting = neap(*common, "--batch-sizes", "16,4096", "--budget", "25MiB", "--json", "--csv", csv,
                       "--svg", svg)
        self.assertEqual(fitting.returncode, 0, fitting.stderr)
        shown = json.loads(fitting.stdout)
        rows = shown["performance"]["rows"]
        self.assertEqual([row["batch_size"] for row in rows], [16, 4096])
        self.assertIsNone(rows[0]["refusal"])
        self.assertLessEqual(rows[0]["peak_live_bytes"], 25 << 20)
        self.assertIn("exceeded", rows[1]["refusal"])
        self.assertEqual(shown["memory"]["batch_size"], 16)
        self.assertEqual(csv.read_bytes().count(b"\r\n"), 3)
        self.assertTrue(svg.read_text().rstrip().endswith("</svg>"))
        share = neap(*common, "--batch-sizes", "16,64", "--budget", "60%")
        self.assert_ended(share, 0, "a plain step of the largest batch needs")

    def test_bench_puts_plain_checkpointed_and_budgets_side_by_side_with_equal_bits(self):
        for model, shape, batch in [("resnet", "3,8,8", 64), ("gpt", "16", 64), ("mlp", "1,8,8", 512),
                                    ("transformer", "1,8,8", 64)]:
            with self.subTest(model):
                done = neap("bench", "--model", model, "--input", shape, "--batch-sizes", batch,
                            "--budgets", "70%", "--repetitions", 1, "--threads", 1, "--json")
                self.assertEqual(done.returncode, 0, done.stderr)
                rows = json.loads(done.stdout)["rows"]
                self.assertEqual([row["variant"] for row in rows], ["plain", "checkpointed", "70%"])
                self.assertTrue(all(row["equal_bits"] for row in rows), rows)
                self.assertGreater(rows[1]["replays"], 0)

    def test_max_batch_proves_the_largest_batch_on_both_sides(self):
        done = neap("max-batch", "--model", "mlp", "--input", "1,8,8", "--budget", "26MiB", "--margin",
                    "2%", "--threads", 1, "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        shown = json.loads(done.stdout)
        self.assertEqual(shown["budget_bytes"], int((26 << 20) * 0.98))
        self.assertTrue(shown["plain"]["proved"] and shown["neap"]["proved"], shown)
        self.assertGreater(shown["neap"]["batch_size"], shown["plain"]["batch_size"])
        self.assert_ended(neap("max-batch", "--model", "mlp", "--budget", "2MiB"), 1,
                          "no batch trains in 2.0 MiB: budget of 2.0 MiB cannot be set")

    def test_max_batch_tries_nothing_when_the_time_is_over(self):
        done = neap("max-batch", "--model", "mlp", "--budget", "1GiB", "--time-limit", "1e-9", "--json")
        self.assert_ended(done, 1, "no batch was tried inside 1.0 GiB within --time-limit")
        shown = json.loads(done.stdout)
        self.assertEqual((shown["neap"]["batch_size"], shown["neap"]["proved"]), (0, False))

    def test_a_report_that_cannot_be_written_is_refused_before_anything_is_measured(self):
        for option in ("--csv", "--svg"):
            done = neap("analyze", option, self.folder / "nowhere" / "file")
            self.assert_ended(done, 1, option, "nowhere/file cannot be written: No such file")
            self.assertEqual(done.stdout, "")

    def test_an_interrupt_ends_a_measurement_with_130(self):
        process = subprocess.Popen([NEAP, "max-batch", "--model", "resnet", "--budget", "8GiB"],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        while pathlib.Path(f"/proc/{process.pid}/status").read_text().find("SigCgt:\t0000000000000000") >= 0:
            pass
        process.send_signal(signal.SIGINT)
        self.assertIn("interrupted", process.communicate()[1])
        self.assertEqual(process.returncode, 130)

    # ---- where the output goes

    def test_a_full_disk_under_the_output_ends_with_1(self):
        with open("/dev/full", "w") as full:
            done = self.train("--model", "mlp", "--steps", 2, "--json", stdout=full)
        self.assert_ended(done, 1, "output")

    def test_a_closed_pipe_is_an_error_and_no_signal(self):
        process = subprocess.Popen([NEAP, "train", "--data", self.folder, "--model", "mlp", "--json",
                                    "--epochs", "50"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        process.stdout.readline()
        process.stdout.close()
        self.assertNotEqual(process.stderr.read(), b"")
        process.stderr.close()
        self.assertEqual(process.wait(), 1)

    def test_an_interrupt_ends_with_the_summary_so_far(self):
        process = subprocess.Popen(
            [NEAP, "train", "--data", self.folder, "--model", "mlp", "--json", "--epochs", "100000"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        out = process.stdout.read()
        process.stdout.close()
        self.assertEqual(process.wait(), 130)
        summary = json.loads(out.splitlines()[-1])
        self.assertLessEqual(SUMMARY_KEYS, summary.keys())
        self.assertEqual((summary["ending"], summary["reason"]), ("interrupted", "interrupted"))


if __name__ == "__main__":
    unittest.main()
