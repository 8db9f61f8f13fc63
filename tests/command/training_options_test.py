#!/usr/bin/env python3
# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""training_options_test.py NEAP [unittest arguments]: sizes, bf16, the loss, betas, and looks at the test set."""
import json
import pathlib
import re
import shutil
import struct
import unittest

from running import CommandTest, neap

SMALL = ["--model", "mlp", "--data", "synthetic:1x8x8:4:640", "--batch-size", 32, "--threads", 1]


def tensors_of(file):
    """Name to (shape, bytes) of a safetensors file."""
    content = pathlib.Path(file).read_bytes()
    size, = struct.unpack("<Q", content[:8])
    header = json.loads(content[8:8 + size])
    header.pop("__metadata__", None)
    return {name: (one["shape"], content[8 + size + one["data_offsets"][0]:8 + size + one["data_offsets"][1]])
            for name, one in header.items()}


class TrainingOptionsTest(CommandTest):
    def train(self, *arguments):
        return self.json_lines(neap("train", *SMALL, "--json", "--quiet", *arguments))

    def losses(self, *arguments):
        return [line["loss"] for line in self.train(*arguments, "--no-test") if line["event"] == "step"]

    def shapes(self, model, data, *arguments):
        out = self.folder / "run"
        shutil.rmtree(out, ignore_errors=True)
        done = neap("train", "--model", model, "--data", data, "--batch-size", 2, "--threads", 1, "--steps", 1, "--no-test",
                    "--out", out, *arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        return [shape for shape, _ in tensors_of(out / "step-0000000001" / "model.safetensors").values()]

    def test_sizes_make_the_model_that_they_name(self):
        mlp = self.shapes("mlp", "synthetic:1x8x8:4:64", "--layers", 3, "--width", 20)
        self.assertEqual(sorted(mlp), sorted([[20, 64], [20], [20, 20], [20], [4, 20], [4]]))
        resnet = self.shapes("resnet", "synthetic:1x8x8:4:64", "--blocks", 2, "--width", 8)
        # Half the extent and twice the channels once: after two thirds of the blocks.
        self.assertEqual(sorted(shape for shape in resnet if len(shape) == 4 and shape[1] != shape[0]),
                         [[8, 1, 3, 3], [16, 8, 3, 3]])
        transformer = self.shapes("transformer", "synthetic:1x8x8:4:64", "--layers", 1, "--width", 24, "--heads", 3)
        self.assertIn([3 * 24, 24], transformer)
        text = self.write("text.txt", "neap " * 2000)
        gpt = self.shapes("gpt", f"text:{text}", "--layers", 2, "--width", 16, "--heads", 2)
        self.assertEqual(gpt.count([3 * 16, 16]), 2)

    def test_sizes_that_a_model_does_not_have_are_refused(self):
        for model, size, told in [("mlp", "--heads", "it has --layers, --width"), ("resnet", "--layers", "it has --blocks, --width"),
                                  ("gpt", "--blocks", "it has --heads, --layers, --width"),
                                  ("./libown.so", "--width", "set the sizes of yours in its library"),
                                  ("./libown.so", "--label-smoothing=0.1", "set it in the loss of its library")]:
            with self.subTest(model):
                value = [] if "=" in size else [2]
                self.assert_ended(neap("train", "--model", model, size, *value), 2, size.split("=")[0], told)
        self.assert_ended(neap("trace", "--model", "gpt", "--width", 10, "--heads", 3, "-o", "-"), 2, "heads", "10")

    def test_the_context_is_the_length_of_the_rows_and_of_the_positions(self):
        text = self.write("text.txt", "neap " * 2000)
        out = self.folder / "run"
        gpt = ["--model", "gpt", "--layers", 1, "--width", 16, "--heads", 2, "--threads", 1]
        whole = self.shapes("gpt", f"text:{text}", *gpt[2:8], "--context", 48)
        self.assertIn([48, 16], whole)
        summary = self.json_lines(neap("evaluate", *gpt, "--data", f"text:{text}", "--weights", out, "--json", "--quiet"))[0]
        self.assertIsNotNone(summary["accuracy"])
        self.assert_ended(neap("evaluate", *gpt, "--data", f"text:{text}", "--weights", out, "--context", 40), 1, "48", "40")
        going_on = ["train", *gpt, "--data", f"text:{text}", "--batch-size", 2, "--no-test", "--out", out, "--resume", "--steps", 2]
        self.assert_ended(neap(*going_on), 1, "its context is 48, and this one's left out")
        self.assert_ended(neap(*going_on, "--context", 48), 0)
        compared = []
        for context in (12, 20):
            done = neap("verify", *gpt, "--context", context, "--batch-size", 4, "--steps", 1, "--budget", "100%")
            self.assert_ended(done, 0)
            compared.append(int(re.search(r"equal bits: \d+ tensors, (\d+) bytes", done.stdout).group(1)))
        # Eight more positions of 16 floats, their gradients, and two moments of each.
        self.assertGreaterEqual(compared[1] - compared[0], 8 * 16 * 4 * 4)

    def test_a_context_is_of_rows_of_tokens(self):
        text = self.write("short.txt", "neap " * 20)
        for arguments, code, told in [
                (["train", *SMALL, "--context", 16], 2, "--data synthetic:1x8x8:4:640 has none; leave it out"),
                (["train", "--model", "gpt", "--context", 16], 2, "--data fashion-mnist has none"),
                (["verify", "--model", "mlp", "--context", 16], 2, "--model mlp reads none; leave it out"),
                (["train", "--model", "gpt", "--data", f"text:{text}", "--context", 50], 1, "at least 102: name a longer text, or a "
                                                                                           "shorter window")]:
            with self.subTest(arguments):
                self.assert_ended(neap(*arguments), code, told)

    def test_bf16_has_other_losses_and_equal_bits_inside_a_budget(self):
        self.assertNotEqual(self.losses("--steps", 2, "--bf16"), self.losses("--steps", 2))
        for model, *sizes in (["resnet", "--blocks", 6], ["gpt", "--layers", 3, "--width", 32]):
            with self.subTest(model):
                done = neap("verify", "--model", model, *sizes, "--bf16", "--threads", 1, "--batch-size", 8, "--budget", "60%")
                self.assert_ended(done, 0)
                self.assertIn("equal bits", done.stdout)

    def test_label_smoothing_mixes_the_loss_with_that_of_all_classes(self):
        none, half, whole = (self.losses("--lr", "1e-30", "--steps", 1, "--label-smoothing", share)[0] for share in (0, 0.5, 1))
        self.assertAlmostEqual(half, (none + whole) / 2, places=5)
        self.assertNotAlmostEqual(none, whole, places=5)

    def test_betas_reach_the_optimizer(self):
        for optimizer in ("adam", "adamw"):
            plain = self.losses("--steps", 4, "--optimizer", optimizer)
            self.assertEqual(self.losses("--steps", 4, "--optimizer", optimizer, "--betas", "0.9,0.999"), plain)
            self.assertNotEqual(self.losses("--steps", 4, "--optimizer", optimizer, "--betas", "0.5,0.9"), plain)
        self.assert_ended(neap("train", *SMALL, "--optimizer", "sgd", "--betas", "0.9,0.99"), 2, "--betas", "sgd")

    def test_evaluations_leave_the_training_as_it_is_and_keep_the_best_weights(self):
        out = self.folder / "run"
        lines = self.train("--steps", 18, "--eval-every", 5, "--save-every", 1, "--keep", 0, "--out", out)
        evaluations = [line for line in lines if line["event"] == "evaluation"]
        self.assertEqual([line["step"] for line in evaluations], [5, 10, 15, 18])
        self.assertEqual([line["loss"] for line in lines if line["event"] == "step"], self.losses("--steps", 18))
        best = max(evaluations, key=lambda line: line["accuracy"])
        summary = lines[-1]
        self.assertEqual((summary["best_step"], summary["best_accuracy"]), (best["step"], best["accuracy"]))
        self.assertEqual((summary["accuracy"], summary["test_loss"]), (evaluations[-1]["accuracy"], evaluations[-1]["test_loss"]))
        self.assertEqual(tensors_of(out / "best.safetensors"),
                         tensors_of(out / f"step-{best['step']:010}" / "model.safetensors"))
        found = self.json_lines(neap("evaluate", *SMALL, "--weights", out / "best.safetensors", "--json", "--quiet"))[0]
        self.assertEqual((found["accuracy"], found["test_loss"]), (best["accuracy"], best["test_loss"]))
        recorded = [json.loads(line) for line in (out / "run.jsonl").read_text().splitlines()]
        self.assertEqual([line for line in recorded if line["event"] == "evaluation"], evaluations)

    def test_evaluate_takes_the_sizes_of_the_training_and_its_loss_without_smoothing(self):
        out = self.folder / "run"
        lines = self.train("--steps", 6, "--width", 32, "--layers", 2, "--label-smoothing", 0.5, "--eval-every", 3, "--out", out)
        for weights in (out, out / "step-0000000006", out / "step-0000000006" / "model.safetensors"):
            found = self.json_lines(neap("evaluate", *SMALL, "--weights", weights, "--json", "--quiet"))[0]
            self.assertEqual((found["accuracy"], found["test_loss"]), (lines[-1]["accuracy"], lines[-1]["test_loss"]))
        done = neap("evaluate", *SMALL, "--weights", out, "--width", 64, "--quiet")
        self.assert_ended(done, 1, "64")  # what is given wins

    def test_a_training_that_was_over_keeps_the_record_of_its_end(self):
        out = self.folder / "run"
        self.train("--steps", 6, "--eval-every", 3, "--out", out)
        before = (out / "run.jsonl").read_bytes()
        self.train("--steps", 6, "--eval-every", 3, "--out", out, "--resume")
        self.assertEqual((out / "run.jsonl").read_bytes(), before)

    def test_another_folder_has_a_best_evaluation_of_its_own(self):
        self.train("--steps", 6, "--eval-every", 3, "--save-every", 3, "--out", self.folder / "one")
        lines = self.train("--steps", 9, "--eval-every", 3, "--out", self.folder / "other",
                           "--resume", self.folder / "one" / "step-0000000006")
        self.assertEqual(lines[-1]["best_step"], 9)
        self.assertEqual(tensors_of(self.folder / "other" / "best.safetensors"),
                         tensors_of(self.folder / "other" / "step-0000000009" / "model.safetensors"))

    def test_an_early_stop_counts_evaluations_and_a_training_that_goes_on_stays_stopped(self):
        out = self.folder / "run"
        stop = ["--eval-every", 2, "--early-stop", 3, "--lr", "1e-30", "--steps", 60, "--out", out]
        summary = self.train(*stop)[-1]
        # The first one is the best. Three follow that are no better.
        self.assertEqual((summary["ending"], summary["steps"], summary["best_step"]), ("stopped_early", 8, 2))
        again = self.train(*stop, "--resume")[-1]
        self.assertEqual((again["ending"], again["steps"], again["best_step"]), ("stopped_early", 0, 2))
        self.assertIn("no better one in 3 evaluations", again["reason"])

    def test_a_training_that_goes_on_knows_its_best_evaluation(self):
        options = ["--steps", 20, "--eval-every", 4, "--save-every", 6, "--keep", 0]
        whole = self.train(*options, "--out", self.folder / "whole")
        first = self.folder / "parts"
        self.train(*options, "--out", first)
        for step in (12, 18, 20):
            shutil.rmtree(first / f"step-{step:010}")
        rest = self.train(*options, "--out", first, "--resume")
        evaluations = [line for line in whole if line["event"] == "evaluation"]
        self.assertEqual([line for line in rest if line["event"] == "evaluation"], evaluations[1:])
        for key in ("best_step", "best_accuracy", "best_test_loss", "accuracy", "test_loss"):
            self.assertEqual(rest[-1][key], whole[-1][key], key)
        self.assertEqual(tensors_of(first / "best.safetensors"), tensors_of(self.folder / "whole" / "best.safetensors"))

    def test_each_snapshot_of_a_training_that_goes_on_knows_the_best_evaluation(self):
        out = self.folder / "run"
        options = ["--eval-every", 4, "--save-every", 1, "--keep", 0, "--out", out]
        self.train("--steps", 5, *options)
        shutil.rmtree(out / "step-0000000005")
        notes = json.loads((out / "step-0000000004" / "snapshot.json").read_text())["notes"]
        self.assertEqual(notes["best step"], "4")
        self.train("--steps", 7, *options, "--resume")  # the next evaluation is after step 7
        for step in (5, 6):
            later = json.loads((out / f"step-{step:010}" / "snapshot.json").read_text())["notes"]
            self.assertEqual({name: later.get(name) for name in notes if "best" in name},
                             {name: note for name, note in notes.items() if "best" in name})

    def test_best_weights_that_cannot_be_kept_are_told_once_and_kept_once_they_can(self):
        out = self.folder / "run"
        (out / "best.safetensors").mkdir(parents=True)
        run = ["train", *SMALL, "--quiet", "--steps", 20, "--eval-every", 2, "--out", out]
        done = neap(*run)
        self.assert_ended(done, 0)
        self.assertEqual(re.findall("the weights after step ([0-9]+) were not kept: .*; none are kept yet\n", done.stderr), ["2"])
        self.assertEqual(done.stderr.count("not kept"), 1)
        (out / "best.safetensors").rmdir()
        self.assert_ended(neap(*run, "--resume"), 0)

    def test_a_bits_option_needs_a_training_that_goes_on(self):
        for option in ("--allow-other-threads", "--allow-other-torch", "--allow-other-kernels"):
            self.assert_ended(neap("train", *SMALL, option), 2, option, "--resume")
            self.assert_ended(neap("train", *SMALL, option, "--resume", self.folder / "none"), 1, "has no snapshot")

    def test_an_interval_that_is_too_long_is_told_the_limit(self):
        for text in ("2000000", "1000001h"):
            self.assert_ended(neap("train", *SMALL, "--out", self.folder / "run", "--save-every", text), 2, f"'{text}'", "from 1 to 1000000")

    def test_what_does_not_go_together_is_refused(self):
        self.assert_ended(neap("train", *SMALL, "--early-stop", 3), 2, "--early-stop", "--eval-every")
        self.assert_ended(neap("train", *SMALL, "--eval-every", 3, "--no-test"), 2, "--eval-every", "--no-test")
        out = self.folder / "run"
        self.train("--steps", 2, "--no-test", "--width", 64, "--out", out)
        for change, told in [(["--width", 32], "its width is 64, and this one's 32"), ([], "its width is 64, and this one's left out"),
                             (["--width", 64, "--bf16"], "its bf16 is left out, and this one's true"),
                             (["--width", 64, "--betas", "0.5,0.9"], "its betas is left out"),
                             (["--width", 64, "--label-smoothing", 0.1], "its label smoothing is left out")]:
            with self.subTest(change):
                self.assert_ended(neap("train", *SMALL, "--steps", 2, "--no-test", "--out", out, "--resume", *change), 1, told)


if __name__ == "__main__":
    unittest.main()
