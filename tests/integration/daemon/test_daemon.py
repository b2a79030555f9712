#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The built homenoded through its control sockets: over libvirt's test driver, over the fake back end, and when
things go wrong. Usage: test_daemon.py HOMENODED HOMENODED_FAKE SOURCE_ROOT [unittest arguments]"""

import collections
import contextlib
import glob
import json
import os
import random
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest

from control_client import Client, CommandError, Daemon, wait_for

HOMENODED, FAKE, SOURCE = (os.path.abspath(path) for path in sys.argv[1:4])
AUTO = "<placement mode='auto'/>"
UUID = "6c0f3a1e-0000-4000-8000-00000000000%d"


def run(*arguments, timeout_s=40):
    return subprocess.run(arguments, capture_output=True, text=True, timeout=timeout_s, check=False)


class DaemonTest(unittest.TestCase):
    """Cleans up after itself and checks that no daemon under test ever dies by a signal of its own."""

    def daemon(self, program, *arguments, **more):
        daemon = Daemon(program, *arguments, **more)
        self.addCleanup(daemon.close)
        return daemon

    def assert_fails(self, pattern, function, *arguments, **more):
        with self.assertRaises(CommandError) as caught:
            function(*arguments, **more)
        self.assertRegex(str(caught.exception), pattern)
        return caught.exception


class OverLibvirt(DaemonTest):
    """test:///default has one running domain, "test", and no process behind it."""

    def setUp(self):
        self.up = self.daemon(HOMENODED, "--connect", "test:///default").start()
        wait_for(lambda: self.up.call("query-host")["rounds"] > 0, "the first round")

    def test_questions(self):
        host = self.up.call("query-host")
        self.assertEqual(host["schema"], 1)
        self.assertEqual(host["backend"], "libvirt")
        self.assertTrue(host["is-connected"])
        self.assertGreater(host["nodes"][0]["mem-total-bytes"], 0)
        rows = self.up.call("query-domains")["domains"]
        self.assertEqual([row["name"] for row in rows], ["test"])
        self.assertEqual(rows[0]["status"], "unmanaged")
        self.assertEqual(self.up.call("query-domains", managed_only=True)["domains"], [])
        detail = self.up.call("query-domain", domain="test")
        self.assertEqual(detail["domain"]["uuid"], detail["verdict"]["uuid"])
        plan = self.up.call("query-plan")
        self.assertEqual(len(plan["verdicts"]), 1)
        self.assertEqual(plan["actions"], [])
        explained = self.up.call("explain", domain="test")
        self.assertTrue(explained["why-here"])
        self.assertTrue(explained["why-not-moved"])
        self.assertTrue(self.up.call("metrics")["text"].endswith("# EOF\n"))
        checks = {check["check"]: check for check in self.up.call("doctor")["checks"]}
        self.assertLessEqual({"kernel", "numa", "capabilities", "cgroups", "other-balancers"}, set(checks))
        for check in checks.values():
            if check["state"] in ("warn", "fail"):
                self.assertTrue(check["cost"] and check["remedy"], check)
        self.assertEqual(len(self.up.call("query-series")["samples"]), self.up.call("query-host")["rounds"])

    def test_every_verb_is_described(self):
        for command in self.up.call("query-commands"):
            self.assertTrue(command["name"])
        with open(os.path.join(SOURCE, "daemon/control.c"), encoding="utf-8") as file:
            table = re.findall(r'^    \{"([a-z-]+)", (?:TRUE|FALSE), hn_verb_', file.read(), re.M)
        self.assertGreater(len(table), 15)
        self.assertLessEqual(set(table), {command["name"] for command in self.up.call("query-commands")})

    def test_snapshot_is_what_replay_reads(self):
        recorded = self.up.call("snapshot")
        self.assertEqual((recorded["format"], recorded["version"]), ("homenode-round", 1))
        self.assertEqual(recorded["snapshot"]["format"], "homenode-snapshot")
        self.assertEqual(recorded["snapshot"]["domains"][0]["name"], "test")
        self.assertEqual(recorded["plan"]["verdicts"][0]["name"], "test")
        last = self.up.call("snapshot", last=5)["rounds"]
        self.assertGreaterEqual(len(last), 1)
        self.assertEqual(last[-1]["format"], "homenode-round")

    def test_mode(self):
        answer = self.up.call("set-mode", domain="test", mode="auto")
        self.assertEqual(answer["mode"], "auto")
        mode = lambda: self.up.call("query-domain", domain="test")["domain"]["mode"]  # noqa: E731
        # It is answered when the daemon has seen it: whoever asks next is told the new mode.
        self.assertEqual(mode(), "auto")
        self.up.call("set-mode", domain="test", mode="advise", persistent=True)
        self.assertEqual(mode(), "advise")
        self.up.call("set-mode", domain="test", mode="auto")
        self.up.call("rebalance", domains=["test"])
        self.up.call("set-mode", domain="test", mode="none")
        self.assertEqual(mode(), "none")

    def test_mistakes_name_what_to_do(self):
        error = self.assert_fails("No running domain 'tst'; did you mean: test", self.up.call, "explain", domain="tst")
        self.assertEqual(error.kind, "DomainNotFound")
        self.assert_fails("No running domain 'zzzzzz'; 'homenode list'", self.up.call, "explain", domain="zzzzzz")
        self.assert_fails("Node 7 does not exist; nodes that can be a home: 0", self.up.call, "rebalance",
                          domains=["test"], node=7)
        self.assert_fails("not managed .*homenode enable test", self.up.call, "rebalance", domains=["test"])
        self.assert_fails("allowed: auto, advise, off, none", self.up.call, "set-mode", domain="test", mode="on")
        self.assert_fails("no key 'placement.gain'", self.up.call, "set", key="placement.gain", value="1%")
        self.assert_fails("is '1', allowed: 0% to 100%", self.up.call, "set", key="placement.min-gain", value="1")
        self.assert_fails("next start", self.up.call, "set", key="daemon.connect", value="x:///")
        self.assert_fails("No job 99", self.up.call, "query-job", job=99)
        self.assert_fails("'node' needs 'domains'", self.up.call, "rebalance", node=0)
        self.assert_fails("limit", self.up.call, "history", limit=0)

    def test_read_only_socket(self):
        client = self.up.client(is_read_only=True)
        self.assertEqual(client.call("query-host")["schema"], 1)
        for name, arguments in (("rebalance", {}), ("release", {}), ("pause", {}), ("resume", {}),
                                ("set", {"key": "placement.min-gain", "value": "1%"}),
                                ("set-mode", {"domain": "test", "mode": "auto"})):
            error = self.assert_fails("read-only", client.call, name, **arguments)
            self.assertEqual(error.kind, "ReadOnlySocket")
        client.close()
        modes = [os.stat(os.path.join(self.up.runtime_dir, name)).st_mode & 0o777
                 for name in ("control", "control-ro")]
        self.assertEqual(modes, [0o660, 0o666])
        self.assertIn("refused", self.up.log())

    def test_set(self):
        self.assertEqual(self.up.call("set", key="placement.min-gain", value="12.5%")["value"], "12.5%")
        keys = {key["key"]: key for key in self.up.call("query-config")["keys"]}
        self.assertEqual(keys["placement.min-gain"]["value"], "12.5%")
        self.assertFalse(keys["placement.min-gain"]["is-default"])
        self.assertEqual(self.up.call("snapshot")["policy"]["min-gain-permille"], 125)

    def test_release_of_what_was_never_changed(self):
        answer = self.up.call("release", domains=["test"])
        self.assertEqual(answer["domains"][0]["reason"], "released")

    def test_order_ends(self):
        self.up.call("set-mode", domain="test", mode="auto")
        wait_for(lambda: self.up.call("query-domain", domain="test")["domain"]["is-managed"], "management")
        client = self.up.client()
        client.call("subscribe", events=["JOB_PROGRESS"])
        job = client.call("rebalance", domains=["test"])["job"]
        state = wait_for(lambda: (s := client.call("query-job", job=job))["state"] in ("done", "failed") and s,
                         "the end of the job")
        self.assertEqual(state["percent"], 100)
        wait_for(lambda: client.call("query-version") and client.events, "an event")
        self.assertEqual(client.events[0]["data"]["job"], job)
        client.close()

    def test_pause_and_resume(self):
        self.assertTrue(self.up.call("pause")["is-paused"])
        self.assertTrue(self.up.call("query-host")["is-paused"])
        self.assertFalse(self.up.call("resume")["is-paused"])
        self.assertTrue(self.up.call("pause", domains=["test"])["domains"][0]["is-held"])
        self.assertFalse(self.up.call("query-host")["is-paused"])

    def test_stops_cleanly(self):
        self.assertEqual(self.up.stop(), 0)
        self.assertFalse(os.path.exists(os.path.join(self.up.runtime_dir, "control")))


