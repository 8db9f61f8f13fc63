#!/usr/bin/env python3
# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""data_test.py NEAP [unittest arguments]: the data that neap train reads: kinds, damaged files, and models that fit it."""
import pathlib
import unittest

from running import TrainingTest, idx, neap

FORTUNES = pathlib.Path("/usr/share/games/fortunes/cookie")


class DataTest(TrainingTest):
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

    def test_own_tables_train_and_their_test_rows_are_learned(self):
        rows = [f"{i % 3 + (i * 7 % 10) / 20},{i % 3 * 2},kind{i % 3}" for i in range(120)]
        table = self.write("table.csv", "\n".join(["a,b,kind", *rows]))
        done = neap("train", "--model", "mlp", "--data", f"csv:{table}", "--batch-size", 12, "--epochs", 8, "--threads", 1)
        self.assert_ended(done, 0)
        self.assertIn("test accuracy  100.00 %", " ".join(done.stdout.split()).replace("accuracy ", "accuracy  "))
        table.write_text(table.read_text() + "\nx,1,kind0\n")
        self.assert_ended(neap("train", "--model", "mlp", "--data", f"csv:{table}"), 1,
                          "line 122: cell 1 is no finite number")
        self.assert_ended(neap("train", "--model", "resnet", "--data", f"csv:{table}:kinds"), 1, "no column has the name kinds")


if __name__ == "__main__":
    unittest.main()
