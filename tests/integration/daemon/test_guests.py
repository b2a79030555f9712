#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What the built homenoded does with guests of the fake back end, with orders, and with captured machines."""

import contextlib
import glob
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time

from control_client import wait_for
from daemon_test import AUTO, FAKE, HOMENODED, SOURCE, UUID, DaemonTest, main, run


class OverFake(DaemonTest):
    """Guests that come, go and change: the file behind the fake back end is rewritten."""

    def setUp(self):
        self.directory = tempfile.TemporaryDirectory()
        self.addCleanup(self.directory.cleanup)
        self.file = os.path.join(self.directory.name, "guests.ini")
        self.guests = {}
        self.guest("web", 1, AUTO)
        self.guest("db", 2, None)
        self.write()
        self.up = self.daemon(FAKE, "--connect", f"fake:{self.file}", config="[daemon]\nevent-delay = 10ms\n").start()
        wait_for(lambda: len(self.rows()) == 2, "two domains")

    def guest(self, name, number, placement, **more):
        self.guests[name] = {"uuid": UUID % number, "kvm": "true", "memory": "pc.ram:-1:67108864", "vcpus": "-1;-1",
                             **({"placement": placement} if placement is not None else {}), **more}

    def write(self, **fake):
        groups = {**self.guests, **({"fake": fake} if fake else {})}
        with open(self.file, "w", encoding="utf-8") as file:
            for name, keys in groups.items():
                file.write(f"[{name}]\n" + "".join(f"{key}={value}\n" for key, value in keys.items()))

    def change(self, **fake):
        self.write(**fake)
        self.up.signal(signal.SIGUSR1)

    def rows(self):
        return {row["name"]: row for row in self.up.call("query-domains")["domains"]}

    def wait_for_row(self, name, what, condition):
        return wait_for(lambda: name in self.rows() and condition(self.rows()[name]), what)

    def test_opt_in_and_out(self):
        rows = self.rows()
        self.assertTrue(rows["web"]["is-managed"])
        self.assertFalse(rows["db"]["is-managed"])
        self.guest("db", 2, "<placement mode='advise'/>")
        self.guest("web", 1, "<placement mode='off'/>")
        self.change()
        self.wait_for_row("db", "opt-in", lambda row: row["mode"] == "advise" and row["is-managed"])
        self.wait_for_row("web", "opt-out", lambda row: row["mode"] == "off" and not row["is-managed"])

    def test_bad_metadata(self):
        for bad in ("<placement mode='sometimes'/>", "<placement mode='auto' colour='red'/>", "<placement",
                    "<placement mode='auto' nodeset='77'/>"):
            self.guest("db", 2, bad)
            self.change()
            self.wait_for_row("db", f"refusal of {bad}", lambda row: row["status"] == "invalid")
            self.assertFalse(self.rows()["db"]["is-managed"])
            self.assertTrue(self.rows()["web"]["is-managed"])
            self.guest("db", 2, None)
            self.change()
            self.wait_for_row("db", "recovery", lambda row: row["status"] == "unmanaged")
        self.assertRegex(self.up.log(), "db is left alone, its placement element is wrong: .*sometimes")
        entries = self.up.call("history", domain="db")["entries"]
        self.assertEqual(entries[0]["reason"], "bad-metadata")

    def test_domains_come_and_go(self):
        self.guest("late", 3, AUTO)
        self.change()
        self.wait_for_row("late", "a new domain", lambda row: row["is-managed"])
        del self.guests["web"]
        self.change()
        wait_for(lambda: "web" not in self.rows(), "a domain's end")
        self.assert_fails("No running domain 'web'", self.up.call, "explain", domain="web")

    def test_connection_lost_and_found(self):
        self.up.call("pause", domains=["web"])
        self.change(connected="false")
        wait_for(lambda: not self.up.call("query-host")["is-connected"], "the loss")
        self.assertEqual(len(self.rows()), 2)  # kept
        self.assert_fails("could not be observed", self.up.call, "query-plan")
        rounds = self.up.call("query-host")["rounds"]
        self.change()
        wait_for(lambda: self.up.call("query-host")["rounds"] > rounds, "a round after it")
        self.assertIn("no connection", self.up.log())

    def test_hold_and_release(self):
        self.up.call("pause", domains=["web"])
        self.assert_fails("is paused; 'homenode resume web' first", self.up.call, "rebalance", domains=["web"])
        self.up.call("resume", domains=["web"])
        self.up.call("release", domains=["web"])
        self.wait_for_row("web", "release", lambda row: row["status"] == "released")
        self.up.call("rebalance", domains=["web"])
        self.wait_for_row("web", "return", lambda row: row["status"] != "released" and row["is-managed"])


