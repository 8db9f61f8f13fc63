#!/usr/bin/env python3
# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""report_formats_test.py NEAP [unittest arguments]: what neap report --format writes, read by Python's own means alone.
report_tables_test.py has CSV and JSON. report_readers_test.py reads the same files with the tools that they are for."""
import csv
import io
import json
import pathlib
import pickle
import pickletools
import resource
import struct
import unittest

from reporting import CATEGORIES, ReportTest
from running import neap
from traces import EVIL, NASTY, step_of

SMALL = ["--model", "mlp", "--data", "synthetic:1x8x8:10:640", "--batch-size", 32, "--threads", 1, "--no-test", "--quiet"]


class NoNames(pickle.Unpickler):
    def find_class(self, module, name):
        raise AssertionError(f"the pickle names {module}.{name}")


def read_pickle(path):
    return NoNames(io.BytesIO(path.read_bytes())).load()


def crc32c(data):
    """Bit by bit, by the definition: not the way of the command, which has a table."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def masked(crc):
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def records(data):
    at = 0
    while at < len(data):
        length, crc = struct.unpack_from("<QI", data, at)
        assert crc == masked(crc32c(data[at:at + 8])), f"a wrong crc at {at}"
        event = data[at + 12:at + 12 + length]
        assert struct.unpack_from("<I", data, at + 12 + length)[0] == masked(crc32c(event)), f"a wrong crc after {at}"
        yield event
        at += 16 + length


def children(events, process):
    """The slices of a process as (track, depth, event, end). Fails where ends and begins are no pairs."""
    open_, slices = {}, []
    for event in events:
        if event["pid"] != process or event["ph"] not in "BE":
            continue
        stack = open_.setdefault(event["tid"], [])
        if event["ph"] == "B":
            stack.append(event)
        else:
            begun = stack.pop()
            assert event["ts"] >= begun["ts"]
            slices.append((event["tid"] - 10 * process, len(stack), begun, event["ts"]))
    assert not any(open_.values()), "a slice has no end"
    return slices


