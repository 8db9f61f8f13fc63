# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""Files of traced steps that tests make up."""
import json

EVIL = "</script><script>document.title='taken'</script><b onclick=x>&amp;\"'\u202e"
NASTY = "a\u0000b\r\n\t,;\"'\\\x1b[2J\x7f\u009b.\u2028x.\U0001f600"


def step_of(layers):
    """A trace with one operator a layer, forward and backward, whose activations live in between."""
    lines = [{"neap_trace": 1, "label": "made", "device": "cpu", "torch": "2.15.0"}]
    lines += [{"storage": i, "bytes": 4000, "kind": "parameter"} for i in range(len(layers))]
    count = len(layers)
    for i, layer in enumerate(layers):
        lines.append({"op": i, "name": "aten::mm", "in": [i] + ([count + i - 1] if i else []),
                      "out": [{"storage": count + i, "bytes": 1 << 20}], "mutates": [], "ns": 1000, "workspace": 0,
                      "random": False, "phase": "forward", "scope": layer})
    for i in reversed(range(count)):
        lines.append({"op": 2 * count - 1 - i, "name": "aten::mm_backward", "in": [count + i],
                      "out": [{"storage": 3 * count - 1 - i, "bytes": 4000}], "mutates": [], "ns": 2000,
                      "workspace": 100, "random": False, "phase": "backward", "scope": layers[i]})
        lines.append({"release": count + i})
    lines.append({"end": True, "keep": list(range(2 * count, 3 * count))})
    return "".join(json.dumps(line) + "\n" for line in lines)
