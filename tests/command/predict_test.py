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
        with file.open(newline="") as lines:
            return list(csv.DictReader(lines)), json.loads(done.stdout)["predictions"]

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

    def test_the_context_of_the_training_is_that_of_the_prompt(self):
        book = self.write("book.txt", "abcdefg" * 300)
        model = ["--model", "gpt", "--layers", 1, "--width", 16, "--heads", 2, "--threads", 1]
        out, _ = self.train("--data", f"text:{book}", "--context", 32, "--steps", 1, "--no-test", model=model)
        weights = self.folder / "weights.safetensors"
        self.assert_ended(neap("export", out, "-o", weights), 0)
        said = []
        for where in (out, weights):  # the exported file has the sizes too
            done = neap("predict", "--model", "gpt", "--weights", where, "--prompt", "abc" * 20, "--tokens", 3, "--quiet", "--json")
            self.assert_ended(done, 0)
            said.append(json.loads(done.stdout)["continuation"])
        self.assertEqual(said[0], said[1])
        prompt = ["predict", "--model", "gpt", "--weights", out, "--prompt", "abc"]
        self.assert_ended(neap(*prompt, "--context", 40), 1, "places.weight: it is F32 [32, 16] in the file")
        for option, value in (("--split", "20%"), ("--normalize", "training"), ("--batch-size", 2)):
            self.assert_ended(neap(*prompt, option, value), 2, "do nothing to --prompt")

    def test_columns_in_another_order_are_refused_and_the_column_of_labels_may_be_missing(self):
        rows = [(i % 9, 100 + i, "low" if i < 30 else "high") for i in range(60)]
        table = self.write("first.csv", "a,b,kind\n" + "".join(f"{a},{b},{kind}\n" for a, b, kind in rows))
        out, _ = self.train("--data", f"csv:{table}", "--steps", 60, "--lr", "0.01")
        predict = [*SMALL[:2], "--weights", out, "--all", "--data"]
        expected, _ = self.rows(*predict, f"csv:{table}")
        swapped = self.write("swapped.csv", "b,a,kind\n" + "".join(f"{b},{a},{kind}\n" for a, b, kind in rows))
        for command in ("predict", "evaluate"):
            done = neap(command, *SMALL[:2], "--weights", out, "--data", f"csv:{swapped}")
            self.assert_ended(done, 1, "swapped.csv: its columns are b, a, and the training's are a, b")
        for name, text in [("none.csv", " a,b\n" + "".join(f"{a},{b}\n" for a, b, _ in rows)),
                           ("bare.csv", "".join(f"{a},{b}\n" for a, b, _ in rows)),
                           ("empty.csv", "a,b,kind\n" + "".join(f"{a},{b},\n" for a, b, _ in rows))]:
            with self.subTest(name):
                table, objects = self.rows(*predict, f"csv:{self.write(name, text)}")
                self.assertEqual([(row["class"], row["probability"]) for row in table],
                                 [(row["class"], row["probability"]) for row in expected])
                self.assertEqual({one["true_class"] for one in objects}, {None})
        swapped.write_text("b,a\n1,2\n")
        self.assert_ended(neap("predict", *predict, f"csv:{swapped}"), 1, "its columns are b, a")
        swapped.write_text("a,b,c,kind\n1,2,3,low\n")
        self.assert_ended(neap("predict", *predict, f"csv:{swapped}"), 1,
                          "has 4 columns, and the training had 2 features; give as many columns, or a column of labels")
        self.assert_ended(neap("predict", *predict, f"csv:{self.folder / 'none.csv'}:kind"), 1, "no column has the name kind")
        self.assert_ended(neap("predict", *predict[:-2], "--data", f"csv:{self.folder / 'empty.csv'}"), 1, "the label, is empty")
        notes = next(out.glob("step-*")) / "snapshot.json"
        self.assertEqual(json.loads(json.loads(notes.read_text())["notes"]["columns"]), ["a", "b"])

    def test_arrays_are_scaled_as_the_table_of_the_training(self):
        rows = [(i % 9, 1e6 + i, i % 2) for i in range(60)]
        table = self.write("first.csv", "".join(f"{a},{b},{kind}\n" for a, b, kind in rows))
        out, _ = self.train("--data", f"csv:{table}", "--steps", 20)
        def npy(name, kind, shape, content):
            header = str({"descr": kind, "fortran_order": False, "shape": shape}).encode()
            header += b" " * (-(len(header) + 11) % 64) + b"\n"
            (self.folder / name).write_bytes(b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header + content)
            return self.folder / name
        x = npy("x.npy", "<f8", (60, 2), b"".join(struct.pack("<dd", a, b) for a, b, _ in rows))
        y = npy("y.npy", "<i8", (60,), b"".join(struct.pack("<q", kind) for _, _, kind in rows))
        predict = [*SMALL[:2], "--weights", out, "--all", "--data"]
        self.assertEqual(self.rows(*predict, f"npy:{x},{y}"), self.rows(*predict, f"csv:{table}"))
        npy("x.npy", "<f8", (60, 1), bytes(480))
        self.assert_ended(neap("predict", *predict, f"npy:{x},{y}"), 2, "a scale has 2 means and 2 deviations, and", "x.npy has 1 features")

    def test_weights_that_are_no_numbers_give_no_class(self):
        out, _ = self.train(*NOISE, "--steps", 1)
        weights = self.folder / "weights.safetensors"
        self.assert_ended(neap("export", out, "-o", weights), 0)
        content = weights.read_bytes()
        begin = 8 + struct.unpack("<Q", content[:8])[0]
        weights.write_bytes(content[:begin] + struct.pack("<f", float("nan")) * ((len(content) - begin) // 4))
        predict = ["predict", *SMALL[:2], *NOISE, "--weights", weights]
        done = neap(*predict, "-o", self.folder / "new.csv")
        self.assert_ended(done, 0, "the scores of 64 samples are not finite", "of 64 whose class is known, 0 are right")
        with (self.folder / "new.csv").open(newline="") as lines:
            self.assertEqual({(row["class"], row["probability"]) for row in csv.DictReader(lines)}, {("", "")})
        done = neap(*predict, "--json", "--quiet", "--top", 2)
        self.assert_ended(done, 0, "the scores of 64 samples are not finite")
        nothing = {"class": None, "probability": None}
        for one in json.loads(done.stdout)["predictions"]:
            self.assertEqual((one["class"], one["probability"], one["top"]), (None, None, [nothing, nothing]))

    def test_pictures_that_are_damaged_or_missing_and_long_names_are_told(self):
        long = "ä" * 120
        for i in range(10):
            for name, value in (("dark", i), (long, 255 - i)):
                (self.folder / "set" / name).mkdir(parents=True, exist_ok=True)
                (self.folder / "set" / name / f"{i:02}.png").write_bytes(png(value))
        out, _ = self.train("--data", f"pictures:{self.folder / 'set'}", "--steps", 1, "--no-test")
        predict = ["predict", *SMALL[:2], "--weights", out, "--all", "--data"]
        table = neap(*predict, f"pictures:{self.folder / 'set'}").stdout
        self.assertEqual({line.split()[-1] for line in table.splitlines()[2:]}, {"dark", "ä" * 20 + "..."})
        self.assertIn(long, neap(*predict, f"pictures:{self.folder / 'set'}", "-o", "-").stdout)
        new = self.folder / "new"
        new.mkdir()
        self.assert_ended(neap(*predict, f"pictures:{new}:1x8x8"), 1, "has no .png, .jpg or .jpeg, neither in it nor in folders of classes")
        (new / "a.png").write_bytes(png(1)[:-20])
        done = neap(*predict, f"pictures:{new}:1x8x8")
        self.assert_ended(done, 1, "a.png")
        self.assertNotIn("loader goes on", done.stderr)

    def test_files_of_trainings_and_of_the_data_are_not_overwritten(self):
        data = self.folder / "set"
        for i in range(10):
            for name, value in (("dark", i), ("light", 255 - i)):
                (data / name).mkdir(parents=True, exist_ok=True)
                (data / name / f"{i:02}.png").write_bytes(png(value))
        (data / "flat.png").write_bytes(png(7))
        pictures = ["--data", f"pictures:{data}:1x8x8"]
        out, _ = self.train(*pictures, "--steps", 2, "--eval-every", 1)
        snapshot = next(out.glob("step-*"))
        (self.folder / "link.csv").symlink_to(data / "dark" / "03.png")
        files = sorted(one for one in self.folder.rglob("*") if one.is_file())
        before = [one.read_bytes() for one in files]
        for file, told in [(data / "flat.png", "in the folder of --data"), (data / "dark" / "03.png", "in the folder of --data"),
                           (self.folder / "link.csv", "in the folder of --data"), (out / "run.jsonl", "is a file of the training in"),
                           (out / "best.safetensors", "is a file of the training in"),
                           (snapshot / "state.safetensors", "is in the saved state"), (snapshot / "new.csv", "is in the saved state")]:
            with self.subTest(file.name):
                self.assert_ended(neap("predict", *SMALL[:2], *pictures, "--all", "--weights", out, "-o", file), 2, told)
        self.assertEqual([one.read_bytes() for one in files], before)
        self.assertFalse((snapshot / "new.csv").exists())
        self.assert_ended(neap("predict", *SMALL[:2], *pictures, "--all", "--weights", out, "-o", data / "new.csv"), 0)

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
