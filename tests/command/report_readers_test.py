#!/usr/bin/env python3
# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""report_readers_test.py NEAP [unittest arguments]: the files of neap report --format, opened by the tools that they are for.
Needs python/requirements.txt. Perfetto's package fetches its trace processor when it is first used: without it, its test is
skipped and says so."""
import calendar
import json
import pickle
import time
import unittest
from importlib import metadata

from reporting import ReportTest
from running import neap
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.cuda import _memory_viz
from traces import EVIL, NASTY, step_of

SMALL = ["--model", "mlp", "--data", "synthetic:1x8x8:10:640", "--batch-size", 32, "--threads", 1, "--quiet"]
SCALARS = {"loss", "peak_bytes", "learning_rate", "gradient_norm", "took_ms", "replays"}


class ReadersTest(ReportTest):
    def test_torch_s_memory_viz_opens_a_snapshot(self):
        trace = self.traced()
        told = json.loads(neap("plan", trace, "--budget", "60%", "--json").stdout)
        for arguments, peak in (([], "plain_peak_bytes"), (["--budget", "60%"], "predicted_peak_bytes")):
            with open(self.export("step.pickle", trace, *arguments, form="memory-viz"), "rb") as file:
                snapshot = pickle.load(file)
            entries = snapshot["device_traces"][0]
            text = _memory_viz.trace(snapshot)
            self.assertIn(f"{len(entries)} entries", text)
            self.assertEqual(text.count(" = MEM["), 0)  # each allocation is in the segment
            live = most = 0
            for entry in entries[1:]:
                live += {"alloc": 1, "free_requested": 0, "free_completed": -1}[entry["action"]] * entry["size"]
                most = max(most, live)
            self.assertEqual(most, told[peak])
            # It adds up each segment itself, and raises where blocks and segment differ.
            self.assertIn(f"total_allocated: {_memory_viz.Bytes(live)}", _memory_viz.segsum(snapshot))
            for page in (_memory_viz.trace_plot(snapshot), _memory_viz.segment_plot(snapshot)):
                self.assertIn("snapshot.pickle", page)
            flames = _memory_viz.memory(snapshot, format_flamegraph=lambda lines: lines)
            self.assertIn("block1.0", flames)
            self.assertEqual(sum(int(line.rsplit(" ", 1)[1]) for line in flames.splitlines() if "active_allocated" in line), live)

    def test_memory_viz_takes_hostile_names(self):
        for name in (EVIL, NASTY):
            with open(self.export("evil.pickle", self.write("evil.jsonl", step_of([name])), form="memory-viz"), "rb") as file:
                snapshot = pickle.load(file)
            self.assertNotIn("</script><script>", _memory_viz.trace_plot(snapshot).replace("</script>\n</body>", ""))
            self.assertIn("9 entries", _memory_viz.trace(snapshot))

    def test_tensorboard_reads_the_numbers_of_each_step(self):
        for steps, more in ((3, ["--save-every", 2]), (6, ["--resume"])):
            self.assert_ended(neap("train", *SMALL, "--steps", steps, "--clip-norm", 1, "--eval-every", 2, "--out", self.folder / "run", *more), 0)
        lines = [json.loads(line) for line in (self.folder / "run" / "run.jsonl").read_text().splitlines()]
        steps = [line for line in lines if line["event"] == "step"]
        logs = self.export("logs", self.folder / "run", form="tensorboard")
        events = EventAccumulator(str(logs / "run"), size_guidance={"scalars": 0})
        events.Reload()
        self.assertEqual(set(events.Tags()["scalars"]), SCALARS | {"test_loss", "accuracy"})
        began = [calendar.timegm(time.strptime(line["began"], "%Y-%m-%dT%H:%M:%SZ")) for line in lines if line["event"] == "run"]
        self.assertEqual(len(began), 2)
        for key in SCALARS:
            points = events.Scalars(key)
            self.assertEqual([point.step for point in points], [1, 2, 3, 4, 5, 6])
            for point, line in zip(points, steps):
                self.assertAlmostEqual(point.value, line[key], delta=abs(line[key]) * 1e-6)
            times = [point.wall_time for point in points]
            self.assertEqual(times, sorted(times))
            self.assertAlmostEqual(times[0], began[0] + steps[0]["took_ms"] / 1000, places=5)
            self.assertAlmostEqual(times[3], max(began[1], times[2]) + steps[3]["took_ms"] / 1000, places=5)
        evaluations = [line for line in lines if line["event"] == "evaluation"]
        self.assertEqual([line["step"] for line in evaluations], [2, 3, 4, 6])
        losses = {point.step: point.wall_time for point in events.Scalars("loss")}
        for key in ("test_loss", "accuracy"):
            points = events.Scalars(key)
            self.assertEqual([point.step for point in points], [2, 3, 4, 6])
            for point, line in zip(points, evaluations):
                self.assertAlmostEqual(point.value, line[key], delta=abs(line[key]) * 1e-6)
                self.assertEqual(point.wall_time, losses[point.step])

    def test_tensorboard_reads_numbers_that_float_cannot_hold_and_leaves_out_what_is_null(self):
        run = self.write("lines.jsonl", '{"event":"step","step":1,"loss":null,"replays":0,"took_ms":1e300,"gradient_norm":1e300}\n'
                                        '{"event":"step","step":2,"loss":"x","peak_bytes":9007199254740993}\n')
        logs = self.export("logs", run, form="tensorboard")
        events = EventAccumulator(str(logs / "lines.jsonl"), size_guidance={"scalars": 0})
        events.Reload()
        self.assertEqual(set(events.Tags()["scalars"]), {"replays", "took_ms", "gradient_norm", "peak_bytes"})
        self.assertEqual([point.value for point in events.Scalars("replays")], [0])
        self.assertEqual([point.value for point in events.Scalars("gradient_norm")], [float("inf")])
        self.assertEqual([point.value for point in events.Scalars("peak_bytes")], [float(1 << 53)])

    def test_perfetto_s_trace_processor_reads_a_chrome_trace(self):
        from perfetto.trace_processor import TraceProcessor
        trace = self.traced()
        told = json.loads(neap("plan", trace, "--budget", "60%", "--json").stdout)
        file = self.export("step.json", trace, "--budget", "60%", form="chrome")
        try:
            processor = TraceProcessor(trace=str(file))
        except Exception as error:  # no network to fetch it from: its package raises whatever comes
            self.skipTest(f"perfetto {metadata.version('perfetto')} has no trace processor here: {error}")
        self.addCleanup(processor.close)

        def rows(query):
            return list(processor.query(query))
        operators = sum('"op":' in line for line in trace.read_text().splitlines())
        for process, track, count in ((1, "operators", operators), (2, "operators", operators), (2, "replays", told["reruns"])):
            slices = rows("select s.ts, s.dur from slice s join thread_track t on s.track_id = t.id join thread using (utid) "
                          f"join process p using (upid) where p.pid = {process} and thread.name = '{track}' "
                          "and extract_arg(s.arg_set_id, 'args.operator') is not null")
            self.assertEqual(len(slices), count)
            self.assertTrue(all(one.dur >= 0 for one in slices))
        for counter, most in (("memory in all", told["plain_peak_bytes"]), ("budget", told["budget_bytes"])):
            self.assertEqual(rows("select max(c.value) as most from counter c join counter_track t on c.track_id = t.id "
                                  f"where t.name like '{counter}%'")[0].most, most)
        self.assertEqual(rows("select sum(value) as errors from stats where severity = 'error'")[0].errors, 0)


if __name__ == "__main__":
    unittest.main()
