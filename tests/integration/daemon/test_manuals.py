#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""homenode-control(7) and homenode-metadata(7) against the running daemon and the tables they tell of. The parts
between "begin" and "end" marks are made here; HN_UPDATE_GOLDEN=1 writes them. Usage: test_manuals.py HOMENODED
SOURCE_ROOT [unittest arguments]"""

import os
import re
import subprocess
import sys
import unittest

from control_client import Daemon

HOMENODED, SOURCE = (os.path.abspath(path) for path in sys.argv[1:3])


def read(path):
    with open(os.path.join(SOURCE, path), encoding="utf-8") as file:
        return file.read()


def roff(text):
    """Text as roff prints it: hyphens that are typed, and no line that begins a request."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + text if text.startswith((".", "'")) else text


def argument_text(argument):
    text = f"{argument['name']}: {argument['type']}"
    return text if argument["is-required"] else f"[{text}]"


def command_text(command):
    arguments = ", ".join(argument_text(argument) for argument in command["arguments"])
    lines = [".TP", f".B {roff(command['name'])}"]
    said = (f"({roff(arguments)})" if arguments else "") + (" (rw)" if command["is-mutating"] else "")
    lines += [said.strip()] if said.strip() else []
    lines += [roff(command["help"])]
    lines += [f"Returns: {roff(command['returns'].rstrip('.'))}."] if command["returns"] else []
    for argument in command["arguments"]:
        lines += [".br", f".IR {roff(argument['name'])} :", roff(argument["help"])]
    return "\n".join(lines) + "\n"


class Manuals(unittest.TestCase):
    def check(self, path, mark, wanted):
        """What stands between the marks is what is wanted."""
        text = read(path)
        begin, end = f'.\\" {mark}: begin\n', f'.\\" {mark}: end\n'
        self.assertEqual((text.count(begin), text.count(end)), (1, 1))
        before, _, rest = text.partition(begin)
        found, _, after = rest.partition(end)
        if found != wanted and os.environ.get("HN_UPDATE_GOLDEN"):
            with open(os.path.join(SOURCE, path), "w", encoding="utf-8") as file:
                file.write(before + begin + wanted + end + after)
            found = wanted
        self.assertEqual(found, wanted, f"{path} has drifted: run this test with HN_UPDATE_GOLDEN=1 and read the "
                                        "difference")

    def test_control(self):
        up = Daemon(HOMENODED, "--connect", "test:///default")
        self.addCleanup(up.close)
        client = up.start().client()
        commands = sorted(client.call("help"), key=lambda command: command["name"])
        self.assertEqual([command["name"] for command in commands],
                         sorted(command["name"] for command in client.call("query-commands")))
        self.assertGreater(len(commands), 20)
        events = client.call("query-events")
        client.close()
        self.check("docs/man/homenode-control.7", "commands", "".join(map(command_text, commands)))
        self.check("docs/man/homenode-control.7", "events",
                   "".join(f".TP\n.B {roff(event['name'])}\n{roff(event['help'])}\n" for event in events))
        verbs = read("docs/control-verbs.md")
        protocol = read("docs/control-protocol.md")
        words = {event["name"] for event in events} | {command["name"] for command in commands}
        words |= {argument["name"] for command in commands if command["name"] != "qmp_capabilities"
                  for argument in command["arguments"]}
        self.assertEqual({word for word in words if f"`{word}`" not in verbs + protocol}, set(),
                         "docs/control-verbs.md and control-protocol.md do not tell of these")

    def test_error_classes(self):
        classes = set(re.findall(r'#define HN_QMP_CLASS_\w+ "(\w+)"', read("qmp/error.h")))
        self.assertGreater(len(classes), 3)
        section = read("docs/man/homenode-control.7").partition(".SH ERRORS")[2].partition(".SH")[0]
        self.assertEqual(set(re.findall(r"\.TP\n\.B (\w+)", section)), classes)

    def test_attributes(self):
        table = read("daemon/backend/wish.c").partition("} attributes[] = {")[2].partition("};")[0]
        names = re.findall(r'\{"([a-z-]+)", parse_', table)
        self.assertIn("mode", names)
        section = read("docs/man/homenode-metadata.7").partition(".SH WHAT IS WANTED")[2].partition(".SH")[0]
        self.assertEqual(re.findall(r"\.TP\n\.B (\S+)", section.replace("\\-", "-")), names)

    def test_statistics(self):
        names = set(re.findall(r'attribute\(xml, "([a-z-]+)"', read("daemon/report/status.c")))
        names |= set(re.findall(r'" ([a-z-]+)=\'%u', read("daemon/report/status.c")))
        names |= set(re.findall(r'" ([a-z-]+)=\'0\.', read("daemon/report/status.c")))
        self.assertLessEqual({"home", "accesses-local", "accesses-local-error", "boot-id"}, names)
        section = read("docs/man/homenode-metadata.7").partition(".SH HOW IT FARES")[2].partition(".SH")[0]
        tags = re.findall(r"\.TP\n\.BR? ([^\n]+)", section.replace("\\-", "-"))
        self.assertEqual({word for tag in tags for word in re.findall(r"[a-z][a-z-]+", tag)}, names)

    def test_states(self):
        words = set(re.findall(r'return "([a-z-]+)";', read("daemon/report/status.c").partition("hn_status_word")[2]
                               .partition("\n}\n")[0])) | {"advise", "waiting"}
        section = read("docs/man/homenode-metadata.7").partition("\n.B state\n")[2].partition(".TP")[0]
        found = set(re.findall(r"[a-z][a-z-]+", section.replace("\\-", "-").partition(":")[0])) - {"or"}
        self.assertEqual(found, words)

    def test_reasons(self):
        reasons = re.findall(r'X\([A-Z_]+, "([a-z-]+)"\)(?: */\* *(.*?) *\*/)?', read("include/homenode/reason.h"))
        self.assertGreater(len(reasons), 40)
        wanted = "".join(f".TP\n.B {roff(name)}\n{roff(meaning or name.replace('-', ' '))}\n"
                         for name, meaning in reasons)
        if os.environ.get("HN_UPDATE_GOLDEN"):
            self.check("docs/man/homenode-metadata.7", "reasons", wanted)
        # The names only: what one means may be said better in the manual than in the table.
        section = read("docs/man/homenode-metadata.7").partition("reasons: begin")[2].partition("reasons: end")[0]
        self.assertEqual(re.findall(r"\.TP\n\.B (\S+)", section.replace("\\-", "-")), [name for name, _ in reasons],
                         "homenode-metadata(7) has drifted: run this test with HN_UPDATE_GOLDEN=1")

    def test_groff_takes_them(self):
        """Where there is a formatter, it has nothing to complain about."""
        try:
            subprocess.run(["groff", "--version"], capture_output=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            self.skipTest("machine: no groff")
        for name in sorted(os.listdir(os.path.join(SOURCE, "docs/man"))):
            ended = subprocess.run(["groff", "-man", "-Tutf8", "-ww", os.path.join(SOURCE, "docs/man", name)],
                                   capture_output=True, text=True, check=False)
            self.assertEqual((ended.returncode, ended.stderr), (0, ""))


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]], verbosity=2)
