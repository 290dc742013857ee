#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The tools that read measurements, on reports made up here: nothing is timed."""

import json, os, subprocess, sys, tempfile, unittest
import xml.etree.ElementTree as xml

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import chart, cliffs, growth, judge

WORKLOADS = {w["id"]: w for w in judge.read_workloads(os.path.join(HERE, "workloads.json"))[1]}
DECODERS = os.path.join(HERE, "workloads-decoders.json")


def row(name, ratio, ms=10.0):
    return dict(workload=name, attn_ms=ms, peer="torch", peer_ms=ms * ratio, ratio=ratio, target=WORKLOADS[name]["target"])


class Files(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def write(self, name, content):
        path = os.path.join(self.folder.name, name)
        with open(path, "w") as f:
            f.write(content if isinstance(content, str) else json.dumps(content))
        return path

    def run_tool(self, tool, *arguments):
        p = subprocess.run([sys.executable, os.path.join(HERE, tool), *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        return p.returncode, p.stdout, p.stderr


class Judge(Files):
    def judge(self, rows, shares, isa, *more):
        names = ",".join(r["workload"] for r in rows)
        lines = "".join(json.dumps(dict(workload=k, share=v)) + "\n" for k, v in shares.items())
        return self.run_tool("judge.py", self.write("report.json", rows), "--shares", self.write("shares", lines),
                             "--isa", isa, "--only", names, *more)  # fmt: skip

    def test_classes(self):
        wanted = {}
        for name, w in WORKLOADS.items():
            wanted.setdefault(judge.wanted_share(w), []).append(name)
        self.assertEqual({k: len(v) for k, v in wanted.items()}, {0.92: 5, 0.88: 10, 0.85: 11, 0.82: 2, 0.80: 1, 0.65: 1, 0.50: 1, None: 7})
        self.assertIn("ring_4k_padded", wanted[0.92])
        self.assertIn("mhca_adaptive", wanted[0.88])
        self.assertIn("gqa_decode_b8", wanted[0.85])
        self.assertIn("capsule_128", wanted[None])

    def test_share_and_ratio(self):
        code, out, _ = self.judge([row("mha_vit_b16", 1.07), row("fnet_512", 2.0)], {"mha_vit_b16": 0.95}, "avx2")
        self.assertEqual((code, out.splitlines()[-1]), (0, "2 passed, 0 failed"))
        code, out, _ = self.judge([row("mha_vit_b16", 1.07)], {"mha_vit_b16": 0.80}, "avx2")
        self.assertEqual(code, 1)
        self.assertIn("misses: mha_vit_b16: share 0.8, wanted 0.92\n", out)
        self.assertNotIn("again", out)
        # Near the limit of the machine there is nothing more to win.
        self.assertEqual(self.judge([row("mha_vit_b16", 0.99)], {"mha_vit_b16": 0.93}, "avx2")[0], 0)
        code, out, _ = self.judge([row("window_swin_t1", 1.04)], {"window_swin_t1": 0.89}, "avx2")
        self.assertEqual(code, 1)
        self.assertIn("measure again: versus.py --only window_swin_t1 --rounds 7", out)

    def test_targets_of_avx512(self):
        rows, shares = [row("gqa_prefill", 1.27)], {"gqa_prefill": 0.95}
        self.assertEqual(self.judge(rows, shares, "avx2")[0], 0)
        code, out, _ = self.judge(rows, shares, "avx512")
        self.assertEqual(code, 1)
        self.assertIn("target 1.27, wanted 1.28", out)
        self.assertIn("| target (0.96) |", out)

    def test_by_target_alone(self):
        names = [w["id"] for w in judge.read_workloads(DECODERS)[1]]
        self.assertEqual(len(set(names)), 6)
        for ratio, passed in (1.2, 6), (1.19, 0):
            report = self.write("r", [dict(workload=n, attn_ms=10.0, ratio=ratio) for n in names])
            arguments = [report, "--shares", self.write("s", '{"workload": "x", "share": 1}\n'), "--isa", "avx2"]
            _, out, _ = self.run_tool("judge.py", *arguments, "--workloads", DECODERS)
            self.assertEqual(out.splitlines()[-1], "%d passed, %d failed" % (passed, 6 - passed))

    def test_mean_of_all(self):
        rows = [row(name, 1.4) for name in WORKLOADS]
        arguments = [self.write("report.json", rows), "--shares", self.write("shares", "".join(
            json.dumps(dict(workload=name, share=1.0)) + "\n" for name in WORKLOADS)), "--isa", "avx2"]  # fmt: skip
        code, out, _ = self.run_tool("judge.py", *arguments)
        self.assertEqual((code, out.splitlines()[-1]), (1, "38 passed, 1 failed"))
        self.assertIn("geometric mean 1.400, wanted 1.45", out)

    def test_what_is_not_there_misses(self):
        missing = dict(row("ring_8k", 1.5), attn_ms=None, ratio=None)
        code, out, _ = self.judge([missing], {"x": 1}, "avx2")
        self.assertEqual(code, 1)
        self.assertIn("ring_8k: result", out)
        code, out, _ = self.judge([row("ring_8k", 1.5)], {"x": 1}, "avx2")
        self.assertIn("ring_8k: share", out)
        code, _, err = self.run_tool("judge.py", self.write("r", []), "--shares", self.write("s", "nothing\n"))
        self.assertEqual(code, 1)
        self.assertIn("no share in it", err)

    def test_later_files_and_tables(self):
        head = "| workload | attn ms | best float32 peer | ms | ratio | target | share | bf16 peer ms |\n|---|---|---|---|---|---|---|---|\n"
        line = "| gated_lm | 1 | torch | 2 | 1.3 (short) | 1.33 | %s | - |\n"
        first, again = [self.write(n, [row("gated_lm", x)]) for n, x in (("a", 1.0), ("b", 1.2))]
        tables = [self.write(n, head + line % x) for n, x in (("c", 0.80), ("d", 0.89))]
        common = ["--isa", "avx2", "--only", "gated_lm"]
        self.assertEqual(self.run_tool("judge.py", first, "--shares", tables[0], *common)[0], 1)
        self.assertEqual(self.run_tool("judge.py", first, again, "--shares", *tables, *common)[0], 0)


class Chart(Files):
    def test_bars(self):
        rows = [row("mha_vit_b16", 1.25), row("window_swin_b3", 0.8), dict(row("rpc_64", 1), ratio=None)]
        path = os.path.join(self.folder.name, "x.svg")
        code, _, err = self.run_tool("chart.py", self.write("r.json", rows), "--output", path, "--title", "a < b")
        self.assertEqual(code, 0, err)
        name = "{http://www.w3.org/2000/svg}"
        bars = [r for r in xml.parse(path).iter(name + "rect") if r.get("fill") in (chart.AHEAD, "url(#behind)")]
        ahead, behind = (next(b for b in bars if b.get("fill") == f) for f in (chart.AHEAD, "url(#behind)"))
        self.assertEqual(len(bars), 2)
        # As far to the right as to the left: 1.25 = 1 / 0.8.
        self.assertAlmostEqual(float(ahead.get("width")), float(behind.get("width")), delta=0.11)
        self.assertAlmostEqual(float(behind.get("x")) + float(behind.get("width")), float(ahead.get("x")), delta=0.11)

    def test_nothing_to_draw(self):
        code, _, err = self.run_tool("chart.py", self.write("r.json", []), "--output", "/dev/null")
        self.assertEqual(code, 1)
        self.assertIn("no ratios", err)


class Sweeps(unittest.TestCase):
    def test_slope(self):
        self.assertAlmostEqual(growth.slope([(n, 3 * n**2) for n in (1, 2, 4)]), 2)
        self.assertIsNone(growth.slope([(1, 1), (2, 2)]))

    def test_every_type_has_lengths(self):
        self.assertLessEqual({w["type"] for w in WORKLOADS.values()}, set(growth.CASES))
        for kind, (_, _, _, lengths, _, _) in growth.CASES.items():
            self.assertGreaterEqual(len(lengths), 3, kind)
        ids = [w["id"] for w in growth.workloads(growth.CASES, None)]
        self.assertEqual(len(ids), len(set(ids)))

    def test_neighbours(self):
        cheap, dear = dict(cpu_ms_min=2.0, ms_limit=1.0), dict(cpu_ms_min=9.0, ms_limit=3.0)
        self.assertAlmostEqual(cliffs.ratio(cheap, dear), 1.5)
        self.assertAlmostEqual(cliffs.ratio(dear, cheap), 1.5)


if __name__ == "__main__":
    unittest.main()
