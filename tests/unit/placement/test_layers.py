#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Folders are layers, and placement/ is pure: both are checked, not hoped for.

usage: test_layers.py SOURCE_ROOT NM LIBRARY...

Include rules: placement/ includes only <homenode/…>, GLib, C's freestanding-like headers and its own; qmp/
no homenode, placement or libvirt header; <libvirt/…> only in daemon/backend; <numaif.h> only in
daemon/apply and daemon/observe. Purity: the symbols that the static libraries of placement/ leave undefined
are on the list below; anything else (a clock, a file, a log, a random number) fails.
"""
import pathlib
import re
import subprocess
import sys

# Memory, containers, strings and arithmetic. No clock, no I/O, no environment, no logging, no threads.
PURE = re.compile(r"""^(
    mem(cpy|move|set|cmp|chr) | str(len|cmp|ncmp|chr|rchr) | qsort | bcmp
  | __stack_chk_fail | __popcountdi2 | __(u)?(div|mod|divmod)ti[34] | __mem(cpy|set|move)_chk | __str(cpy|cat)_chk
  | g_(malloc|malloc0|malloc_n|malloc0_n|realloc|realloc_n|free|free_sized|memdup2|strdup|strndup|strdup_printf)
  | g_(strlcpy|strlcat|snprintf|strsplit|strfreev|strv_length|str_has_prefix|str_has_suffix|str_equal|str_hash|strcmp0)
  | g_ascii_(table|strtoull|strtoll|dtostr|isspace) | g_string_\w+ | g_array_\w+ | g_ptr_array_\w+ | g_hash_table_\w+
  | g_direct_(hash|equal) | g_qsort_with_data | g_set_error | g_set_error_literal | g_error_(new_valist|free|copy)
  | g_(propagate|prefix|clear)_error | g_propagate_prefixed_error | g_quark_from_static_string | g_strconcat | g_strjoin
  | _GLOBAL_OFFSET_TABLE_ | __asan\w* | __ubsan\w* | __gcov\w* | __llvm\w* | __sanitizer\w*
)$""", re.X)

# The simulator adds scenario text (a key file), arithmetic and markup; still no file, no clock, no chance but its own.
PURE_SIM = re.compile(r"""^(
    g_key_file_(new|free|unref|load_from_data|get_(keys|groups|value)|has_group)
  | g_ascii_(strtod|formatd|string_to_unsigned) | g_markup_escape_text | g_strjoinv | g_strv_contains
  | g_utf8_validate_len | floor | __isfinite
)$""", re.X)

INCLUDE = re.compile(r'^\s*#\s*include\s+([<"])([^>"]+)[>"]', re.M)


def includes(root, folder):
    for path in sorted((root / folder).rglob("*.[ch]")):
        for match in INCLUDE.finditer(path.read_text()):
            yield path, match.group(1) == "<", match.group(2)


def check_includes(root):
    standard = {"glib.h", "string.h", "stdlib.h", "stddef.h", "stdint.h", "stdbool.h", "limits.h"}
    bad = []
    for path, is_angle, name in includes(root, "placement"):
        is_sim = "sim" in path.relative_to(root / "placement").parts
        if is_angle:
            if not (name.startswith("homenode/") or name in standard or (is_sim and name in {"math.h", "stdio.h"})):
                bad.append(f"{path.relative_to(root)} includes <{name}>: placement/ may include <homenode/…>, GLib and its own")
        elif not ((path.parent / name).exists() or (is_sim and (root / "placement" / name).exists())):
            bad.append(f'{path.relative_to(root)} includes "{name}", which is not of placement/')
    for path, _, name in includes(root, "include"):
        if name.startswith(("libvirt/", "json", "numa")) or name in {"stdio.h", "unistd.h", "time.h"}:
            bad.append(f"{path.relative_to(root)} includes {name}: contracts are plain types")
    for path, _, name in includes(root, "qmp"):
        if name.startswith(("homenode/", "libvirt/")) or "placement/" in name:
            bad.append(f"{path.relative_to(root)} includes {name}: qmp/ knows nothing of NUMA")
    for path, is_angle, name in includes(root, "cli"):
        allowed = name.startswith(("qmp/", "sim/", "report/")) or (path.parent / name).exists()
        if not is_angle and not allowed:
            bad.append(f'{path.relative_to(root)} includes "{name}": cli/ may use qmp/, the simulator and daemon/report')
    for path, is_angle, name in includes(root, "numad"):
        if not is_angle and not (name == "observe/host-read.h" or name.startswith("qmp/") or (path.parent / name).exists()):
            bad.append(f'{path.relative_to(root)} includes "{name}": numad/ may use qmp/ and what reads the nodes')
    for folder in ("daemon", "cli", "numad"):
        for path, _, name in includes(root, folder):
            where = str(path.relative_to(root))
            if name.startswith("libvirt/") and not where.startswith("daemon/backend/"):
                bad.append(f"{where} includes <{name}>: only daemon/backend talks to libvirt")
            if name == "numaif.h" and not where.startswith(("daemon/apply/", "daemon/observe/")):
                bad.append(f"{where} includes <numaif.h>: only where memory is moved or queried")
    return bad


def undefined_symbols(nm, library):
    """Symbols that the objects of a library need and none of them defines."""
    text = subprocess.run([nm, library], capture_output=True, text=True, check=True).stdout
    needed, defined = set(), set()
    for line in text.splitlines():
        fields = line.split()
        if len(fields) == 2 and fields[0] in "Uw":
            needed.add(fields[1])
        elif len(fields) == 3:
            defined.add(fields[2])
    if not defined:
        raise SystemExit(f"{nm} found nothing in {library}")
    return needed - defined


def main():
    root, nm, libraries = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3:]
    problems = [("layers", check_includes(root))]
    for library in libraries:
        allowed = [PURE, PURE_SIM] if pathlib.Path(library).name.startswith("libhnsim") else [PURE]
        impure = sorted(s for s in undefined_symbols(nm, library)
                        if not any(pattern.match(s) for pattern in allowed) and not s.startswith("hn_"))
        problems.append((f"purity of {pathlib.Path(library).name}", [f"needs {s}" for s in impure]))
    # The check itself must be able to fail.
    problems.append(("the list refuses a clock", [] if not any(p.match(s) for p in (PURE, PURE_SIM) for s in ("g_get_monotonic_time", "open", "g_log", "clock_gettime", "rand", "g_key_file_load_from_file")) else ["it does not"]))
    print(f"1..{len(problems)}")
    for number, (name, found) in enumerate(problems, 1):
        for line in found:
            print(f"# {line}")
        print(f"{'not ok' if found else 'ok'} {number} {name}")
    return 1 if any(found for _, found in problems) else 0


if __name__ == "__main__":
    sys.exit(main())