class Orders(DaemonTest):
    """What the operator ordered outlives the daemon, and ends with the guest's process."""

    def setUp(self):
        self.directory = tempfile.TemporaryDirectory()
        self.addCleanup(self.directory.cleanup)
        self.file = os.path.join(self.directory.name, "guests.ini")
        self.run_dir = os.path.join(self.directory.name, "run")
        self.begin_guests()
        self.up = self.start()

    def begin_guests(self):
        self.processes = [self.stand_in(0), self.stand_in(1)]
        self.write()

    def stand_in(self, number):
        """A process that says it is the QEMU of that guest."""
        # pylint: disable=consider-using-with
        process = subprocess.Popen(["qemu-system-x86_64", "-c", "import time; time.sleep(600)", "-uuid",
                                    UUID % number], executable=sys.executable)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def write(self):
        with open(self.file, "w", encoding="utf-8") as file:
            for number, name in enumerate(("web", "db")):
                file.write(f"[{name}]\nuuid={UUID % number}\npid={self.processes[number].pid}\nkvm=true\n"
                           f"memory=pc.ram:-1:67108864\nvcpus=-1\nplacement={AUTO}\n")

    def start(self, *arguments):
        up = self.daemon(FAKE, "--connect", f"fake:{self.file}", *arguments, runtime_dir=self.run_dir).start()
        wait_for(lambda: len(up.call("query-domains")["domains"]) == 2, "two domains")
        return up

    def status(self):
        return {row["name"]: row["status"] for row in self.up.call("query-domains")["domains"]}

    def assert_held(self, *names):
        """Whatever the host: on one with a single node the table says that first."""
        for name in names:
            self.assert_fails(rf"is paused; 'homenode resume( {name})?' first", self.up.call, "rebalance", domains=[name])

    def end(self, how):
        if how == "kill":
            self.up.kill()
        else:
            self.assertEqual(self.up.stop(), 0)

    def test_outlive_the_daemon(self):
        for how in ("stop", "kill"):
            with self.subTest(how):
                self.up.call("pause", domains=["web"])
                self.up.call("release", domains=["db"])
                self.end(how)
                self.up = self.start()
                self.assertEqual(self.status()["db"], "released")
                self.assert_held("web")
                self.assertIn("orders of before still stand: 1 paused, 1 released", self.up.log())
                self.up.call("resume", domains=["web", "db"])
                self.end(how)
                self.up = self.start()
                self.assertNotIn("released", self.status().values())
                self.up.call("rebalance", domains=["web", "db"])
                self.assertFalse(os.path.exists(os.path.join(self.run_dir, "state")))

    def test_host_stays_paused(self):
        self.up.call("pause")
        self.end("kill")
        self.up = self.start()
        self.assertTrue(self.up.call("query-host")["is-paused"])
        self.assert_held("web", "db")
        self.up.call("resume")
        self.end("kill")
        self.up = self.start()
        self.assertFalse(self.up.call("query-host")["is-paused"])

    def test_end_with_the_process(self):
        self.up.call("pause", domains=["web"])
        self.up.call("release", domains=["db"])
        self.end("kill")
        for process in self.processes:
            process.kill()
            process.wait()
        self.begin_guests()
        self.up = self.start()
        state = os.path.join(self.run_dir, "state")
        wait_for(lambda: len(self.status()) == 2 and not os.path.exists(state), "new guests without old orders")
        self.assertNotIn("released", self.status().values())
        self.up.call("rebalance", domains=["web"])

    def test_settings_return_to_the_file(self):
        self.up.call("set", key="placement.min-gain", value="7%")
        self.end("stop")
        self.up = self.start()
        keys = {key["key"]: key["value"] for key in self.up.call("query-config")["keys"]}
        self.assertEqual(keys["placement.min-gain"], "5%")

    def test_damage_pauses(self):
        self.end("stop")
        with open(os.path.join(self.run_dir, "state"), "w", encoding="utf-8") as file:
            file.write("version 7\nend\n")
        self.up = self.start()
        self.assertIn("not version 1", self.up.log())
        self.assertTrue(self.up.call("query-host")["is-paused"])
        self.up.call("resume")
        self.end("kill")
        self.up = self.start()
        self.assertFalse(self.up.call("query-host")["is-paused"])

    def test_other_boot(self):
        self.up.call("pause")
        self.end("kill")
        path = os.path.join(self.run_dir, "state")
        with open(path, encoding="utf-8") as file:
            text = re.sub(r"(?m)^boot-id .*$", "boot-id 00000000-0000-4000-8000-000000000000", file.read())
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        self.up = self.start()
        self.assertFalse(self.up.call("query-host")["is-paused"])
        self.assertFalse(os.path.exists(path))

    def test_dry_run_neither_reads_nor_writes(self):
        self.up.call("pause")
        self.end("kill")
        with open(os.path.join(self.run_dir, "state"), encoding="utf-8") as file:
            before = file.read()
        self.up = self.start("--dry-run")
        self.assertFalse(self.up.call("query-host")["is-paused"])
        self.up.call("pause", domains=["db"])
        self.end("stop")
        with open(os.path.join(self.run_dir, "state"), encoding="utf-8") as file:
            self.assertEqual(file.read(), before)


