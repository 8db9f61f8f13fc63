# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""How the tests of neap report call it."""
import json
import re

from running import CommandTest, neap

CATEGORIES = ["parameters", "gradients", "optimizer", "inputs", "activations", "temporaries", "workspace"]


class ReportTest(CommandTest):
    def export(self, name, *arguments, form):
        out = self.folder / name
        self.assert_ended(neap("report", *arguments, "--format", form, "-o", out), 0)
        return out

    def traced(self):
        trace = self.folder / "step.jsonl"
        self.assert_ended(neap("trace", "--model", "resnet", "--input", "3,16,16", "--batch-size", 8, "--repetitions", 1,
                               "-o", trace), 0)
        return trace

    def page_data(self, *arguments):
        page = self.folder / "page.html"
        self.assert_ended(neap("report", *arguments, "-o", page), 0)
        return json.loads(re.search(r'<script id="data" type="application/json">(.*?)</script>', page.read_text()).group(1))
