#!/usr/bin/env python3
# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""files_test.py NEAP [unittest arguments]: the files that the command writes are there whole or not at all."""
import gzip
import os
import pathlib
import resource
import signal
import subprocess
import tempfile
import unittest

from running import NEAP, CommandTest, neap

SMALL = ("--model", "mlp", "--input", "1,8,8", "--threads", 1, "--repetitions", 1)


class FilesTest(CommandTest):
    @classmethod
    def setUpClass(cls):
        scratch = tempfile.TemporaryDirectory()
        cls.addClassCleanup(scratch.cleanup)
        cls.trace = pathlib.Path(scratch.name) / "step.jsonl"
        traced = neap("trace", *SMALL, "--batch-size", 64, "-o", cls.trace)
        assert traced.returncode == 0, traced.stderr

    def writers(self):
        """Each option that names a file, with a command that has it."""
        plan = ("plan", self.trace)
        measuring = (*SMALL, "--batch-sizes", 4)
        return [("-o", ("trace", *SMALL, "--batch-size", 4)),
                ("-o", (*plan, "--budget", "100%")),
                ("--csv", (*plan, "--frontier", "--points", 2)),
                ("--svg", (*plan, "--frontier", "--points", 2)),
                ("--csv", ("analyze", *measuring)), ("--svg", ("analyze", *measuring)),
                ("--csv", ("bench", *measuring, "--budgets", "none")),
                ("--svg", ("bench", *measuring, "--budgets", "none"))]

    def assert_kept(self, file):
        self.assertEqual(file.read_text(), "older")
        self.assertEqual([path.name for path in self.folder.iterdir()], [file.name])

    def test_a_full_disk_leaves_what_was_there_and_nothing_else(self):
        file = self.write("file", "older")
        limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (16, 16))
        for option, arguments in self.writers():
            with self.subTest(f"{arguments[0]} {option}"):
                done = neap(*arguments, option, file, preexec_fn=limit)
                self.assert_ended(done, 1, f"{option}: {file} cannot be written: File too large; raise the limit")
                self.assert_kept(file)
                done = neap(*arguments, option, "/dev/full")
                self.assert_ended(done, 1, f"{option}: /dev/full cannot be written: No space left on device; "
                                           "free the disk")

    def test_a_process_that_is_stopped_or_killed_leaves_what_was_there_and_nothing_else(self):
        file = self.write("file", "older")
        for option, arguments in self.writers():
            longer = {"100%": "60%", 2: 1000}  # a search, points of a frontier
            arguments = [longer.get(one, one) for one in arguments]
            if arguments[0] == "plan":
                arguments += ["--time-limit", 100]
            else:
                arguments[arguments.index("--repetitions") + 1] = 100000
            for how in (signal.SIGINT, signal.SIGKILL):
                with self.subTest(f"{arguments[0]} {option} {how.name}"):
                    process = subprocess.Popen([NEAP, *map(str, arguments), option, file],
                                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                    while process.poll() is None and not self.has_open_file(process.pid):
                        pass
                    process.send_signal(how)
                    self.assertNotEqual(process.wait(timeout=300), 0)
                    self.assert_kept(file)

    def has_open_file(self, pid):
        """Whether the process has begun to write: it does so into a file without a name, in the same folder."""
        try:
            return any(os.readlink(link).startswith(str(self.folder))
                       for link in pathlib.Path(f"/proc/{pid}/fd").iterdir())
        except OSError:
            return False

    def test_what_is_whole_replaces_what_was_there(self):
        for option, arguments in self.writers():
            with self.subTest(f"{arguments[0]} {option}"):
                file = self.write("file", "older")
                self.assertEqual(neap(*arguments, option, file).returncode, 0)
                self.assertNotEqual(file.read_text(), "older")
                self.assertEqual([path.name for path in self.folder.iterdir()], ["file"])

    def test_a_name_in_gz_is_packed(self):
        for option, arguments in self.writers():
            with self.subTest(f"{arguments[0]} {option}"):
                file = self.folder / "file.gz"
                self.assertEqual(neap(*arguments, option, file).returncode, 0)
                self.assertGreater(len(gzip.decompress(file.read_bytes())), 0)
        packed = self.folder / "step.jsonl.gz"
        self.assert_ended(neap("trace", *SMALL, "--batch-size", 4, "-o", packed), 0)
        self.assert_ended(neap("plan", packed, "--budget", "100%"), 0)

    def test_a_pipe_that_nobody_writes_into_is_empty_and_nobody_waits_for_it(self):
        pipe = self.folder / "pipe"
        os.mkfifo(pipe)
        self.assert_ended(neap("plan", pipe, "--min"), 1, f"{pipe}: line 1: the file is cut short")
        self.assert_ended(neap("train", "--data", f"text:{pipe}"), 1, f"{pipe}: at offset 0: is empty")
        self.assert_ended(neap("train", "--model", pipe, "--steps", 1), 1, f"--model {pipe}: is no file")
        self.assert_ended(neap("train", "--config", pipe), 2, f"--config: {pipe} is no file")
        self.assert_ended(neap("verify", "--model", "mlp", "--policy", pipe, "--budget", "200MiB", "--batch-size", 1), 1,
                          f"{pipe}: line 1: the file is cut short")

    def test_a_pipe_is_written_into(self):
        read, write = os.pipe()
        done = neap("plan", self.trace, "--budget", "100%", "-o", f"/dev/fd/{write}", pass_fds=[write])
        os.close(write)
        self.assert_ended(done, 0)
        with open(read) as pipe:
            self.assertIn('"neap_plan":1', pipe.readline())


if __name__ == "__main__":
    unittest.main()
