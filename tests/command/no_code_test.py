#!/usr/bin/env python3
# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""no_code_test.py NEAP BUILD [unittest arguments]: nothing that neap reads from a file runs code.

BUILD has neap's own objects. What they ask of others is compared with what could run code from a file.
"""
import functools
import pathlib
import pickle
import re
import subprocess
import sys
import unittest
import zipfile

BUILD = pathlib.Path(sys.argv.pop(2))

from running import CommandTest, neap  # noqa: E402

# LibTorch's readers of pickles and scripts, the linker, and what starts programs.
RUNS_CODE = re.compile(r"""
    torch::jit::Unpickler | torch::jit::unpickle | torch::(jit::)?pickle_load | torch::jit::load\b | torch::jit::_load
    | torch::jit::import_ir_module | torch::load\b | torch::jit::compile\b
    | serialize::InputArchive::(InputArchive|load_from) | PyTorchStreamReader
    | ^(dlopen|dlmopen|system|popen|wordexp|exec[lv]p?e?|fexecve|posix_spawnp?)(@|$)
    | sqlite3_(enable_load_extension|load_extension)
""", re.VERBOSE)
# Each of them by the end of the object's path, with the reason.
ALLOWED = {
    ("neap_command.dir/own_model.cpp.o", "dlopen"): "--model ./libmymodel.so, which the command line alone may name",
}


@functools.cache
def undefined_symbols():
    """What each of the library's and the command's objects asks of others: {path below BUILD: names}."""
    objects = sorted(path for path in BUILD.rglob("*.cpp.o")
                     if re.fullmatch(r"(CMakeFiles|(apps/neap|python)/CMakeFiles)/neap_\w+\.dir/.*", str(path.relative_to(BUILD))))
    listed = subprocess.run(["nm", "--undefined-only", "--format=posix", "--print-file-name", "--demangle", *objects],
                            check=True, stdout=subprocess.PIPE, text=True).stdout
    names = {str(path.relative_to(BUILD)): set() for path in objects}
    for line in listed.splitlines():
        path, _, symbol = line.partition(".o: ")
        names[str(pathlib.Path(path + ".o").relative_to(BUILD))].add(re.sub(r" U( .*)?$", "", symbol))
    return names


class Harm:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return pathlib.Path.touch, (self.path,)


class NoCodeTest(CommandTest):
    def test_no_object_asks_for_what_runs_code_from_a_file(self):
        found = {}
        for path, names in undefined_symbols().items():
            for name in names:
                if RUNS_CODE.search(name):
                    found[path, name] = next((why for (end, symbol), why in ALLOWED.items()
                                              if path.endswith(end) and symbol == name), None)
        self.assertEqual([one for one, why in found.items() if why is None], [])
        self.assertEqual(len(found), len(ALLOWED), "else the list allows what nobody needs")

    def test_the_search_finds_what_is_there(self):
        names = undefined_symbols()
        self.assertGreater(len(names), 200, "the library and the command")
        self.assertTrue(any("torch::nn::Module::" in name for one in names.values() for name in one))
        for text in ("torch::jit::Unpickler::parse_ivalue()", "torch::jit::pickle_load(std::vector<char> const&)",
                     "torch::jit::load(std::string const&)", "dlopen", "dlopen@GLIBC_2.34", "execve",
                     "torch::serialize::InputArchive::load_from(std::string const&)",
                     "caffe2::serialize::PyTorchStreamReader::PyTorchStreamReader(std::string const&)"):
            self.assertRegex(text, RUNS_CODE)
        for text in ("torch::nn::Module::load(torch::serialize::InputArchive&)", "dlopen_count()", "executor"):
            self.assertNotRegex(text, RUNS_CODE)

    def test_pickles_are_refused_unread(self):
        harm = self.folder / "harm"
        plain = self.folder / "weights.pt"
        plain.write_bytes(pickle.dumps(Harm(harm)))
        with zipfile.ZipFile(self.folder / "zipped.pt", "w") as archive:
            archive.writestr("archive/data.pkl", pickle.dumps(Harm(harm)))
        small = ["--model", "mlp", "--data", "synthetic:1x8x8:10:64"]
        for file in (plain, self.folder / "zipped.pt"):
            with self.subTest(file.name):
                self.assert_ended(neap("train", *small, "--steps", 1, "--init", file), 1, "no whole safetensors file")
                self.assert_ended(neap("evaluate", *small, "--weights", file), 1, "no whole safetensors file")
                self.assert_ended(neap("plan", file, "--min"), 1, file.name)
                self.assert_ended(neap("train", "--model", "mlp", "--data", f"npy:{file},{file}", "--steps", 1), 1, file.name)
        self.assertFalse(harm.exists())

    def test_a_config_file_names_no_library(self):
        for model in ("./libmymodel.so", "libmymodel.so", "/tmp/model"):
            with self.subTest(model):
                config = self.write("train.toml", f'steps = 1\nmodel = "{model}"\n')
                self.assert_ended(neap("train", "--config", config), 2, "line 2: 'model' names a library", f"--model {model}")
        self.assert_ended(neap("train", "--config", config, "--model", "./missing.so"), 1, "missing.so: cannot be read")

    def test_a_config_file_writes_nothing_outside_of_the_folder(self):
        inside = self.folder / "inside"
        inside.mkdir()
        (inside / "link").symlink_to(self.folder)
        small = 'steps = 1\nmodel = "mlp"\ndata = "synthetic:1x8x8:10:256"\nno-test = true\n'
        for path in (self.folder / "run", "../run", "link/run", "a/../../run"):
            for key in ("out", "plan-cache"):
                with self.subTest(path, key=key):
                    config = self.write("train.toml", f'{small}{key} = "{path}"\n')
                    self.assert_ended(neap("train", "--config", config, cwd=inside), 2,
                                      f"line 5: '{key}' leads out of the folder", f"--{key} {path}")
        self.assertEqual(sorted(path.name for path in self.folder.iterdir()), ["inside", "train.toml"])
        # What the command line names may lie anywhere, and what the file names inside.
        self.assert_ended(neap("train", "--config", config, "--plan-cache", self.folder / "plans", "--quiet", cwd=inside), 0)
        config = self.write("train.toml", f'{small}out = "a/../runs/1"\n')
        self.assert_ended(neap("train", "--config", config, "--quiet", cwd=inside), 0)
        self.assertTrue((inside / "runs/1/run.jsonl").exists())
        written = self.folder / "written.toml"
        self.assert_ended(neap("train", "--out", self.folder / "run", "--write-config", written, cwd=inside), 0)
        self.assertIn(f"--out {self.folder / 'run'}", written.read_text().replace("\n#", ""))
        self.assert_ended(neap("train", "--config", written, "--write-config", inside / "again.toml", cwd=inside), 0)

    def test_sql_of_runs_reads_and_loads_nothing_else(self):
        run = self.write("run.jsonl", '{"event":"run"}\n{"event":"step","step":1,"loss":1}\n')
        for sql in ("load_extension('./libharm')", "readfile('/etc/passwd')", "writefile('harm', 1)", "1; attach 'harm' as harm"):
            with self.subTest(sql):
                done = neap("runs", "list", run, "--where", sql, cwd=self.folder)
                self.assertEqual(done.returncode, 2, done.stdout + done.stderr)
        self.assertEqual([path.name for path in self.folder.iterdir()], ["run.jsonl"])


if __name__ == "__main__":
    unittest.main()
