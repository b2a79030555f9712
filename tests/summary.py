#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Counts the results of a meson test run and ends with "N passed, N failed, N skipped".

A program that speaks TAP counts once per test point, any other once. A failed point is printed with the
comments before it, a comment that begins with "unsteady:" in any case (tests/lab/scenario.py). Every skip is printed with its
reason. A skip that the machine forces begins its reason with "machine:" (no /dev/kvm, no such
kernel feature); with CI set in the environment every other skip is a failure, so that nothing is left
out unnoticed.
"""

import json
import os
import re
import sys

POINT = re.compile(r"^(not )?ok\b[ \t]*(\d*)[ \t]*(?:- )?([^#\n]*)(?:#[ \t]*(SKIP|TODO)\b[ \t]*(.*))?", re.I)
# Meson's own words for a program's end.
PROGRAM_PASSED = {"OK", "EXPECTEDFAIL"}
# Of what a program says before a failed point: what went before and, more useful, why; the whole is in meson's log.
COMMENTS_SHOWN_FIRST, COMMENTS_SHOWN_LAST = 10, 60


def points(stdout):
    """The top-level TAP points of a program: (ok, name, skip reason or None, comments before it)."""
    comments = []
    for line in stdout.splitlines():
        match = POINT.match(line)
        if not match:
            if line.startswith("# "):
                comments.append(line[2:])
            continue
        directive, reason = match.group(4), match.group(5)
        skip = (reason or "no reason given").strip() if directive and directive.upper() == "SKIP" else None
        yield match.group(1) is None, match.group(3).strip(), skip, comments
        comments = []


def shortened(comments):
    """The first and the last of them, and how many were left out."""
    n_left_out = len(comments) - COMMENTS_SHOWN_FIRST - COMMENTS_SHOWN_LAST
    if n_left_out <= 1:
        return comments
    return [*comments[:COMMENTS_SHOWN_FIRST], f"({n_left_out} lines left out)", *comments[-COMMENTS_SHOWN_LAST:]]


def unsteady(log_lines):
    """What tests told as passed with an effort."""
    return [line[2:] for text in log_lines for line in (json.loads(text).get("stdout") or "").splitlines()
            if line.startswith("# unsteady: ")]


def whole_skip(stdout):
    """Why a whole program was skipped: what stands behind "1..0 # SKIP", else its last line."""
    match = re.search(r"^1\.\.0\s*#\s*SKIP\S*\s*(.*)$", stdout, re.M | re.I)
    lines = [match.group(1)] if match else stdout.strip().splitlines()[-1:]
    return (lines and lines[0].strip()) or "no reason given"


def count(log_lines, is_ci):
    """Returns (passed, failures, skips); the last two are lists of sentences."""
    passed, failures, skips = 0, [], []
    for line in log_lines:
        test = json.loads(line)
        name, result = test["name"], test["result"]
        found = list(points(test.get("stdout") or ""))
        for ok, point, skip, comments in found:
            if skip is not None:
                skips.append((f"{name}: {point}", skip))
            elif ok:
                passed += 1
            else:
                failures.append("\n    ".join([f"{name}: {point}", *shortened(comments)]))
        if result == "SKIP" and not any(skip for _, _, skip, _ in found):
            skips.append((name, whole_skip(test.get("stdout") or "")))
        elif not found and result in PROGRAM_PASSED:
            passed += 1
        elif result not in PROGRAM_PASSED and result != "SKIP" and all(ok for ok, *_ in found):
            failures.append(f"{name}: ended with {result}, {test.get('returncode')}")
    texts = []
    for name, reason in skips:
        if is_ci and not reason.startswith("machine:"):
            failures.append(f"{name}: skipped, though nothing in the machine forces it: {reason}")
        else:
            texts.append(f"{name}: {reason}")
    return passed, failures, texts


def main():
    if len(sys.argv) != 2:
        print("usage: summary.py MESON-LOGS/testlog.json", file=sys.stderr)
        return 2
    try:
        with open(sys.argv[1], encoding="utf-8", errors="replace") as log:
            lines = list(log)
        passed, failures, skips = count(lines, bool(os.environ.get("CI")))
    except OSError as error:
        print(f"summary.py: no test log: {error}", file=sys.stderr)
        return 1
    for text in unsteady(lines):
        print(text)
    for text in skips:
        print(f"skipped: {text}")
    for text in failures:
        print(f"failed: {text}")
    print(f"{passed} passed, {len(failures)} failed, {len(skips)} skipped")
    return 1 if failures or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
