#!/usr/bin/env python3
# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""exchange_test.py PROGRAM [NEAP]: weights of torchvision's ResNets go from C++ to Python and back, with the same forward.

With the command, also by neap export and neap import.
"""
import os
import pathlib
import subprocess
import sys
import tempfile

import torch
import torchvision
from safetensors.torch import load_file, save_file

PROGRAM = sys.argv[1]
NEAP = sys.argv[2] if len(sys.argv) > 2 else None


def run(test, folder):
    subprocess.run([PROGRAM, f"--gtest_filter=Exchange.{test}"], check=True,
                   env={**os.environ, "NEAP_EXCHANGE": str(folder)})


def resnet(depth):
    return getattr(torchvision.models, f"resnet{depth}")(num_classes=10).eval()


def exchange_by_command(folder):
    """What neap export writes is what the library writes, and what Python has written is imported."""
    subprocess.run([NEAP, "export", folder / "run", "-o", folder / "exported.safetensors"], check=True)
    model = resnet(18)
    model.load_state_dict(load_file(folder / "exported.safetensors"))
    made = load_file(folder / "resnet18.made.safetensors")
    assert torch.equal(model(made["x"]), made["y"]), "what was exported makes something else in Python"
    small = ["--model", "mlp", "--data", "synthetic:1x8x8:4:64", "--threads", "1"]
    subprocess.run([NEAP, "train", *small, "--batch-size", "8", "--steps", "1", "--out", folder / "small"], check=True)
    subprocess.run([NEAP, "export", folder / "small", "-o", folder / "small.safetensors"], check=True)
    weights = load_file(folder / "small.safetensors")
    doubled = {name: 2 * one for name, one in weights.items()}
    save_file(doubled, folder / "doubled.safetensors")
    subprocess.run([NEAP, "import", folder / "doubled.safetensors", *small, "-o", folder / "doubled"], check=True)
    imported = load_file(folder / "doubled" / "step-0000000000" / "model.safetensors")
    assert imported.keys() == doubled.keys() and all(torch.equal(imported[name], one) for name, one in doubled.items())


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
        if NEAP:
            exchange_by_command(folder)
        model = resnet(50)
        save_file(model.state_dict(), folder / "from_python.safetensors")
        x = torch.randn(2, 3, 64, 64)
        save_file({"x": x, "y": model(x)}, folder / "from_python.made.safetensors")
        run("from_python", folder)


if __name__ == "__main__":
    main()
