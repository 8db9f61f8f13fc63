#!/usr/bin/env python3
# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""summary_test.py NEAP [unittest arguments]: neap summary lists the layers of a model, with FLOPs that formulas give too."""
import json
import os
import unittest

from running import CommandTest, neap

QUICK = ["--threads", 1, "--repetitions", 1]


class SummaryTest(CommandTest):
    def layers(self, *arguments):
        done = neap("summary", *arguments, *QUICK, "--json")
        self.assert_ended(done, 0)
        self.listed = json.loads(done.stdout)["layers"]
        return {layer["name"]: layer for layer in self.listed}

    def test_of_mlp(self):
        layers = self.layers("--model", "mlp", "--input", "1,8,8", "--batch-size", 4)
        widths = [64, 512, 512, 512, 512, 512, 10]
        pairs = list(zip(widths, widths[1:]))
        self.assertEqual(layers[""]["flops"], 2 * 4 * sum(a * b for a, b in pairs))
        self.assertEqual(layers[""]["parameters"], sum(a * b + b for a, b in pairs))
        self.assertEqual(layers[""]["parameters_bytes"], 4 * layers[""]["parameters"])
        self.assertEqual(layers[""]["output_shape"], [4, 10])
        self.assertEqual(layers["block5.0"]["kind"], "Linear")
        self.assertEqual(layers["block5.0"]["flops"], 2 * 4 * 512 * 10)
        self.assertIsNone(layers["block0.1"]["flops"])
        self.assertEqual(layers["block0.1"]["kind"], "GELU")

    def test_of_resnet(self):
        layers = self.layers("--model", "resnet", "--batch-size", 2)
        def convolution(inputs, outputs, side):
            return 2 * 2 * side * side * inputs * outputs * 9
        flops = (convolution(3, 16, 32) + 5 * 2 * convolution(16, 16, 32) + convolution(16, 32, 16)
                 + 5 * 2 * convolution(32, 32, 16) + convolution(32, 64, 8) + 6 * 2 * convolution(64, 64, 8)
                 + 2 * 2 * 64 * 10)
        self.assertEqual(layers[""]["flops"], flops)
        self.assertEqual(layers["block4"]["flops"], 2 * convolution(16, 16, 32) + convolution(16, 32, 16))
        self.assertEqual(layers["block4"]["output_shape"], [2, 32, 16, 16])
        self.assertEqual(layers["classifier"]["output_shape"], [2, 10])

    def test_of_gpt(self):
        rows, tokens, width, words, blocks = 2, 16, 128, 256, 4
        layers = self.layers("--model", "gpt", "--input", tokens, "--batch-size", rows)
        attention = 2 * (2 * rows * tokens * tokens * width)
        block = 2 * rows * tokens * 12 * width * width + attention
        self.assertEqual(layers["block0"]["flops"], block)
        self.assertEqual(layers[""]["flops"], blocks * block + 2 * rows * tokens * width * words)
        self.assertEqual(layers["block0.up"]["output_shape"], [rows, tokens, 4 * width])
        self.assertEqual(layers["words"]["flops"], 0)

    def test_what_is_inside_a_layer_counts_for_it(self):
        layers = self.layers("--model", "mlp", "--input", "1,8,8", "--batch-size", 4)
        for key in ("parameters", "activations_bytes", "flops", "forward_ns", "backward_ns"):
            for i in range(6):
                inside = sum(layer[key] or 0 for name, layer in layers.items() if name.startswith(f"block{i}."))
                self.assertEqual(layers[f"block{i}"][key], inside, (key, i))
            self.assertGreaterEqual(layers[""][key], sum(layers[f"block{i}"][key] for i in range(6)))
        self.assertGreater(layers[""]["activations_bytes"], 0)

    def test_it_is_sorted_inside_each_layer(self):
        step = ["--model", "mlp", "--input", "1,8,8", "--batch-size", 4]
        self.layers(*step)
        names = [layer["name"] for layer in self.listed]
        self.assertEqual(names, ["", *(name for i in range(6) for name in (f"block{i}", f"block{i}.0", f"block{i}.1")
                                       if name != "block5.1")])
        for sort, key in (("parameters", "parameters"), ("flops", "flops"), ("activations", "activations_bytes"),
                          ("time", "forward_ns")):
            self.layers(*step, "--sort", sort)
            blocks = [layer for layer in self.listed if layer["name"].count(".") == 0 and layer["name"]]
            figures = [layer[key] for layer in blocks]
            self.assertEqual(figures, sorted(figures, reverse=True), sort)
            self.assertEqual(len(self.listed), len(names))
            for i, layer in enumerate(self.listed):
                if "." in layer["name"]:  # behind what it is in
                    owner = layer["name"].rsplit(".", 1)[0]
                    self.assertIn(owner, [one["name"] for one in self.listed[:i]])
                    between = [one["name"] for one in self.listed[:i]]
                    after = between[between.index(owner):]
                    self.assertTrue(all(one == owner or one.startswith(owner + ".") for one in after), after)

    def table(self, columns, *arguments):
        variables = {name: value for name, value in os.environ.items() if name != "COLUMNS"} | {"LC_ALL": "C"}
        if columns:
            variables["COLUMNS"] = str(columns)
        done = neap("summary", "--model", "mlp", "--input", "1,8,8", "--batch-size", 4, *QUICK, *arguments, env=variables)
        self.assert_ended(done, 0)
        return done.stdout.splitlines()

    def test_the_table_is_a_tree(self):
        lines = self.table(None)
        self.assertEqual(lines[2].split(), ["layer", "type", "output", "parameters", "activations", "FLOPs", "forward",
                                            "backward"])
        self.assertRegex(lines[4], r"^mlp +MLP +4x10 +1\.09 M +\S+ \S+ +8\.69 M +\S+ ms +\S+ ms$")
        self.assertRegex(lines[5], r"^  block0 +Sequential +4x512 +33\.28 k ")
        self.assertRegex(lines[6], r"^    0 +Linear +4x512 +33\.28 k +\S+ KiB +262\.14 k ")
        self.assertRegex(lines[7], r"^    1 +GELU +- +0 +- +- +- +-$")

    def test_a_narrow_table_leaves_out_whole_columns(self):
        for columns in (80, 40, 20, 5):
            lines = self.table(columns)
            self.assertLess(max(map(len, lines[:10])), columns)
        names = self.table(40)[2].split()
        self.assertEqual(names, ["layer", "activations", "FLOPs"])

    def test_wrong_use_is_refused(self):
        self.assert_ended(neap("summary", "--model", "none"), 2, "--model")
        self.assert_ended(neap("summary", "--sort", "size"), 2, "--sort")
        self.assert_ended(neap("summary", "--model", "gpt", "--input", "3,8,8"), 2, "--input")
        self.assert_ended(neap("summary", "file.jsonl"), 2)


if __name__ == "__main__":
    unittest.main()