class CapturedMachines(DaemonTest):
    """Every captured machine of tests/fixtures/hosts: each of its domains gets a verdict with a reason."""

    def test_verdicts(self):
        captures = sorted(glob.glob(os.path.join(SOURCE, "tests/fixtures/hosts/*/domains.ini")))
        self.assertTrue(captures)
        for capture in captures:
            with self.subTest(os.path.basename(os.path.dirname(capture))), tempfile.TemporaryDirectory() as directory:
                config = os.path.join(directory, "c")
                with open(config, "w", encoding="utf-8") as file:
                    file.write("[daemon]\nround-interval = 100ms\n")
                ended = run(FAKE, "--once", "--connect", f"fake:{capture}", "--runtime-dir", directory, "--sysroot",
                            os.path.join(os.path.dirname(capture), "root"), "--config", config)
                self.assertEqual(ended.returncode, 0, ended.stderr)
                plan = json.loads(ended.stdout)
                with open(capture, encoding="utf-8") as file:
                    names = re.findall(r"^\[(.+)\]$", file.read(), re.M)
                self.assertEqual(sorted(verdict["name"] for verdict in plan["verdicts"]), sorted(names))
                for verdict in plan["verdicts"]:
                    self.assertTrue(verdict["reason"] and verdict["sentence"])
                self.assertEqual(plan["actions"], [])  # nobody opted in

    @contextlib.contextmanager
    def two_nodes(self, **lines):
        """A daemon that has made some rounds over a host of two nodes; @lines are added to its guests of that name."""
        capture = os.path.join(SOURCE, "tests/fixtures/hosts/two-nodes")
        with open(os.path.join(capture, "domains.ini"), encoding="utf-8") as file:
            guests = file.read()
        for name, added in lines.items():
            guests = guests.replace(f"[{name}]\n", f"[{name}]\n{added}\n")
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "guests.ini")
            with open(path, "w", encoding="utf-8") as file:
                file.write(guests)
            up = self.daemon(FAKE, "--connect", f"fake:{path}", "--sysroot", os.path.join(capture, "root"),
                             config="[daemon]\nround-interval = 100ms\n").start()
            wait_for(lambda: up.call("query-host")["rounds"] >= 4, "some rounds")
            yield up

    def test_two_nodes(self):
        """Guests captured on a host with two nodes, now opted in: what would be done, and why not."""
        with self.two_nodes(g1="placement=<placement mode='auto' nodeset='5'/>", g3=f"placement={AUTO}") as up:
            rows = {row["name"]: row for row in up.call("query-domains")["domains"]}
            self.assertEqual(rows["g1"]["reason"], "bad-metadata")
            self.assertIn("nodeset", rows["g1"]["sentence"])
            self.assertEqual(rows["g2"]["reason"], "not-opted-in")
            self.assertTrue(rows["g3"]["is-managed"])
            self.assertEqual(rows["g3"]["mode"], "advise")  # a captured machine is never acted upon
            self.assertEqual(sum(node["bytes"] for node in rows["g3"]["bytes-per-node"]),
                             rows["g3"]["resident-bytes"])
            self.assert_fails("Node 9 does not exist; nodes that can be a home: 0, 1", up.call, "query-plan",
                              domains=["g3"], node=9)
            explained = up.call("explain", domain="g3")
            self.assertEqual([other["node"] for other in explained["alternatives"]], [0, 1])
            self.assertGreater(max(other["cost-after"]["total-ns-per-sec"] for other in explained["alternatives"]), 0)
            self.assertIn("lie on node", explained["why-here"])
            self.assertFalse(up.call("query-host")["is-single-node"])
            self.assertEqual(up.call("query-plan", domains=["g3"], node=1)["actions"], [])
            for row in rows.values():
                self.assertEqual(row["moves"], 0)

    def test_order_away_from_memory(self):
        """An order that would take the vCPUs of a confidential guest away from its memory is refused, and says why."""
        with self.two_nodes(g3=f"placement={AUTO}\nconfidential=true") as up:
            row = next(row for row in up.call("query-domains")["domains"] if row["name"] == "g3")
            there = max(row["bytes-per-node"], key=lambda node: node["bytes"])
            self.assertGreater(there["bytes"], row["resident-bytes"] / 2)
            for node in (0, 1):
                with self.subTest(node):
                    plan = up.call("rebalance", domains=["g3"], node=node, dry_run=True)
                    verdict = next(verdict for verdict in plan["verdicts"] if verdict["name"] == "g3")
                    self.assertNotIn("move-memory", [action["kind"] for action in plan["actions"]])
                    if node == there["node"]:
                        self.assertNotEqual(verdict["reason"], "immovable")
                        continue
                    self.assertEqual((verdict["reason"], plan["actions"]), ("immovable", []))
                    self.assertRegex(verdict["sentence"],
                                     rf"^g3 is not sent to node {node}: .* MiB of its .* MiB cannot move, because .* confidential "
                                     rf".*left behind \(.* MiB on node {there['node']}\)\. Allowed: node {there['node']}\.$")

    def test_unreadable_machine(self):
        with tempfile.TemporaryDirectory() as empty:
            daemon = self.daemon(HOMENODED, "--connect", "test:///default", "--sysroot", empty).start()
            host = wait_for(lambda: (h := daemon.call("query-host"))["failed-rounds"] > 0 and h, "a failed round")
            self.assertTrue(host["last-error"])
            self.assertTrue(host["is-dry-run"])
            self.assert_fails("could not be observed", daemon.call, "query-plan")
            self.assertEqual(daemon.log().count("saw nothing and changed nothing"), 1)
            missing = run(HOMENODED, "--sysroot", os.path.join(empty, "x"), "--runtime-dir", empty)
            self.assertEqual(missing.returncode, 1)
            self.assertIn(os.path.join(empty, "x"), missing.stderr)

    def test_dry_run_changes_nothing(self):
        daemon = self.daemon(HOMENODED, "--connect", "test:///default", "--dry-run").start()
        wait_for(lambda: daemon.call("query-host")["rounds"] > 0, "a round")
        self.assert_fails("--dry-run", daemon.call, "set-mode", domain="test", mode="auto")
        self.assert_fails("--dry-run", daemon.call, "release")
        self.assert_fails("--dry-run", daemon.call, "rebalance")
        self.assertEqual(daemon.call("rebalance", dry_run=True)["actions"], [])


if __name__ == "__main__":
    main()
