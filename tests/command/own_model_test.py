#!/usr/bin/env python3
# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""own_model_test.py NEAP UNSTEADY_MODEL OWN_MODEL [unittest arguments]: models that users define in libraries of their own."""
import csv
import json
import pathlib
import sys
import unittest

from running import CommandTest, neap
from unsteady import UNSTEADY_MODEL, unsteady

OWN_MODEL = pathlib.Path(sys.argv.pop(1))  # the library of examples/own_model


class OwnModelTest(CommandTest):
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
                (["--steps", 1, "--augment", "flip"], "--augment is for a data set, and --model"),
                (["--steps", 1, "--split", "20%"], "--split is for a data set, and --model"),
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
                self.assert_ended(unsteady(how, "verify", "--budget", "none"), code, told)

    def test_what_a_definition_leaves_to_the_command_and_what_it_names(self):
        losses = {}
        for name, arguments in {"own": [], "same": ["--optimizer", "sgd"], "lr": ["--lr", 0.5],
                                "other": ["--lr", 0.25], "adamw": ["--optimizer", "adamw"],
                                "0.002": ["--optimizer", "adamw", "--lr", 0.002]}.items():
            lines = self.json_lines(unsteady("defaults", "train", "--data", "synthetic:4:2:64", "--steps", 3,
                                             "--json", *arguments))
            losses[name] = [line["loss"] for line in lines[:-1]]
        self.assertGreater(losses["own"][0], 100, "its loss is cross entropy and 100")
        self.assertEqual(losses["own"], losses["same"])
        self.assertEqual(losses["own"], losses["lr"])
        self.assertNotEqual(losses["own"], losses["other"])
        self.assertEqual(losses["adamw"], losses["0.002"], "its rate is for sgd")
        self.assert_ended(unsteady("defaults", "train", "--steps", 3), 2,
                          "makes no batches; name --data, or set make_batch")

    def test_the_accuracy_is_by_the_classes_where_the_definition_says_they_stand(self):
        text = self.write("text.txt", "x " * 10000)  # a window has 256 tokens, and there are 256 classes
        for how in ("classes first", "classes last"):
            lines = self.json_lines(unsteady(how, "train", "--data", f"text:{text}", "--steps", 1,
                                             "--batch-size", 4, "--json"))
            self.assertEqual(lines[-1]["accuracy"], 0.5, "it says that all are blanks")

    def test_what_is_no_score_of_a_class_is_predicted_as_numbers(self):
        data, run = ["--data", "synthetic:4:2:100"], self.folder / "run"
        self.assert_ended(unsteady("one output", "train", *data, "--batch-size", 10, "--steps", 1, "--out", run), 0)
        done = unsteady("one output", "predict", *data, "--weights", run, "-o", "-", "--quiet")
        self.assert_ended(done, 0)
        table = list(csv.DictReader(done.stdout.splitlines()))
        self.assertEqual((list(table[0]), len(table)), (["sample", "output_1", "true_class"], 10))
        found = unsteady("one output", "predict", *data, "--weights", run, "--json", "--quiet")
        for row, one in zip(table, self.json_lines(found)[0]["predictions"], strict=True):
            self.assertEqual(one["outputs"], [float(row["output_1"])])
            self.assertEqual((one["class"], one["probability"], one["top"]), (None, None, None))
        self.assert_ended(unsteady("one output", "predict", *data, "--weights", run, "--top", 2), 2, "--top is for scores of classes")
        none = unsteady("one output", "predict", "--weights", run)
        self.assert_ended(none, 2, "makes no batches; name --data")
        self.assert_ended(unsteady("one output", "predict", "--weights", run, "--prompt", "x"), 2, "or name such samples in its definition")

    def test_a_text_model_of_ones_own_goes_on_where_its_scores_stand(self):
        text = self.write("text.txt", "x " * 10000)
        for how in ("classes first", "classes last"):
            out = self.folder / how
            self.assert_ended(unsteady(how, "train", "--data", f"text:{text}", "--steps", 1, "--batch-size", 4, "--no-test",
                                       "--out", out), 0)
            done = unsteady(how, "predict", "--weights", out, "--prompt", "ab cd ef gh", "--tokens", 3, "--quiet")
            self.assert_ended(done, 0)
            self.assertEqual(done.stdout, "ab cd ef gh   \n", "it says that all are blanks")


if __name__ == "__main__":
    unittest.main()