class FormatsTest(ReportTest):
    def plan_of(self, trace, budget):
        plan = self.folder / "plan.jsonl"
        done = neap("plan", trace, "--budget", budget, "--json", "-o", plan)
        self.assert_ended(done, 0)
        return json.loads(done.stdout), [json.loads(line) for line in plan.read_text().splitlines()][1:]

    # ------------------------------------------------------------ chrome

    def test_a_chrome_trace_has_each_operator_each_replay_and_the_memory_of_the_page(self):
        trace = self.traced()
        operators = [one for line in trace.read_text().splitlines() if "op" in (one := json.loads(line))]
        told, steps = self.plan_of(trace, "60%")
        self.assertGreater(told["reruns"], 0)
        events = json.loads(self.export("step.json", trace, "--budget", "60%", form="chrome").read_text())["traceEvents"]
        for process in (1, 2):
            slices = children(events, process)
            runs = [(one, end) for track, _, one, end in slices if track == 1 and "operator" in one["args"]]
            self.assertEqual([one["name"] for one, _ in runs], [op["name"] for op in operators])
            self.assertEqual([one["args"]["layer"] for one, _ in runs], [op.get("scope", "") for op in operators])
            for (one, end), op in zip(runs, operators):
                self.assertEqual(round(1000 * (end - one["ts"])), op["ns"])
                self.assertEqual(one["args"]["makes_bytes"], sum(made["bytes"] for made in op["out"]))
        replays = [one["args"]["operator"] for track, _, one, _ in slices if track == 2]
        self.assertEqual(replays, [step["rerun"] for step in steps if "rerun" in step])
        self.assertEqual(len(replays), told["reruns"])
        self.assertEqual([one["name"] for track, _, one, _ in slices if track == 2], [operators[i]["name"] for i in replays])

        # What is freed and made again, and nothing else, is on the track of evictions.
        wanted, again = [], set()
        for step in reversed(steps):
            if "rerun" in step:
                again |= {made["storage"] for made in operators[step["rerun"]]["out"]}
            elif step.get("free") in again:
                again.discard(step["free"])
                wanted.append(step["free"])
        self.assertGreater(len(wanted), 0)
        evictions = [one for track, _, one, _ in slices if track == 3]
        self.assertEqual([one["storage"] for event in evictions for one in event["args"]["storages"]], wanted[::-1])
        for event in evictions:
            self.assertEqual(event["args"]["bytes"], sum(one["bytes"] for one in event["args"]["storages"]))

        sections = self.page_data(trace, "--budget", "60%", "--no-frontier")["sections"][:2]
        for process, section, peak in ((1, sections[0], "plain_peak_bytes"), (2, sections[1], "predicted_peak_bytes")):
            counts = [one for one in events if one["ph"] == "C" and one["pid"] == process]
            memory = [one for one in counts if one["name"] == "memory"]
            self.assertEqual([round(1000 * one["ts"]) for one in memory], section["x"]["values"])
            for series in (one for one in section["series"] if not one.get("beside")):
                self.assertEqual([one["args"][series["name"]] for one in memory], series["values"])
            totals = [one["args"]["bytes"] for one in counts if one["name"] == "memory in all"]
            self.assertEqual(totals, [sum(one["args"].values()) for one in memory])
            self.assertEqual(max(totals), told[peak])
        self.assertEqual({one["args"]["bytes"] for one in counts if one["name"] == "budget"}, {told["budget_bytes"]})

    def test_a_chrome_trace_nests_operators_in_modules_in_a_phase(self):
        trace = self.write("nested.jsonl", step_of(["block.one", "block.two"]))
        events = json.loads(self.export("step.json", trace, form="chrome").read_text())["traceEvents"]
        self.assertEqual({one["pid"] for one in events}, {1})
        slices = sorted(children(events, 1), key=lambda one: (one[2]["ts"], one[1]))
        self.assertEqual([(depth, one["name"], one["ts"], end) for _, depth, one, end in slices], [
            (0, "forward", 0, 2), (1, "block", 0, 2), (2, "block.one", 0, 1), (3, "aten::mm", 0, 1),
            (2, "block.two", 1, 2), (3, "aten::mm", 1, 2),
            (0, "backward", 2, 6), (1, "block", 2, 6), (2, "block.two", 2, 4), (3, "aten::mm_backward", 2, 4),
            (2, "block.one", 4, 6), (3, "aten::mm_backward", 4, 6)])

    # ------------------------------------------------------------ memory-viz

    def follow(self, snapshot):
        """The live bytes after each entry. Fails where two allocations lie on each other, or leave the segment."""
        self.assertEqual(snapshot["device_traces"][0][0]["action"], "segment_alloc")
        segment = snapshot["segments"][0]
        live, sums, requested = {}, [], set()
        for entry in snapshot["device_traces"][0][1:]:
            address, size = entry["addr"], entry["size"]
            if entry["action"] == "alloc":
                self.assertGreater(size, 0)
                self.assertNotIn(address, live)
                live[address] = size
                self.assertTrue(segment["address"] <= address and address + size <= segment["address"] + segment["total_size"])
            elif entry["action"] == "free_requested":
                self.assertEqual(live[address], size)
                requested.add(address)
            else:
                self.assertEqual(entry["action"], "free_completed")
                requested.remove(address)
                del live[address]
            sums.append(sum(live.values()))
        self.assertEqual(requested, set())
        ends = {block["address"]: block["size"] for block in segment["blocks"] if block["state"] == "active_allocated"}
        self.assertEqual(ends, live)
        self.assertEqual(sum(block["size"] for block in segment["blocks"]), segment["total_size"])
        return sums

    def test_a_memory_snapshot_reaches_the_peak_exactly_and_never_overlaps(self):
        trace = self.traced()
        told, _ = self.plan_of(trace, "60%")
        plain = read_pickle(self.export("plain.pickle", trace, form="memory-viz"))
        self.assertEqual(max(self.follow(plain)), told["plain_peak_bytes"])
        planned = read_pickle(self.export("planned.pickle", trace, "--budget", "60%", form="memory-viz"))
        self.assertEqual(max(self.follow(planned)), told["predicted_peak_bytes"])
        self.assertEqual(planned["segments"][0]["total_size"], told["arena_bytes"])
        for snapshot in (plain, planned):
            entries = snapshot["device_traces"][0][1:]
            names = {op["name"] for line in trace.read_text().splitlines() if "op" in (op := json.loads(line))}
            self.assertTrue({entry["frames"][0]["name"] for entry in entries} <=
                            names | {f"storage {number}" for number in range(10_000)})
            self.assertTrue(any(frame["name"] == "block1.0" for entry in entries for frame in entry["frames"]))
            self.assertEqual({entry["category"] for entry in entries if entry["action"] == "alloc"}, set(CATEGORIES))
            times = [entry["time_us"] for entry in entries]
            self.assertEqual(times, sorted(times))

    def test_a_memory_snapshot_has_the_bytes_that_are_counted_by_hand(self):
        snapshot = read_pickle(self.export("one.pickle", self.write("one.jsonl", step_of(["a.b"])), form="memory-viz"))
        mib = 1 << 20
        self.assertEqual(self.follow(snapshot), [4000, 4000 + mib,  # the parameter, what the forward makes
                                                 4000 + mib + 100, 8000 + mib + 100, 8000 + mib + 100, 8000 + mib,
                                                 8000 + mib, 8000])
        frames = [[frame["name"] for frame in entry["frames"]] for entry in snapshot["device_traces"][0]]
        self.assertEqual(frames[1:3], [["storage 0", "a.b", "a", "parameters"], ["aten::mm", "a.b", "a", "forward"]])

    def test_a_pickle_has_only_opcodes_of_plain_data_in_parts_that_a_browser_takes(self):
        trace = self.write("long.jsonl", step_of([f"block{i}" for i in range(3000)]))
        data = self.export("long.pickle", trace, form="memory-viz").read_bytes()
        self.assertEqual(data[:2], b"\x80\x02")
        seen, items, most = set(), [], 0
        for opcode, _, _ in pickletools.genops(data):
            seen.add(opcode.name)
            if opcode.name == "MARK":
                items.append(0)
            elif opcode.name in ("APPENDS", "SETITEMS"):
                most = max(most, items.pop())
            if items and opcode.stack_after and opcode.name not in ("MARK", "APPENDS", "SETITEMS", "LONG_BINPUT"):
                items[-1] += 1
        self.assertLessEqual(seen, {"PROTO", "BININT", "BININT1", "LONG1", "BINUNICODE", "EMPTY_LIST", "EMPTY_DICT", "MARK",
                                    "APPENDS", "SETITEMS", "NEWFALSE", "LONG_BINPUT", "LONG_BINGET", "STOP"})
        self.assertEqual(most, 1000)
        self.follow(NoNames(io.BytesIO(data)).load())

    # ------------------------------------------------------------ tensorboard

    def test_a_file_of_scalars_has_right_sums_and_a_file_for_each_training(self):
        for name in ("a", "b"):
            self.assert_ended(neap("train", *SMALL, "--steps", 4, "--out", self.folder / name), 0)
        logs = self.export("logs", self.folder / "a", self.folder / "b", form="tensorboard")
        files = sorted(logs.rglob("*"))
        self.assertEqual([file.relative_to(logs).parts[0] for file in files if file.is_file()], ["a", "b"])
        for file in files:
            if not file.is_file():
                continue
            self.assertRegex(file.name, r"^events\.out\.tfevents\.\d{10}\.neap$")
            events = list(records(file.read_bytes()))
            self.assertIn(b"brain.Event:2", events[0])
            self.assertEqual(sum(b"loss" in event for event in events), 4)
            self.assertFalse(any(b"accuracy" in event for event in events))
            before = file.read_bytes()
            self.export("logs", self.folder / "a", self.folder / "b", form="tensorboard")
            self.assertEqual(file.read_bytes(), before)
        self.assertEqual(sorted(logs.rglob("*")), files)

    # ------------------------------------------------------------ names and errors

    def test_hostile_names_stay_names_in_every_format(self):
        for name in (EVIL, NASTY):
            trace = self.write("evil.jsonl", step_of([name]))
            events = json.loads(self.export("evil.json", trace, form="chrome").read_text())["traceEvents"]
            self.assertIn(name, [one["args"].get("layer") for one in events if one["ph"] == "B"])
            snapshot = read_pickle(self.export("evil.pickle", trace, form="memory-viz"))
            self.assertIn(name, {frame["name"] for entry in snapshot["device_traces"][0] for frame in entry["frames"]})

    def test_a_training_in_a_folder_whose_name_is_not_utf_8(self):
        folder = pathlib.Path(str(self.folder) + "/a\udcff,\"b\"\n")
        folder.mkdir()
        (folder / "run.jsonl").write_text('{"event":"step","step":1,"loss":2.5}\n')
        out = self.folder / "out.json"
        self.assert_ended(neap("report", folder, "--format", "json", "-o", out), 0)
        self.assertEqual(json.loads(out.read_text())["trainings"][0]["training"], "a\ufffd,\"b\"\n")
        self.assert_ended(neap("report", folder, "--format", "csv", "-o", self.folder / "csv"), 0)
        with open(self.folder / "csv" / "trainings.csv", newline="", encoding="utf-8") as file:
            self.assertEqual(list(csv.reader(file))[1][0], "a\ufffd,\"b\"\n")
        self.assert_ended(neap("report", folder, "--format", "tensorboard", "-o", self.folder / "logs"), 0)
        self.assertEqual(len([file for file in (self.folder / "logs").rglob("events*")]), 1)

    def test_a_format_refuses_what_it_cannot_hold(self):
        trace, other = self.write("one.jsonl", step_of(["a"])), self.write("two.jsonl", step_of(["a"]))
        run = self.write("run.jsonl", '{"event":"step","step":1,"loss":2.5}\n')
        out = self.folder / "out"
        for form in ("chrome", "memory-viz"):
            for arguments, told in (([run], f"--format {form} takes a traced step, and {run} is a training"),
                                    ([trace, other], f"--format {form} takes one traced step, and there are 2"),
                                    ([trace, "--points", 4], "--points is for the frontier"),
                                    ([trace, "--no-frontier"], "--no-frontier is for the frontier")):
                with self.subTest(form, told=told):
                    self.assert_ended(neap("report", *arguments, "--format", form, "-o", out), 2, told)
        for arguments, told in (([trace], f"--format tensorboard takes trainings, and {trace} is none"),
                                ([run, "--budget", "30%"], "--budget is for traced steps")):
            self.assert_ended(neap("report", *arguments, "--format", "tensorboard", "-o", out), 2, told)
        self.assertFalse(out.exists())

    def test_a_folder_is_written_whole_or_not_at_all(self):
        trace = self.write("one.jsonl", step_of([f"block{i}" for i in range(500)]))
        run = self.write("run.jsonl", '{"event":"step","step":1,"loss":2.5}\n')
        self.assert_ended(neap("report", run, "--format", "csv", "-o", run), 2, "FILE and -o name the same file")
        self.assert_ended(neap("report", run, "--format", "csv", "-o", trace), 1, "-o: ", "is no folder")
        self.assert_ended(neap("report", run, "--format", "tensorboard", "-o", trace / "below"), 1, "-o: ", "is no folder")
        broken = self.write("broken.jsonl", '{"event":"dance"}\n')
        deep = self.folder / "new" / "deep"
        self.assert_ended(neap("report", broken, "--format", "csv", "-o", deep), 1, "line 1")
        self.assertFalse((self.folder / "new").exists())

        # A limit on the size of a file, as a disk that is full: the last of the tables does not fit.
        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 15, 1 << 15))
        arguments = ["report", run, trace, "--no-frontier", "--format", "csv", "-o", deep]
        self.assert_ended(neap(*arguments, preexec_fn=limit), 1, "-o: ", "timeline.csv")
        self.assertFalse((self.folder / "new").exists())
        deep.mkdir(parents=True)
        (deep / "trainings.csv").write_text("older")
        self.assert_ended(neap(*arguments, preexec_fn=limit), 1, "-o: ", "timeline.csv")
        self.assertEqual([(file.name, file.read_text()) for file in deep.iterdir()], [("trainings.csv", "older")])
        self.assert_ended(neap(*arguments), 0)
        self.assertIn("trainings.csv", [file.name for file in deep.iterdir()])
        self.assertNotEqual((deep / "trainings.csv").read_text(), "older")


if __name__ == "__main__":
    unittest.main()
