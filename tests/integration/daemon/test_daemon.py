#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The built homenoded as a service: over libvirt's test driver, through its life, and under a supervisor."""

import glob
import json
import os
import re
import signal
import socket
import tempfile
import time

from control_client import wait_for
from daemon_test import HOMENODED, SOURCE, DaemonTest, main, run


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
        rounds, before = daemon.call("query-host")["rounds"], ticks()
        time.sleep(5)
        # A tick is charged whole to who runs when it comes: a few say nothing, a loop or rounds would take many.
        self.assertLessEqual(ticks() - before, 5)
        self.assertEqual(daemon.call("query-host")["rounds"], rounds)
        self.assertEqual(daemon.log().count("nothing to place"), 1)


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


if __name__ == "__main__":
    main()
