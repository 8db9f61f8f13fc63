#!/usr/bin/env python3
# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""data_test.py NEAP [unittest arguments]: the data that neap train reads: kinds, damaged files, and models that fit it."""
import json
import pathlib
import struct
import unittest

from running import TrainingTest, idx, neap

FORTUNES = pathlib.Path("/usr/share/games/fortunes/cookie")


class DataTest(TrainingTest):
    def test_data_that_is_missing_or_damaged_ends_with_1_and_names_the_file(self):
        self.assert_ended(neap("train", "--data", self.folder / "nowhere"), 1, "nowhere",
                          "neither a folder nor a kind of data; accepted are fashion-mnist | DIR or idx:DIR",
                          "safetensors:FILE")
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

    def write_color_pictures(self, count=24, side=8):
        """An IDX folder of `count` pictures of two classes that only their left half tells apart."""
        folder = self.folder / "colors"
        folder.mkdir()
        pixels = [(200 if (x < side // 2) == (i % 2 == 0) else 20) + (i * 7 + y * 3 + x) % 40
                  for i in range(count) for y in range(side) for x in range(side)]
        (folder / "train-images-idx3-ubyte").write_bytes(idx(0x803, [count, side, side], pixels))
        (folder / "train-labels-idx1-ubyte").write_bytes(idx(0x801, [count], [i % 2 for i in range(count)]))
        return folder

    def losses(self, *arguments):
        lines = self.json_lines(neap("train", "--model", "mlp", "--threads", 1, "--no-test", "--json", "--seed", 3, *arguments))
        return [line["loss"] for line in lines if line["event"] == "step"]

    def test_augment_changes_the_training_by_the_seed_and_a_resumed_one_goes_on_with_the_same_bits(self):
        data = self.write_color_pictures()
        base = ["--data", data, "--batch-size", 4]
        whole = [*base, "--steps", 13]  # 6 batches an epoch: it ends in the middle of the third
        plain, changed = self.losses(*whole), self.losses(*whole, "--augment", "crop:2,flip")
        self.assertEqual(changed, self.losses(*whole, "--augment", "flip,crop:2"))
        self.assertNotEqual(changed, plain)
        self.assertNotEqual(changed, self.losses(*whole, "--augment", "flip"))
        out = self.folder / "run"
        for steps in (4, 13):  # all but the number of steps stays; the rate is constant, so the curve does too
            more = ["--out", out, "--resume", "--schedule", "constant", "--warmup", 0, "--augment", "crop:2,flip"]
            parts = self.losses(*base, "--steps", steps, *more)
        self.assertEqual(len(parts), 9)
        at_once = self.losses(*whole, "--schedule", "constant", "--warmup", 0, "--augment", "crop:2,flip")
        self.assertEqual(parts, at_once[4:])
        refused = neap("train", "--model", "mlp", "--threads", 1, "--seed", 3, *whole, "--schedule", "constant", "--warmup", 0,
                       "--out", out, "--resume", "--augment", "flip")
        self.assert_ended(refused, 1, "its augment is crop:2,flip, and this one's flip")

    def test_augment_split_and_normalize_that_do_not_fit_the_data_end_with_2(self):
        data = self.write_color_pictures()
        text = self.write("text.txt", "All work and no play. " * 100)
        for arguments, told in [
                (["--data", data, "--augment", "crop:8"], "--augment crop:8: the pictures of"),
                (["--data", f"text:{text}", "--model", "gpt", "--augment", "flip"], "--augment flip changes pictures, and text:"),
                (["--data", f"text:{text}", "--model", "gpt", "--normalize", "training"], "a scale is for pictures"),
                (["--data", data, "--normalize", "1,2,3:1,1,1"], "has 3 means and 3 deviations, and the pictures have 1 channels"),
                (["--data", self.folder, "--split", "20%"], "is a test set already; leave the share out"),
                (["--data", "synthetic:3x8x8:2", "--split", "20%"], "is a test set already")]:
            with self.subTest(arguments):
                self.assert_ended(neap("train", *arguments), 2, told)

    def test_evaluate_takes_scale_and_split_of_the_training(self):
        data = self.write_color_pictures()
        out = self.folder / "run"
        trained = self.json_lines(neap("train", "--model", "mlp", "--data", data, "--batch-size", 4, "--epochs", 4, "--threads", 1,
                                       "--json", "--out", out, "--split", "25%", "--normalize", "0.1:0.5"))
        self.assertEqual([line["settings"]["normalize"] for line in self.run_lines(out) if line["event"] == "run"], ["0.1:0.5"])
        accuracy = trained[-1]["accuracy"]
        weights = next(out.glob("step-*")) / "model.safetensors"

        def evaluated(*arguments):
            return self.json_lines(neap("evaluate", "--model", "mlp", "--threads", 1, "--json", *arguments))[-1]["accuracy"]

        for where in (out, weights.parent, weights):
            self.assertEqual(evaluated("--data", data, "--weights", where), accuracy)
        alone = self.folder / "alone.safetensors"
        alone.write_bytes(weights.read_bytes())
        self.assertEqual(evaluated("--data", data, "--weights", alone, "--split", "25%", "--normalize", "0.1:0.5"), accuracy)
        # What is given counts more: the weights see other values.
        self.assertGreater(accuracy, 0.5)
        self.assertNotEqual(evaluated("--data", data, "--weights", out, "--normalize", "100:0.001"), accuracy)
        refused = neap("train", "--model", "mlp", "--data", data, "--batch-size", 4, "--epochs", 4, "--threads", 1, "--out", out,
                       "--resume", "--split", "25%", "--normalize", "training")
        self.assert_ended(refused, 1, "its normalize is 0.1:0.5, and this one's 0.")

    def run_lines(self, out):
        return [json.loads(line) for line in (out / "run.jsonl").read_text().splitlines()]

    def test_what_is_missing_in_a_folder_is_told_and_the_rest_trains(self):
        data = self.write_color_pictures()
        done = neap("train", "--model", "mlp", "--data", data, "--batch-size", 4, "--split", "50%", "--threads", 1)
        self.assert_ended(done, 0, "has no t10k or test files: 50 % of each class of its training samples are the test set")
        labels = data / "train-labels-idx1-ubyte"
        labels.write_bytes(idx(0x801, [24], [i % 12 for i in range(24)]))
        done = neap("train", "--model", "mlp", "--data", data, "--batch-size", 4, "--split", "50%", "--threads", 1)
        self.assert_ended(done, 0, "has 12 classes, with labels from 0 on")
        self.assert_ended(neap("train", "--model", "mlp", "--data", f"idx:{data}:11"), 1, str(labels),
                          "at offset 19: label 11 is 11; expected 0 to 10")

    def test_texts_of_other_encodings_and_tensors_of_safetensors_train(self):
        text = self.folder / "text.txt"
        text.write_bytes("Größe ist kein Maß. ".encode("utf-16") * 100)
        gpt = ["train", "--model", "gpt", "--steps", 1, "--batch-size", 1, "--no-test", "--threads", 1]
        self.assert_ended(neap(*gpt, "--data", f"text:{text}"), 0)
        text.write_bytes("Größe ist kein Maß. ".encode("latin-1") * 100)
        self.assert_ended(neap(*gpt, "--data", f"text:{text}:ISO-8859-1"), 0)
        self.assert_ended(neap(*gpt, "--data", f"text:{text}:UTF-8"), 1, f"{text}: at offset 2: no character: expected UTF-8")
        self.assert_ended(neap(*gpt, "--data", f"text:{text}:klingon"), 2, "expected an encoding that iconv knows")
        tensors = self.folder / "set.safetensors"
        header = json.dumps({"x": {"dtype": "U8", "shape": [20, 2], "data_offsets": [0, 40]},
                             "y": {"dtype": "U8", "shape": [20], "data_offsets": [40, 60]}}).encode()
        tensors.write_bytes(struct.pack("<Q", len(header)) + header + bytes(i % 7 for i in range(40)) + bytes(i % 2 for i in range(20)))
        mlp = ["train", "--model", "mlp", "--batch-size", 4, "--threads", 1, "--data"]
        self.assert_ended(neap(*mlp, f"safetensors:{tensors}"), 0)
        self.assert_ended(neap(*mlp, f"safetensors:{tensors}:x:z"), 1, "has no tensor z; it has x, y")


if __name__ == "__main__":
    unittest.main()
