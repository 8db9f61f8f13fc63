#!/usr/bin/env python3
# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""Records training steps of PyTorch on a GPU as traces, to try the planner on them.

  bench/traces/record_torch.py FOLDER [MODEL ...]     # writes FOLDER/MODEL.jsonl.gz

The traces have version 1 of the format. Needs PyTorch with CUDA, torchvision and transformers.
The operators are those below autograd, as a TorchDispatchMode sees them. Each operator runs alone:
the script waits for the GPU. Its time is the shortest of three steps. Its workspace is what the
caching allocator held for it beyond its results.
"""

import gzip
import json
import pathlib
import sys
import time

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# The schemas of these operators do not say that they write running statistics. The numbers are the
# positions of the mean and the variance among the arguments.
NORMS = {"aten::cudnn_batch_norm": (3, 4), "aten::native_batch_norm": (3, 4), "aten::_batch_norm_with_update": (3, 4)}


def storages(values):
    seen = {}
    for value in tree_leaves(values):
        if isinstance(value, torch.Tensor) and value.untyped_storage().nbytes() > 0:
            seen[value.untyped_storage()._cdata] = value.untyped_storage()
    return seen


class Recorder(TorchDispatchMode):
    def __init__(self, given):
        super().__init__()
        self.lines, self.ids, self.alive, self.next, self.ops = [], {}, {}, 0, 0
        self.phase = "forward"
        for kind, tensors in given:
            for storage in storages(tensors).values():
                if storage._cdata not in self.ids:
                    self.give(storage, kind)

    def new_id(self, storage):
        number, self.next = self.next, self.next + 1
        self.ids[storage._cdata] = number
        self.alive[number] = (StorageWeakRef(storage), storage._cdata)
        return number

    def give(self, storage, kind):
        number = self.new_id(storage)
        self.lines.append({"storage": number, "bytes": storage.nbytes(), "kind": kind})
        return number

    def release(self):
        for number, (ref, address) in list(self.alive.items()):
            if ref.expired():
                self.lines.append({"release": number})
                del self.alive[number]
                if self.ids.get(address) == number:
                    del self.ids[address]

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        self.release()
        read = storages((args, kwargs))
        inputs = [self.ids[a] if a in self.ids else self.give(s, "input") for a, s in read.items()]
        mutated, once = [], []
        for place, argument in enumerate(func._schema.arguments):
            value = args[place] if place < len(args) else kwargs.get(argument.name)
            alias = argument.alias_info
            if place in NORMS.get(func._schema.name, ()):
                if value is not None and args[5]:  # training
                    once += [self.ids[a] for a in storages(value)]
            elif alias is not None and alias.is_write:
                mutated += [self.ids[a] for a in storages(value)]
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        start = time.perf_counter_ns()
        result = func(*args, **kwargs)
        torch.cuda.synchronize()
        took = time.perf_counter_ns() - start
        held = torch.cuda.memory_allocated()
        made = {a: s for a, s in storages(result).items() if a not in self.ids}
        line = {
            "op": self.ops,
            "name": func._schema.name,
            "in": inputs,
            "out": [{"storage": self.new_id(s), "bytes": s.nbytes()} for s in made.values()],
            "mutates": sorted(set(mutated)),
            "ns": took,
            "workspace": max(0, torch.cuda.max_memory_allocated() - max(held, before)),
            "random": torch.Tag.nondeterministic_seeded in func.tags,
            "phase": self.phase,
            "scope": "",
        }
        if once:
            line["mutates_once"] = sorted(set(once))
        if func._schema.name == "aten::_local_scalar_dense":
            line["replayable"] = False
        self.lines.append(line)
        self.ops += 1
        return result


def record(label, model, optimizer, loss_of, batch, path):
    def step(recorder=None):
        optimizer.zero_grad(set_to_none=True)
        if recorder:
            recorder.phase = "forward"
        loss = loss_of(model, batch)
        if recorder:
            recorder.phase = "backward"
        loss.backward()
        if recorder:
            recorder.phase = "optimizer"
        optimizer.step()
        return loss

    for _ in range(3):
        step()
    runs = []
    for _ in range(3):
        torch.cuda.synchronize()
        optimizer.zero_grad(set_to_none=True)
        state = [v for s in optimizer.state.values() for v in s.values() if isinstance(v, torch.Tensor)]
        recorder = Recorder(
            [("parameter", list(model.parameters())), ("buffer", list(model.buffers())), ("optimizer", state), ("input", batch)]
        )
        with recorder:
            loss = step(recorder)
        kept = list(model.parameters()) + [p.grad for p in model.parameters()] + list(model.buffers()) + state + [loss]
        recorder.release()
        keep = sorted({recorder.ids[a] for a in storages(kept) if a in recorder.ids})
        gone = [n for n in recorder.alive if n not in keep]
        recorder.lines += [{"release": n} for n in gone if n not in {recorder.ids.get(a) for a in storages(batch)}]
        recorder.lines.append({"end": True, "keep": keep})
        runs.append(recorder.lines)
        del loss, kept
    first = runs[0]
    for other in runs[1:]:
        if len(other) != len(first):
            print(f"{label}: steps differ in length; the first one's times stay", file=sys.stderr)
            continue
        for mine, theirs in zip(first, other):
            if "op" in mine:
                mine["ns"] = min(mine["ns"], theirs["ns"])
    head = {"neap_trace": 1, "label": label, "device": torch.cuda.get_device_name(), "torch": torch.__version__}
    with gzip.GzipFile(path, "w", mtime=0) as out:
        for line in [head, *first]:
            out.write((json.dumps(line, separators=(",", ":")) + "\n").encode())
    print(f"{label}: {sum('op' in line for line in first)} operators", file=sys.stderr)


def pictures(count, side=224, classes=1000):
    return torch.randn(count, 3, side, side, device="cuda"), torch.randint(classes, (count,), device="cuda")


def classify(model, batch):
    with torch.autocast("cuda", torch.bfloat16):
        return torch.nn.functional.cross_entropy(model(batch[0]), batch[1])


def resnet50():
    import torchvision

    model = torchvision.models.resnet50().cuda()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, foreach=True)
    return "resnet50 bfloat16 batch 64, foreach SGD", model, optimizer, classify, pictures(64)


def densenet121():
    import torchvision

    model = torchvision.models.densenet121().cuda()
    return "densenet121 batch 32, SGD", model, torch.optim.SGD(model.parameters(), 0.1, foreach=False), (
        lambda m, b: torch.nn.functional.cross_entropy(m(b[0]), b[1])
    ), pictures(32)


def swin():
    import torchvision

    model = torchvision.models.swin_t().cuda()
    return "swin_t bfloat16 batch 32, AdamW", model, torch.optim.AdamW(model.parameters()), classify, pictures(32)


def deeplabv3():
    import torchvision

    model = torchvision.models.segmentation.deeplabv3_resnet50(weights=None, weights_backbone=None, num_classes=21).cuda()
    batch = torch.randn(4, 3, 384, 384, device="cuda"), torch.randint(21, (4, 384, 384), device="cuda")
    return "deeplabv3 batch 4, fused Adam", model, torch.optim.Adam(model.parameters(), fused=True), (
        lambda m, b: torch.nn.functional.cross_entropy(m(b[0])["out"], b[1])
    ), batch


def gpt2():
    import transformers

    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(use_cache=False)).cuda()
    tokens = torch.randint(50257, (4, 512), device="cuda")

    def loss(m, b):
        with torch.autocast("cuda", torch.bfloat16):
            return m(input_ids=b[0], labels=b[0]).loss

    return "gpt2 bfloat16 4x512, fused AdamW", model, torch.optim.AdamW(model.parameters(), fused=True), loss, (tokens,)


def lstm():
    class Tagger(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = torch.nn.Embedding(1000, 256)
            self.cells = torch.nn.ModuleList([torch.nn.LSTMCell(256, 256) for _ in range(2)])
            self.head = torch.nn.Linear(256, 1000)

        def forward(self, tokens):
            x, losses = self.embed(tokens), 0
            states = [None, None]
            for t in range(tokens.shape[1] - 1):
                h = x[:, t]
                for i, cell in enumerate(self.cells):
                    states[i] = cell(h, states[i])
                    h = states[i][0]
                losses = losses + torch.nn.functional.cross_entropy(self.head(h), tokens[:, t + 1])
            return losses

    model = Tagger().cuda()
    tokens = torch.randint(1000, (64, 48), device="cuda")
    return "two layers of LSTM cells 64x48, RMSprop", model, torch.optim.RMSprop(model.parameters()), (
        lambda m, b: m(b[0])
    ), (tokens,)


MODELS = {
    "resnet50": resnet50,
    "densenet121": densenet121,
    "swin_t": swin,
    "deeplabv3": deeplabv3,
    "gpt2": gpt2,
    "lstm_cells": lstm,
}

if __name__ == "__main__":
    if len(sys.argv) < 2 or any(name not in MODELS for name in sys.argv[2:]):
        sys.exit(__doc__ + "\nmodels: " + ", ".join(MODELS))
    folder = pathlib.Path(sys.argv[1])
    for name in sys.argv[2:] or MODELS:
        torch.manual_seed(0)
        try:
            record(*MODELS[name](), folder / f"{name}.jsonl.gz")
        except Exception as error:  # go on with the next model
            print(f"{name}: {error!r}", file=sys.stderr)
        torch.cuda.empty_cache()
