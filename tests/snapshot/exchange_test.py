#!/usr/bin/env python3
# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""exchange_test.py PROGRAM: weights of torchvision's ResNets go from C++ to Python and back, with the same forward."""
import os
import pathlib
import subprocess
import sys
import tempfile

import torch
import torchvision
from safetensors.torch import load_file, save_file

PROGRAM = sys.argv[1]


def run(test, folder):
    subprocess.run([PROGRAM, f"--gtest_filter=Exchange.{test}"], check=True,
                   env={**os.environ, "NEAP_EXCHANGE": str(folder)})


def resnet(depth):
    return getattr(torchvision.models, f"resnet{depth}")(num_classes=10).eval()


def main():
    torch.set_grad_enabled(False)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        run("to_python", folder)
        for depth in (18, 34, 50, 101, 152):
            model = resnet(depth)
            model.load_state_dict(load_file(folder / f"resnet{depth}.safetensors"))
            made = load_file(folder / f"resnet{depth}.made.safetensors")
            assert torch.equal(model(made["x"]), made["y"]), f"resnet{depth} makes something else in Python"
        model = resnet(50)
        save_file(model.state_dict(), folder / "from_python.safetensors")
        x = torch.randn(2, 3, 64, 64)
        save_file({"x": x, "y": model(x)}, folder / "from_python.made.safetensors")
        run("from_python", folder)


if __name__ == "__main__":
    main()
