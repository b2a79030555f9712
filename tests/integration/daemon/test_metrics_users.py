#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Whoever names metrics names those the daemon prints: the Grafana dashboard, the sample alert rules, the page that
documents them. Usage: test_metrics_users.py HOMENODED_FAKE SOURCE_ROOT [unittest arguments]"""

import json
import os
import re
import sys
import tempfile
import unittest

from control_client import Daemon, wait_for

FAKE, SOURCE = (os.path.abspath(path) for path in sys.argv[1:3])
NAME = re.compile(r"\bhomenode_[a-z0-9_]+")


def read(path):
    with open(os.path.join(SOURCE, path), encoding="utf-8") as file:
        return file.read()


def printed():
    """Families (sample name → type, as documented) and the samples' labels, of a captured machine with guests."""
    with tempfile.NamedTemporaryFile("w", suffix=".ini") as guests:
        with open(os.path.join(SOURCE, "tests/fixtures/hosts/two-nodes/domains.ini"), encoding="utf-8") as file:
            guests.write(file.read().replace("kvm=true", "kvm=true\nplacement=<placement mode='auto'/>"))
        guests.flush()
        daemon = Daemon(FAKE, "--connect", f"fake:{guests.name}", "--sysroot",
                        os.path.join(SOURCE, "tests/fixtures/hosts/two-nodes/root"))
        try:
            daemon.start()
            wait_for(lambda: daemon.call("query-host")["rounds"] > 0, "a round")
            text = daemon.call("metrics")["text"]
        finally:
            daemon.close()
    suffix = {"counter": "_total", "info": "_info", "histogram": "_bucket"}
    families = {name + suffix.get(kind, ""): kind
                for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M)}
    labels = {}
    for name, body in re.findall(r"^(homenode_[a-z_]+)(\{.*\})? \S+$", text, re.M):
        labels.setdefault(name, set()).update(re.findall(r'([a-z]+)="', body))
    return families, labels


class MetricsUsers(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.families, cls.labels = printed()

    def setUp(self):
        self.assertGreater(len(self.families), 20)

    def test_page(self):
        rows = re.findall(r"^\| `(homenode_\w+)` \| (\w+) \|\s*([^|]*?)\s*\|", read("docs/metrics.md"), re.M)
        self.assertEqual({name: kind for name, kind, _ in rows}, self.families)
        for name, _, labels in rows:
            if name in self.labels:  # accesses are sampled by no captured machine
                self.assertEqual(set(re.findall(r"`(\w+)`", labels)), self.labels[name], name)

    def test_dashboard(self):
        dashboard = json.loads(read("data/grafana/homenode.json"))
        exprs = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
        exprs += [variable["definition"] for variable in dashboard["templating"]["list"] if "definition" in variable]
        named = {name for expr in exprs for name in NAME.findall(expr)}
        self.assertEqual(named - set(self.families), set())
        self.assertEqual(set(self.families) - named, set())  # every metric has a panel
        for panel in dashboard["panels"]:
            for target in panel.get("targets", []):
                known = set().union({"instance"}, *(self.labels.get(n, set()) for n in NAME.findall(target["expr"])))
                used = re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])
                self.assertLessEqual(set(used), known | {"uuid", "domain"}, panel["title"])

    def test_dashboard_is_laid_out(self):
        panels = json.loads(read("data/grafana/homenode.json"))["panels"]
        self.assertEqual(len({panel["id"] for panel in panels}), len(panels))
        taken = set()
        for panel in panels:
            place = panel["gridPos"]
            cells = {(x, y) for x in range(place["x"], place["x"] + place["w"])
                     for y in range(place["y"], place["y"] + place["h"])}
            self.assertFalse(cells & taken, panel["title"])
            self.assertLessEqual(place["x"] + place["w"], 24, panel["title"])
            taken |= cells

    def test_rules(self):
        text = read("data/prometheus/homenode.rules.yml")
        exprs = re.findall(r"^ +expr: (.+)$", text, re.M)
        self.assertEqual(len(exprs), len(re.findall(r"^ +- alert: Homenode\w+$", text, re.M)))
        self.assertGreater(len(exprs), 5)
        for expr in exprs:
            self.assertTrue(NAME.findall(expr), expr)
            self.assertLessEqual(set(NAME.findall(expr)), set(self.families))
            self.assertEqual(expr.count("("), expr.count(")"))


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]], verbosity=2)
