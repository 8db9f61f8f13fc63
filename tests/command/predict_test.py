#!/usr/bin/env python3
# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""predict_test.py NEAP [unittest arguments]: neap predict says of each sample what the model says, and of which sample it is."""
import csv
import json
import shutil
import struct
import unittest
import zlib

from running import CommandTest, neap

SMALL = ["--model", "mlp", "--layers", 2, "--width", 32, "--threads", 1]
NOISE = ["--data", "synthetic:1x8x8:4:640"]


def png(value):
    """A grey picture of 8 x 8 pixels of one value."""
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    rows = (b"\0" + bytes([value] * 8)) * 8
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


class PredictTest(CommandTest):
    def train(self, *arguments, model=SMALL):
        out = self.folder / "run"
        done = neap("train", *model, "--batch-size", 16, "--out", out, *arguments, "--json", "--quiet")
        return out, self.json_lines(done)[-1]

    def rows(self, *arguments):
        """The predictions, as CSV and as JSON have them."""
        file = self.folder / "predictions.csv"
        done = neap("predict", *arguments, "-o", file, "--json")
        self.assert_ended(done, 0)
        return list(csv.DictReader(file.open(newline=""))), json.loads(done.stdout)["predictions"]

    def test_each_sample_of_the_test_set_has_a_row_and_as_many_are_right_as_evaluate_says(self):
        out, summary = self.train(*NOISE, "--steps", 40)
        table, objects = self.rows(*SMALL[:2], *NOISE, "--weights", out)
        self.assertEqual([int(row["sample"]) for row in table], list(range(64)))
        self.assertEqual(list(table[0]), ["sample", "class", "probability", "true_class"])
        right = sum(row["class"] == row["true_class"] for row in table)
        self.assertEqual(right / 64, summary["accuracy"])
        for row, one in zip(table, objects):
            self.assertEqual((row["class"], float(row["probability"]), row["true_class"]),
                             (one["class"], one["probability"], one["true_class"]))
            self.assertIsNone(one["file"])
        done = neap("predict", *SMALL[:2], *NOISE, "--weights", out)
        self.assertEqual(len(done.stdout.splitlines()), 2 + 20)
        self.assertIn("44 more; -o FILE writes all", done.stderr)
        self.assertIn(f"64 predictions; of 64 whose class is known, {right} are right", done.stderr)
        whole = neap("predict", *SMALL[:2], *NOISE, "--weights", out, "-o", "-", "--quiet", "--budget", "64MiB", "--batch-size", 7)
        self.assertEqual(whole.stderr, "")
        self.assertEqual([row["class"] for row in csv.DictReader(whole.stdout.splitlines())], [row["class"] for row in table])

    def test_the_most_likely_classes_come_first_and_all_of_them_make_one(self):
        out, _ = self.train(*NOISE, "--steps", 10)
        table, objects = self.rows(*SMALL[:2], *NOISE, "--weights", out, "--top", 4)
        self.assertEqual(list(table[0])[1:9], [name + suffix for suffix in ("", "_2", "_3", "_4")
                                               for name in ("class", "probability")])
        for row, one in zip(table, objects):
            values = [each["probability"] for each in one["top"]]
            self.assertEqual(values, sorted(values, reverse=True))
            self.assertAlmostEqual(sum(values), 1, places=9)
            self.assertEqual({each["class"] for each in one["top"]}, set("0123"))
            self.assertEqual(float(row["probability_3"]), values[2])
        self.assert_ended(neap("predict", *SMALL[:2], *NOISE, "--weights", out, "--top", 5), 2, "--top 5", "has 4 classes")

    def test_pictures_are_named_by_file_and_class_also_those_without_a_class(self):
        for i in range(20):
            for name, value in (("dark", i), ("light", 255 - i)):
                (self.folder / "set" / name).mkdir(parents=True, exist_ok=True)
                (self.folder / "set" / name / f"{i:02}.png").write_bytes(png(value))
        pictures = ["--data", f"pictures:{self.folder / 'set'}"]
        out, _ = self.train(*pictures, "--steps", 60, "--normalize", "training")
        table, _ = self.rows(*SMALL[:2], *pictures, "--weights", out)
        self.assertEqual([row["file"] for row in table], [str(self.folder / "set" / one) for one in (
            "dark/09.png", "dark/19.png", "light/09.png", "light/19.png")])
        self.assertEqual([row["class"] for row in table], ["dark", "dark", "light", "light"])
        self.assertEqual([int(row["sample"]) for row in table], [9, 19, 29, 39])
        new = self.folder / "new"
        (new / "light").mkdir(parents=True)
        (new / "a.png").write_bytes(png(250))
        (new / "b.png").write_bytes(png(3))
        (new / "light" / "c.png").write_bytes(png(245))
        table, objects = self.rows(*SMALL[:2], "--data", f"pictures:{new}", "--all", "--weights", out)
        self.assertEqual([(row["file"], row["class"], row["true_class"]) for row in table],
                         [(str(new / "light/c.png"), "light", "light"), (str(new / "a.png"), "light", ""),
                          (str(new / "b.png"), "dark", "")])
        self.assertIsNone(objects[1]["true_class"])
        self.assertIn("3 predictions; of 1 whose class is known, 1 are right",
                      neap("predict", *SMALL[:2], "--data", f"pictures:{new}", "--all", "--weights", out).stderr)
        (new / "owl").mkdir()
        (new / "owl" / "d.png").write_bytes(png(1))
        self.assert_ended(neap("predict", *SMALL[:2], "--data", f"pictures:{new}", "--all", "--weights", out), 1,
                          "owl: no class of the training set has this name")

    def test_rows_of_another_table_are_scaled_as_those_of_the_training(self):
        first = self.write("first.csv", "".join(f"{100 + i},{i % 7},{'low' if i < 50 else 'high'}\n" for i in range(100)))
        out, _ = self.train("--data", f"csv:{first}", "--steps", 200, "--lr", "0.01")
        # All of one class: by a scale of its own, half of these would be taken for the other one.
        other = self.write("other.csv", "".join(f"{180 + i},{i % 7},?\n" for i in range(10)))
        table, _ = self.rows(*SMALL[:2], "--data", f"csv:{other}", "--all", "--weights", out)
        self.assertEqual([(int(row["sample"]), row["class"]) for row in table], [(i, "high") for i in range(10)])
        self.assertNotIn("true_class", table[0])
        self.assert_ended(neap("predict", *SMALL[:2], "--data", f"csv:{other}", "--weights", out), 1, "label 0 is '?'")
        self.assert_ended(neap("predict", *SMALL[:2], "--data", f"csv:{first}", "--all", "--split", "20%", "--weights", out), 2,
                          "--split")

    def test_a_text_is_gone_on_with(self):
        # A window has 256 bytes, so each one begins with another letter.
        book = self.write("book.txt", "abcdefg" * 3000)
        model = ["--model", "gpt", "--layers", 1, "--width", 32, "--heads", 2, "--threads", 1]
        out, _ = self.train("--data", f"text:{book}", "--steps", 60, "--lr", "0.01", "--no-test", model=model)
        done = neap("predict", "--model", "gpt", "--weights", out, "--prompt", "cdefg", "--tokens", 300, "--quiet")
        self.assert_ended(done, 0)
        self.assertEqual(done.stdout, ("cdefg" + "abcdefg" * 43)[:305] + "\n")
        file = self.folder / "text.txt"
        asked = neap("predict", "--model", "gpt", "--weights", out, "--prompt", "ab", "--tokens", 3, "-o", file, "--json")
        self.assertEqual(json.loads(asked.stdout), {"prompt": "ab", "continuation": "cde"})
        self.assertEqual(file.read_text(), "abcde")
        for arguments, told in [
                (["--data", f"text:{book}"], "give it a text to go on with, as --prompt"),
                (["--prompt", "x", "--data", f"text:{book}"], "--data, --all and --top are for samples"),
                (["--tokens", 5], "--prompt"),
                (["--prompt", "x", "--top", 2], "--top")]:
            with self.subTest(arguments):
                self.assert_ended(neap("predict", "--model", "gpt", "--weights", out, *arguments), 2, told)
        self.assert_ended(neap("predict", "--model", "mlp", "--weights", self.folder / "run", "--prompt", "x"), 2,
                          "--prompt is for a model that reads a text as bytes")

    def test_weights_that_are_missing_damaged_or_of_another_model_are_refused(self):
        out, _ = self.train(*NOISE, "--steps", 2)
        for arguments, told in [(["--weights", self.folder / "nowhere"], "nowhere"),
                                (["--weights", self.folder], "has no whole snapshot and no weights"),
                                (["--weights", out, "--width", 16], "it is F32 [32, 64] in the file")]:
            with self.subTest(told):
                self.assert_ended(neap("predict", *SMALL[:2], *NOISE, *arguments), 1, told)
        file = out / "step-0000000002" / "model.safetensors"
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)
        for weights in (out, out / "step-0000000002", file):
            for command in ("predict", "evaluate"):
                with self.subTest(f"{command} {weights}"):
                    done = neap(command, *SMALL[:2], *NOISE, "--weights", weights)
                    self.assert_ended(done, 1, "is damaged")
                    self.assertEqual(done.stdout, "")

    def test_a_file_that_is_read_is_not_overwritten(self):
        table = self.write("rows.csv", "".join(f"{i},{i % 2}\n" for i in range(60)))
        out, _ = self.train("--data", f"csv:{table}", "--steps", 1)
        weights = out / "step-0000000001" / "model.safetensors"
        before = table.read_bytes(), weights.read_bytes()
        for data, file, told in [(f"csv:{table}", table, "--data and -o"), (f"csv:{table}:2", table, "--data and -o"),
                                 (f"csv:{table}", weights, "--weights and -o")]:
            with self.subTest(told):
                self.assert_ended(neap("predict", *SMALL[:2], "--data", data, "--weights", out, "-o", file), 2, told)
        self.assertEqual((table.read_bytes(), weights.read_bytes()), before)
        shutil.rmtree(out)
        self.assert_ended(neap("predict", *SMALL[:2], *NOISE, "--weights", "x", "-o", self.folder / "none" / "x.csv"), 1, "-o")
        self.assert_ended(neap("predict", *SMALL[:2], *NOISE, "--weights", "x", "-o", "-", "--json"), 2, "--json and -o -")


if __name__ == "__main__":
    unittest.main()
