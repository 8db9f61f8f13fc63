# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""How the tests of the command run it. The path of the command is the first argument of the test program."""
import gzip
import json
import pathlib
import struct
import subprocess
import sys
import tempfile
import unittest

NEAP = sys.argv.pop(1)


def neap(*arguments, **options):
    return subprocess.run([NEAP, *map(str, arguments)], stdout=options.pop("stdout", subprocess.PIPE),
                          stderr=options.pop("stderr", subprocess.PIPE), text=True, timeout=600, **options)


def idx(magic, extents, items):
    return struct.pack(">I", magic) + b"".join(struct.pack(">I", n) for n in extents) + bytes(items)


def write_pictures(folder, count=256):
    """A data set like MNIST: `count` pictures, for training and for tests."""
    images = idx(0x803, [count, 28, 28], ((i * i) >> 3 & 255 for i in range(count * 784)))
    labels = idx(0x801, [count], (i % 10 for i in range(count)))
    for prefix in ("train", "t10k"):
        (folder / f"{prefix}-images-idx3-ubyte").write_bytes(images)
        (folder / f"{prefix}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels))


class EndingTest(unittest.TestCase):
    def assert_ended(self, done, code, *texts):
        self.assertEqual(done.returncode, code, done.stderr)
        for text in texts:
            self.assertIn(text, done.stderr)
        self.assertNotIn("Traceback", done.stderr)
        self.assertNotIn("frame #", done.stderr)


class CommandTest(EndingTest):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = pathlib.Path(scratch.name)

    def write(self, name, text):
        path = self.folder / name
        path.write_text(text)
        return path

    def json_lines(self, done):
        self.assertEqual(done.returncode, 0, done.stderr)
        return [json.loads(line) for line in done.stdout.splitlines()]


class TrainingTest(CommandTest):
    """A test with a data set of pictures in its folder."""

    def setUp(self):
        super().setUp()
        write_pictures(self.folder)

    def train(self, *arguments, **options):
        return neap("train", "--data", self.folder, "--threads", 1, *arguments, **options)