class Lifecycle(DaemonTest):
    """Starting, stopping, restarting, and what stands in the way."""

    def test_two_daemons(self):
        first = self.daemon(HOMENODED, "--connect", "test:///default").start()
        second = run(HOMENODED, "--connect", "test:///default", "--runtime-dir", first.runtime_dir)
        self.assertEqual(second.returncode, 3)
        self.assertIn(f"another homenoded (pid {first.process.pid}) serves {first.runtime_dir}", second.stderr)
        self.assertEqual(first.call("query-host")["schema"], 1)

    def test_killed_and_started_again(self):
        first = self.daemon(HOMENODED, "--connect", "test:///default").start()
        wait_for(lambda: os.path.exists(os.path.join(first.runtime_dir, "past")), "the saved past")
        first.kill()
        self.assertTrue(os.path.exists(os.path.join(first.runtime_dir, "control")))  # left behind …
        again = self.daemon(HOMENODED, "--connect", "test:///default", runtime_dir=first.runtime_dir).start()
        self.assertEqual(again.call("query-host")["schema"], 1)                      # … and taken over
        self.assertEqual(again.stop(), 0)

    def test_damaged_past_is_not_fatal(self):
        daemon = self.daemon(HOMENODED, "--connect", "test:///default")
        os.makedirs(daemon.runtime_dir)
        with open(os.path.join(daemon.runtime_dir, "past"), "w", encoding="utf-8") as file:
            file.write("nonsense\n\0\xff")
        daemon.start()
        wait_for(lambda: daemon.call("query-host")["rounds"] > 0, "a round")
        self.assertRegex(daemon.log(), "past is ignored: ")

    def test_wrong_configuration(self):
        daemon = self.daemon(HOMENODED, "--connect", "test:///default", config="[daemon]\nround-interval = 2\n")
        ended = run(*daemon.argv)
        self.assertEqual(ended.returncode, 4)
        self.assertRegex(ended.stderr, r"homenode\.conf:2: daemon\.round-interval is '2', allowed: 100ms to 1h")

    def test_named_configuration_must_exist(self):
        ended = run(HOMENODED, "--config", "/nonexistent/x.conf", "--runtime-dir", "/nonexistent/run")
        self.assertEqual(ended.returncode, 4)
        self.assertIn("/nonexistent/x.conf", ended.stderr)

    def test_reload(self):
        daemon = self.daemon(HOMENODED, "--connect", "test:///default", config="[placement]\nmin-gain = 7%\n").start()
        gain = lambda: {key["key"]: key["value"]  # noqa: E731
                        for key in daemon.call("query-config")["keys"]}["placement.min-gain"]
        self.assertEqual(gain(), "7%")
        daemon.write_config("[placement]\nmin-gain = 7%\nmax-gain = 8%\n")
        daemon.signal(signal.SIGHUP)
        wait_for(lambda: "the old one stays in force" in daemon.log(), "the complaint")
        self.assertRegex(daemon.log(), r"homenode\.conf:3: section \[placement\] has no key 'max-gain'")
        self.assertEqual(gain(), "7%")
        daemon.write_config("[placement]\nmin-gain = 9%\n")
        daemon.signal(signal.SIGHUP)
        wait_for(lambda: gain() == "9%", "the new value")
        self.assertNotIn("next start", daemon.log())  # --connect is no change
        daemon.write_config("[daemon]\ncontrol-group = root\n")
        daemon.signal(signal.SIGHUP)
        wait_for(lambda: "daemon.control-group has changed; that takes effect with the next start" in daemon.log(),
                 "the warning")

    def test_no_libvirtd(self):
        daemon = self.daemon(HOMENODED, "--connect", "qemu+unix:///system?socket=/nonexistent/sock").start()
        host = daemon.call("query-host")
        self.assertFalse(host["is-connected"])
        self.assertIn("Waiting", host["summary"])
        checks = {check["check"]: check for check in daemon.call("doctor")["checks"]}
        self.assertEqual(checks["hypervisor"]["state"], "fail")
        self.assertIn("systemctl start libvirtd", checks["hypervisor"]["remedy"])
        self.assert_fails("No round has been completed", daemon.call, "explain", domain="x")
        self.assertEqual(daemon.stop(), 0)

    def test_once_without_libvirtd(self):
        with tempfile.TemporaryDirectory() as directory:
            ended = run(HOMENODED, "--once", "--connect", "qemu+unix:///system?socket=/nonexistent/sock",
                        "--runtime-dir", directory)
        self.assertEqual(ended.returncode, 1)
        self.assertRegex(ended.stderr, "no connection to qemu")

    def test_once(self):
        with tempfile.TemporaryDirectory() as directory:
            config = os.path.join(directory, "c")
            with open(config, "w", encoding="utf-8") as file:
                file.write("[daemon]\nround-interval = 100ms\n")
            ended = run(HOMENODED, "--once", "--connect", "test:///default", "--runtime-dir", directory,
                        "--config", config)
        self.assertEqual(ended.returncode, 0, ended.stderr)
        self.assertEqual(json.loads(ended.stdout)["verdicts"][0]["name"], "test")

    def test_command_line(self):
        helped = run(HOMENODED, "--help")
        self.assertEqual(helped.returncode, 0)
        self.assertEqual(run(HOMENODED, "--version").stdout.split()[0], "homenoded")
        for arguments, complaint in ((("--frobnicate",), "frobnicate"), (("vm1",), "unexpected argument 'vm1'"),
                                     (("--log-level", "loud"), "allowed: error, warning, notice, info, debug")):
            ended = run(HOMENODED, *arguments)
            self.assertEqual(ended.returncode, 2)
            self.assertIn(complaint, ended.stderr)
        with open(os.path.join(SOURCE, "docs/man/homenoded.8"), encoding="utf-8") as file:
            manual = file.read().replace("\\-", "-")
        for option in re.findall(r"--[a-z][a-z-]+", helped.stdout):
            self.assertIn(option, manual)

    def test_catalog_explains_every_message(self):
        def read(path):
            with open(os.path.join(SOURCE, path), encoding="utf-8") as file:
                return file.read()
        ids = re.findall(r'"(4f1e[0-9a-f]{28})"', read("daemon/log.h"))
        self.assertGreater(len(ids), 10)
        self.assertEqual(sorted(ids), sorted(re.findall(r"^-- ([0-9a-f]{32})$", read("data/homenode.catalog"), re.M)))

    def test_metrics_file(self):
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "homenode.prom")
            daemon = self.daemon(HOMENODED, "--connect", "test:///default",
                                 config=f"[daemon]\nmetrics-file = {path}\n").start()
            wait_for(lambda: os.path.exists(path), "the metrics file")
            with open(path, encoding="utf-8") as file:
                self.assertTrue(file.read().endswith("# EOF\n"))
            self.assertEqual(os.stat(path).st_mode & 0o444, 0o444)
            daemon.stop()

    def test_one_node_costs_nothing(self):
        if len(glob.glob("/sys/devices/system/node/node[0-9]*")) != 1:
            self.skipTest("this machine has several nodes")
        daemon = self.daemon(HOMENODED, "--connect", "test:///default").start()
        wait_for(lambda: "nothing to place" in daemon.log(), "the verdict")
        wait_for(lambda: daemon.call("query-domains")["domains"][0]["reason"] == "single-node-host", "the reason")

        def ticks():
            with open(f"/proc/{daemon.process.pid}/stat", encoding="utf-8") as file:
                words = file.read().rpartition(")")[2].split()
            return int(words[11]) + int(words[12])

        time.sleep(1)  # the connections above are gone
        before, rounds = ticks(), daemon.call("query-host")["rounds"]
        time.sleep(5)
        self.assertLessEqual(ticks() - before, 1)
        self.assertEqual(daemon.call("query-host")["rounds"], rounds)
        self.assertEqual(daemon.log().count("nothing to place"), 1)


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


