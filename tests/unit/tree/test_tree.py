#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What must agree between files of the tree that nothing else compares: the Debian package with the build, and pages with
what they link to. Usage: test_tree.py SOURCE_ROOT VERSION [unittest arguments]"""

import pathlib
import re
import sys
import unittest

ROOT, VERSION = pathlib.Path(sys.argv[1]), sys.argv[2]


def read(path):
    return (ROOT / path).read_text(encoding="utf-8")


class Debian(unittest.TestCase):
    def test_version(self):
        self.assertEqual(re.match(r"homenode \(([^)]+)\)", read("debian/changelog")).group(1), VERSION)

    def test_libraries_are_those_of_the_build(self):
        depends = re.search(r"^Build-Depends:\n((?: .*\n)+)", read("debian/control"), re.M).group(1)
        packaged = set(re.findall(r"\blib[a-z0-9.-]+-dev\b", depends))
        named = set(re.findall(r"^lib[a-z0-9.-]+-dev$", read("data/build-depends.txt"), re.M))
        self.assertGreater(len(packaged), 5)
        self.assertEqual(packaged, named)

    def test_every_unit_is_treated(self):
        rules = read("debian/rules")
        units = [path.name.removesuffix(".in") for path in (ROOT / "data").iterdir()
                 if path.name.removesuffix(".in").endswith((".service", ".socket", ".timer", ".path"))]
        self.assertIn("homenoded.service", units)
        for unit in units:
            self.assertRegex(rules, rf"dh_installsystemd\b.*[ ]{re.escape(unit)}\b")


class Pages(unittest.TestCase):
    def test_links(self):
        n_links = 0
        for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]:
            for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
                if "://" not in target:
                    n_links += 1
                    self.assertTrue((page.parent / target).exists(), f"{page.relative_to(ROOT)}: {target}")
        self.assertGreater(n_links, 10)

    def test_readme_names_what_there_is(self):
        readme = read("README.md")
        for path in re.findall(r"(?<![\w/-])((?:data|scripts|tests)/[\w./-]+)", readme):
            self.assertTrue((ROOT / path).exists(), path)
        verbs = set(re.findall(r'^    \{"([a-z]+)", ', read("cli/verbs.c"), re.M))
        used = set(re.findall(r"^    homenode ([a-z]+)", readme, re.M))
        self.assertGreater(len(used), 5)
        self.assertLessEqual(used, verbs)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]], verbosity=2)
