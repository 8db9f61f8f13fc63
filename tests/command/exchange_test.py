#!/usr/bin/env python3
# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""exchange_test.py NEAP [unittest arguments]: neap export, neap import, and trainings that go on on another machine."""
import json
import os
import pathlib
import shutil
import struct
import unittest

from running import CommandTest, neap

SMALL = ["--model", "mlp", "--layers", 2, "--width", 16, "--data", "synthetic:1x8x8:4:640", "--threads", 1]


def read(file):
    """The header of a safetensors file, and the bytes behind it."""
    content = pathlib.Path(file).read_bytes()
    size, = struct.unpack("<Q", content[:8])
    return json.loads(content[8:8 + size]), content[8 + size:]


def tensors(file):
    """Type, shape and bytes of each tensor, whatever their order in the file."""
    header, content = read(file)
    header.pop("__metadata__", None)
    return {name: (one["dtype"], one["shape"], content[slice(*one["data_offsets"])]) for name, one in header.items()}


def write(file, header, content):
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    file.write_bytes(struct.pack("<Q", len(text)) + text + content)


class ExchangeTest(CommandTest):
    def setUp(self):
        super().setUp()
        self.run_folder = self.folder / "run"
        self.file = self.folder / "weights.safetensors"

    def train(self, *arguments, out=None):
        done = neap("train", *SMALL, "--batch-size", 32, "--no-test", "--out", out or self.run_folder, *arguments, "--json")
        done.events = [json.loads(line) for line in done.stdout.splitlines()]
        done.losses = [one["loss"] for one in done.events if one["event"] == "step"]
        return done

    def snapshots(self, folder):
        return sorted(one.name for one in folder.iterdir() if one.is_dir())

    def test_export_copies_the_newest_whole_state_and_says_what_it_is(self):
        self.assert_ended(self.train("--steps", 4, "--save-every", 2), 0)
        self.assert_ended(neap("export", self.run_folder, "-o", self.file), 0)
        texts = read(self.file)[0]["__metadata__"]
        self.assertEqual({name: texts[name] for name in ("format", "model", "layers", "width", "step")},
                         {"format": "pt", "model": "mlp", "layers": "2", "width": "16", "step": "4"})
        newest = self.run_folder / "step-0000000004" / "model.safetensors"
        self.assertEqual(tensors(self.file), tensors(newest))
        damaged = bytearray(newest.read_bytes())
        damaged[-1] ^= 1
        newest.write_bytes(damaged)
        done = neap("export", self.run_folder, "-o", self.file)
        self.assert_ended(done, 0, "is damaged")
        self.assertIn("step-0000000002", done.stdout)
        before = self.file.read_bytes()
        self.assertEqual(tensors(self.file), tensors(self.run_folder / "step-0000000002" / "model.safetensors"))
        for where in (newest, newest.parent):
            self.assert_ended(neap("export", where, "-o", self.file), 1, "is damaged")
        self.assertEqual(self.file.read_bytes(), before, "what was there stays")

    def test_export_takes_the_best_weights(self):
        self.assert_ended(neap("train", *SMALL, "--batch-size", 32, "--steps", 6, "--eval-every", 1, "--out", self.run_folder), 0)
        self.assert_ended(neap("export", self.run_folder, "--best", "-o", self.file), 0)
        self.assertEqual(tensors(self.file), tensors(self.run_folder / "best.safetensors"))
        (self.run_folder / "best.safetensors").unlink()
        self.assert_ended(neap("export", self.run_folder, "--best", "-o", self.file), 1, "has no best.safetensors", "--eval-every")

    def test_export_of_nothing_or_over_what_is_read_is_refused(self):
        self.train("--steps", 1)
        model = self.run_folder / "step-0000000001" / "model.safetensors"
        before = model.read_bytes()
        for arguments, code, told in [
                ([self.run_folder, "-o", model], 2, "name the same file"),
                ([self.run_folder, "-o", self.folder / "weights.pt"], 2, "as weights.safetensors"),
                ([self.folder / "nowhere", "-o", self.file], 1, "nowhere"),
                ([self.folder, "-o", self.file], 1, "has no whole snapshot"),
                ([self.write("x.safetensors", "no header"), "-o", self.file], 1, "x.safetensors"),
                ([self.run_folder, "-o", self.folder / "none" / "w.safetensors"], 1, "w.safetensors")]:
            with self.subTest(told):
                self.assert_ended(neap("export", *arguments), code, told)
                self.assertFalse(self.file.exists())
        self.assertEqual(model.read_bytes(), before)

    def test_what_was_imported_is_evaluated_and_begins_trainings_of_any_settings(self):
        self.train("--steps", 20)
        neap("export", self.run_folder, "-o", self.file)
        new = self.folder / "new"
        done = neap("import", self.file, *SMALL, "-o", new)
        self.assert_ended(done, 0)
        self.assertEqual(self.snapshots(new), ["step-0000000000"])
        self.assertEqual(read(new / "step-0000000000" / "model.safetensors"), read(self.run_folder / "step-0000000020" / "model.safetensors"))
        for command in ("evaluate", "predict"):
            outputs = [neap(command, "--model", "mlp", *SMALL[6:], "--weights", weights, "--json", "--quiet")
                       for weights in (self.run_folder, new)]
            self.assert_ended(outputs[1], 0)
            self.assertEqual(outputs[0].stdout, outputs[1].stdout)
        settings = ["--optimizer", "sgd", "--lr", "0.25", "--seed", 7, "--steps", 3]
        by_init = self.train(*settings, "--init", self.file, out=self.folder / "by init")
        by_import = self.train(*settings, "--resume", out=new)
        self.assert_ended(by_import, 0, "begins with the weights that were imported")
        self.assertEqual(len(by_import.losses), 3)
        self.assertEqual(by_import.losses, by_init.losses)
        self.assertEqual(self.snapshots(new), ["step-0000000000", "step-0000000003"])
        more = self.train(*settings[:-1], 5, "--resume", out=new)
        self.assert_ended(more, 0, "going on from")
        self.assertEqual(len(more.losses), 2)
        self.assert_ended(self.train("--steps", 9, "--resume", out=new), 1, "its learning rate is 0.25")

    def test_sizes_scale_classes_and_columns_go_along(self):
        rows = "".join(f"{i},{i % 5},{'low' if i < 40 else 'high'}\n" for i in range(80))
        table = self.write("table.csv", "a,b,kind\n" + rows)
        data = ["--data", f"csv:{table}"]
        mlp = ["--model", "mlp", "--threads", 1]
        self.assert_ended(neap("train", *mlp, "--layers", 2, "--width", 8, *data, "--batch-size", 8, "--epochs", 2, "--out", self.run_folder), 0)
        self.assert_ended(neap("export", self.run_folder, "-o", self.file), 0)
        texts = read(self.file)[0]["__metadata__"]
        self.assertEqual((json.loads(texts["classes"]), json.loads(texts["columns"])), (["high", "low"], ["a", "b"]))
        new = self.folder / "new"
        self.assert_ended(neap("import", self.file, *mlp, "--data", "synthetic:2:2", "-o", new), 0)
        notes = [json.loads((next(one.glob("step-*")) / "snapshot.json").read_text())["notes"] for one in (self.run_folder, new)]
        for name in ("layers", "width", "normalize", "classes", "columns"):
            self.assertEqual(notes[0][name], notes[1][name])
        outputs = [neap("predict", *mlp, *data, "--weights", weights, "--json", "--quiet") for weights in (self.run_folder, self.file, new)]
        for one in outputs:
            self.assert_ended(one, 0)
            self.assertEqual(one.stdout, outputs[0].stdout)
        self.assertIn('"low"', outputs[0].stdout)

    def test_the_context_goes_along_and_is_compared(self):
        text = self.write("text.txt", "neap " * 400)
        gpt = ["--model", "gpt", "--layers", 1, "--width", 16, "--threads", 1, "--data", f"text:{text}"]
        train = ["train", *gpt, "--batch-size", 2, "--no-test", "--steps", 1]
        self.assert_ended(neap(*train, "--context", 24, "--out", self.run_folder), 0)
        self.assert_ended(neap("export", self.run_folder, "-o", self.file), 0)
        self.assertEqual(read(self.file)[0]["__metadata__"]["context"], "24")
        new = self.folder / "new"
        self.assert_ended(neap("import", self.file, "--model", "gpt", "--data", f"text:{text}", "-o", new), 0)
        evaluated = [neap("evaluate", "--model", "gpt", "--data", f"text:{text}", "--threads", 1, "--weights", weights, "--json", "--quiet")
                     for weights in (self.run_folder, new)]
        self.assert_ended(evaluated[1], 0)
        self.assertEqual(evaluated[0].stdout, evaluated[1].stdout)
        self.assert_ended(neap(*train, "--out", new, "--resume"), 1, "its context is 24, and this one's 256")
        self.assert_ended(neap(*train, "--context", 24, "--heads", 2, "--out", new, "--resume"), 1, "its heads is 4, and this one's 2")
        self.assert_ended(neap(*train, "--context", 24, "--heads", 4, "--out", new, "--resume"), 0)

    def test_a_size_that_is_the_default_may_be_named_or_not(self):
        data = ["--data", "synthetic:4:3:64", "--threads", 1]
        mlp = ["--model", "mlp", *data, "--batch-size", 8, "--no-test", "--steps", 1]
        self.assert_ended(neap("train", *mlp, "--out", self.run_folder), 0)
        new = self.folder / "new"
        self.assert_ended(neap("import", self.run_folder, "--model", "mlp", *data, "--layers", 6, "--width", 512, "-o", new), 0)
        self.assert_ended(neap("train", *mlp, "--width", 32, "--out", new, "--resume"), 1, "its width is 512, and this one's 32")
        self.assert_ended(neap("train", *mlp, "--out", new, "--resume"), 0, "begins with the weights that were imported")

    def test_export_over_files_of_a_training_and_of_an_optimizer_is_refused(self):
        self.train("--steps", 1)
        other = self.folder / "other"
        self.assert_ended(neap("train", *SMALL, "--batch-size", 32, "--steps", 1, "--eval-every", 1, "--out", other), 0)
        files = sorted(one for one in self.folder.rglob("*") if one.is_file())
        before = [one.read_bytes() for one in files]
        state = other / "step-0000000001"
        for out, told in [(state / "model.safetensors", "is in the saved state"), (state / "state.safetensors", "is in the saved state"),
                          (other / "best.safetensors", "is a file of the training in")]:
            with self.subTest(out.name):
                self.assert_ended(neap("export", self.run_folder, "-o", out), 2, told)
        self.assert_ended(neap("export", other, "--best", "-o", state / "model.safetensors"), 2, "is in the saved state")
        self.assert_ended(neap("export", state / "state.safetensors", "-o", self.file), 1, "has the optimizer's state, and no weights")
        self.assertEqual([one.read_bytes() for one in files], before)
        self.assertFalse(self.file.exists())
        self.assert_ended(neap("export", other, "--best", "-o", self.folder / "best.safetensors"), 0)

    def test_an_imported_model_of_another_size_is_not_gone_on_with(self):
        self.train("--steps", 1)
        self.assert_ended(neap("import", self.run_folder, *SMALL, "-o", self.folder / "new"), 0)
        other = [32 if one == 16 else one for one in SMALL]
        done = neap("train", *other, "--batch-size", 32, "--steps", 1, "--out", self.folder / "new", "--resume")
        self.assert_ended(done, 1, "its width is 16, and this one's 32")
        self.assert_ended(neap("import", self.run_folder, *SMALL, "-o", self.folder / "new"), 1, "has the snapshots of a training")

    def test_import_names_each_tensor_that_does_not_fit_and_makes_nothing(self):
        self.train("--steps", 1)
        neap("export", self.run_folder, "-o", self.file)
        header, content = read(self.file)
        names = sorted(name for name in header if name != "__metadata__")
        wrong = {**header, "stranger": header[names[0]]}
        del wrong[names[0]]
        wrong[names[1]] = {**header[names[1]], "shape": [1, *header[names[1]]["shape"]]}
        wrong[names[2]] = {**header[names[2]], "dtype": "I32"}
        write(self.file, wrong, content)
        done = neap("import", self.file, *SMALL, "-o", self.folder / "new")
        self.assert_ended(done, 1, "does not fit: 4 differences", f"it has no {names[0]}", f"{names[1]}: it is F32 [1, ",
                          f"{names[2]}: it is I32", "it has stranger, which the model does not have")
        self.assertFalse((self.folder / "new").exists())
        for bad, told in [(b"", "weights.safetensors"), (self.file.read_bytes()[:-5], "weights.safetensors")]:
            self.file.write_bytes(bad)
            self.assert_ended(neap("import", self.file, *SMALL, "-o", self.folder / "new"), 1, told)
        self.assert_ended(neap("import", self.folder / "nowhere", *SMALL, "-o", self.folder / "new"), 1, "nowhere")
        self.assert_ended(neap("import", self.run_folder, "--model", "mlp", "--heads", 2, "-o", self.folder / "new"), 2, "--heads")
        self.assertFalse((self.folder / "new").exists())

    def test_another_number_of_threads_is_refused_unless_it_is_allowed_and_then_recorded(self):
        self.assert_ended(self.train("--steps", 2, "--threads=2"), 2)  # --threads twice
        self.train("--steps", 2)
        two = [2 if one == 1 and SMALL[i - 1] == "--threads" else one for i, one in enumerate(SMALL)]
        def go_on(steps, *arguments):
            return neap("train", *two, "--batch-size", 32, "--no-test", "--steps", steps, "--out", self.run_folder, "--resume", *arguments)
        self.assert_ended(go_on(4), 1, "saved with 1 thread, and this process has 2 threads", "--allow-other-threads", "LoadOptions::other_threads")
        self.assert_ended(go_on(4, "--allow-other-torch", "--allow-other-kernels"), 1, "--allow-other-threads")
        self.assertEqual(self.snapshots(self.run_folder), ["step-0000000002"])
        self.assert_ended(go_on(4, "--allow-other-threads"), 0, "as it was allowed: 1 thread then, 2 threads now")
        expected = "after step 2: 1 thread then, 2 threads now"
        notes = json.loads((self.run_folder / "step-0000000004" / "snapshot.json").read_text())["notes"]
        self.assertEqual(notes["other bits"], expected)
        runs = [json.loads(line) for line in (self.run_folder / "run.jsonl").read_text().splitlines()]
        self.assertEqual([line.get("other_bits") for line in runs if line["event"] == "run"], [None, expected])
        self.assert_ended(go_on(6), 0)  # it was saved with two threads, and is what it was
        notes = json.loads((self.run_folder / "step-0000000006" / "snapshot.json").read_text())["notes"]
        self.assertEqual(notes["other bits"], expected)

    def test_other_kernels_are_refused_unless_they_are_allowed(self):
        slow = dict(os.environ, ATEN_CPU_CAPABILITY="default")
        def train(steps, *arguments, **options):
            return neap("train", *SMALL, "--batch-size", 32, "--no-test", "--steps", steps, "--out", self.run_folder, *arguments, **options)
        self.assert_ended(train(2, env=slow), 0)
        here = dict(os.environ)
        here.pop("ATEN_CPU_CAPABILITY", None)
        self.assert_ended(train(4, "--resume", "--allow-other-threads", "--allow-other-torch", env=here), 1,
                          "saved with LibTorch's kernels for DEFAULT", "--allow-other-kernels")
        self.assert_ended(train(4, "--resume", "--allow-other-kernels", env=here), 0, "as it was allowed: LibTorch's kernels for DEFAULT then")

    def test_a_snapshot_is_not_exported_into_itself_and_its_folder_may_be_gone_later(self):
        self.train("--steps", 1)
        neap("export", self.run_folder, "-o", self.file)
        shutil.rmtree(self.run_folder)
        done = neap("evaluate", *SMALL, "--weights", self.file, "--json", "--quiet")
        self.assertEqual(self.json_lines(done)[0]["event"], "evaluation")


if __name__ == "__main__":
    unittest.main()