class Supervised(DaemonTest):
    """Sockets that somebody else holds, as systemd does: homenoded.socket and its sisters."""

    def setUp(self):
        self.directory = tempfile.TemporaryDirectory()
        self.addCleanup(self.directory.cleanup)
        self.run_dir = os.path.join(self.directory.name, "run")
        os.mkdir(self.run_dir)
        self.sockets = {}
        for name in ("control-ro", "control"):
            self.listen(name, socket.AF_UNIX, os.path.join(self.run_dir, name))

    def listen(self, name, family, address):
        self.sockets[name] = sock = socket.socket(family)
        self.addCleanup(sock.close)
        sock.bind(address)
        sock.listen(10)

    def start(self, **more):
        return self.daemon(HOMENODED, "--connect", "test:///default", runtime_dir=self.run_dir,
                           sockets=self.sockets, **more).start()

    def test_control(self):
        before = {name: os.stat(os.path.join(self.run_dir, name)).st_ino for name in self.sockets}
        up = self.start(config="[daemon]\ncontrol-group = root\n")
        allowed = lambda client: {c["name"]: c["is-allowed"] for c in client.call("query-commands")}  # noqa: E731
        writer, reader = up.client(), up.client(is_read_only=True)
        self.assertTrue(allowed(writer)["pause"])
        self.assertFalse(allowed(reader)["pause"])
        self.assertEqual(self.assert_fails("control socket", reader.call, "pause").kind, "ReadOnlySocket")
        self.assertIn("control-group is not used", up.log())
        reader.close()
        writer.close()
        self.assertEqual(up.stop(), 0)
        # They are not the daemon's to remove, and who connects meanwhile is answered by the next one.
        self.assertEqual(before, {name: os.stat(os.path.join(self.run_dir, name)).st_ino for name in self.sockets})
        with socket.socket(socket.AF_UNIX) as early:
            early.connect(os.path.join(self.run_dir, "control-ro"))
            self.start()
            early.settimeout(20)
            self.assertIn(b'"QMP"', early.recv(4096))

    def test_other_names_are_left_alone(self):
        self.listen("stranger", socket.AF_UNIX, os.path.join(self.run_dir, "stranger"))
        self.assertEqual(self.start().call("query-host")["schema"], 1)

    def scrape(self, port, request="GET /metrics HTTP/1.0\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
            client.sendall(request.encode())
            with client.makefile("rb") as answer:
                return answer.read().decode()

    def test_metrics(self):
        self.listen("metrics", socket.AF_INET, ("127.0.0.1", 0))
        port = self.sockets["metrics"].getsockname()[1]
        up = self.start()
        wait_for(lambda: up.call("query-host")["rounds"] > 0, "a round")
        if "built without libmicrohttpd" in up.log():
            self.skipTest("machine: built without libmicrohttpd")
        head, _, body = self.scrape(port).partition("\r\n\r\n")
        self.assertRegex(head, r"^HTTP/1\.[01] 200 ")
        self.assertIn("Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8", head)
        self.assertTrue(body.endswith("# EOF\n"))
        self.assertIn('homenode_domain_managed{domain="test"', body)
        self.assertEqual(re.findall(r"# TYPE (\S+)", body), re.findall(r"# TYPE (\S+)", up.call("metrics")["text"]))
        self.assertIn(" 405 ", self.scrape(port, "POST /metrics HTTP/1.0\r\nContent-Length: 0\r\n\r\n"))
        self.assertEqual(up.stop(), 0)

    def test_metrics_by_configuration(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            # Guests are placed whether or not metrics can be served.
            up = self.daemon(HOMENODED, "--connect", "test:///default",
                             config=f"[metrics]\nlisten = 127.0.0.1:{port}\n").start()
            wait_for(lambda: "metrics are not served over HTTP" in up.log(), "the complaint")
            self.assertRegex(up.log(), f"not served over HTTP: cannot listen on 127.0.0.1:{port}: .*in use")
            self.assertEqual(up.call("query-host")["schema"], 1)
            self.assertEqual(up.stop(), 0)
        wrong = self.daemon(HOMENODED, "--connect", "test:///default", config="[metrics]\nlisten = 0.0.0.0:1\n")
        ended = run(*wrong.argv)
        self.assertEqual(ended.returncode, 4)
        self.assertIn("metrics.listen is '0.0.0.0:1', which other hosts can reach", ended.stderr)


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


class ClientOfThisTest(unittest.TestCase):
    """What the other tests rely on: an event that arrives together with a reply is not lost."""

    def test_event_behind_a_reply(self):
        with tempfile.TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX) as listener:
            listener.bind(os.path.join(directory, "s"))
            listener.listen()
            peers = []

            def serve():
                peers.append(listener.accept()[0])
                # All of it is there before the client reads its second line.
                peers[0].sendall(b'{"QMP":{}}\n{"return":0}\n{"event":"A"}\n{"return":1}\n{"event":"B"}\n{"return":2}\n')

            peer = threading.Thread(target=serve)
            peer.start()
            client = Client(os.path.join(directory, "s"))
            peer.join()
            self.addCleanup(peers[0].close)
            self.assertEqual([client.call("x"), client.call("x")], [1, 2])
            self.assertEqual([event["event"] for event in client.events], ["A", "B"])
            client.close()


class ManyClients(DaemonTest):
    """The loop goes on while clients ask for rounds that take time."""

    def test_parallel_trials(self):
        daemon = self.daemon(HOMENODED, "--connect", "test:///default").start()
        wait_for(lambda: daemon.call("query-host")["rounds"] > 0, "a round")
        clients = [daemon.client(is_read_only=True) for _ in range(8)]
        for client in clients:
            client.send("explain", domain="test")
        fresh = daemon.client(is_read_only=True)
        self.assertEqual(fresh.call("query-host")["schema"], 1)
        for client in clients:
            self.assertIn("return", client.read())
            client.close()
        fresh.close()
        # One that asks and leaves does no harm.
        gone = daemon.client(is_read_only=True)
        gone.send("snapshot")
        gone.close()
        self.assertEqual(daemon.stop(), 0)

    def test_bad_clients(self):
        """Whatever is done on the one socket, whoever uses the other is served, and nothing is left of it."""
        daemon = self.daemon(HOMENODED, "--connect", "test:///default").start()
        wait_for(lambda: daemon.call("query-host")["rounds"] > 0, "a round")
        path = os.path.join(daemon.runtime_dir, "control-ro")
        honest = daemon.client()
        bad = collections.deque()

        def connect(what=b""):
            peer = socket.socket(socket.AF_UNIX)
            bad.append(peer)
            # Not settimeout(): then a full backlog is an error instead of something to wait for.
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 20, 0))
            peer.connect(path)
            peer.setblocking(False)
            with contextlib.suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
                while what:
                    what = what[peer.send(what):]
            return peer

        def check():
            self.assertEqual(honest.call("query-host")["schema"], 1)
            self.assertEqual(len(honest.call("query-plan")["verdicts"]), 1)

        for _ in range(20):
            connect(b'{"execute":')                                                      # half of a message
        for _ in range(4):
            connect(b'{"execute":"qmp_capabilities"}' + b'{"execute":"snapshot"}' * 20000)  # reads nothing
            connect(random.Random(1).randbytes(1 << 16) * 4)                             # says nothing
            connect(b"[" * (1 << 20))                                                    # does not end
        check()
        slow = connect(b'{"execute":"qmp_capabilities"}{"execute":"snapshot","id":1}')
        slow.settimeout(20)
        said = b""
        while b'"id":1}' not in said:
            said += slow.recv(512)
        self.assertEqual(json.loads(said.splitlines()[-1])["return"]["format"], "homenode-round")
        check()
        for number in range(10000):
            connect()
            if len(bad) > 300:
                bad.popleft().close()
            if number % 1000 == 0:
                check()
        check()
        while bad:
            bad.pop().close()
        wait_for(lambda: self.is_served(daemon), "the socket to be of use again")
        check()
        honest.close()
        self.assertEqual(daemon.stop(), 0)

    @staticmethod
    def is_served(daemon):
        """Whether the read-only socket has room; not until those who went are noticed to have gone."""
        try:
            client = daemon.client(is_read_only=True)
        except (AssertionError, OSError, EOFError):
            return False
        client.close()
        return True


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[4:]], verbosity=2)
