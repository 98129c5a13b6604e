#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Shows that the house rules of scripts/check find what they are for, in a small project of the test's own."""

import importlib.machinery
import importlib.util
import os
import sys
import tempfile
import unittest

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..")
LICENCE = "/* SPDX-License-Identifier: Apache-2.0 */\n"


def load_check():
    sys.dont_write_bytecode = True
    loader = importlib.machinery.SourceFileLoader("check", os.path.join(TOP, "scripts", "check"))
    spec = importlib.util.spec_from_loader("check", loader)
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


class HouseRules(unittest.TestCase):
    def setUp(self):
        self.check = load_check()
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.check.TOP = os.path.join(directory.name, "project")
        self.check.CORPUS = os.path.join(directory.name, "corpus")
        os.makedirs(self.check.TOP)

    def write(self, name, text, top=None):
        path = os.path.join(top or self.check.TOP, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)

    def includes(self, name, *headers):
        self.write(name, LICENCE + "".join(f"#include {header}\n" for header in headers))
        return self.check.check_includes()

    def test_rooms_may_look_down(self):
        self.assertEqual(self.includes("base/a.c", '"base/log.h"', "<stdio.h>"), [])
        self.assertEqual(self.includes("proto/a.c", '"base/bytes.h"', '"proto/b.h"', '"gridpatrol.pb-c.h"'), [])
        self.assertEqual(self.includes("store/a.c", '"base/files.h"', '"proto/b.h"', "<sqlite3.h>"), [])
        self.assertEqual(self.includes("syncd/a.c", '"store/b.h"', '"syncd/core/c.h"'), [])
        self.assertEqual(self.includes("syncd/transport/a.c", '"syncd/b.h"', "<curl/curl.h>", "<openssl/ssl.h>"), [])
        self.assertEqual(self.includes("tests/sim/a.c", '"server/b.h"', '"syncd/c.h"', "<sqlite3.h>"), [])

    def test_rooms_may_not_look_up_or_sideways(self):
        for name, header in (("base/a.c", '"proto/b.h"'), ("proto/a.c", '"store/b.h"'), ("store/a.c", '"syncd/b.h"'),
                             ("collector/a.c", '"syncd/b.h"'), ("syncd/a.c", '"collector/b.h"'),
                             ("server/a.c", '"store/b.h"'), ("syncd/core/a.c", '"syncd/b.h"'),
                             ("syncd/core/a.c", '"store/b.h"')):
            with self.subTest(name=name, header=header):
                self.assertEqual(len(self.includes(name, header)), 1)
                os.unlink(os.path.join(self.check.TOP, name))

    def test_pure_rooms_may_not_include_what_touches_the_world(self):
        for name in ("proto/a.c", "server/core/a.c", "collector/core/a.c"):
            with self.subTest(name=name):
                self.assertEqual(len(self.includes(name, '"base/log.h"', '"base/world.h"', '"base/text.h"')), 2)
                os.unlink(os.path.join(self.check.TOP, name))

    def test_libraries_are_for_their_rooms_only(self):
        self.assertIn("only store/", self.includes("syncd/a.c", "<sqlite3.h>")[0])
        self.assertEqual(len(self.includes("server/b.c", "<curl/curl.h>", "<sqlite3.h>")), 3)
        self.assertEqual(len(self.includes("syncd/c.c", "<curl/curl.h>", "<openssl/ssl.h>")), 5)

    def test_a_folder_without_rules_is_noticed(self):
        self.assertIn("no room", self.includes("elsewhere/a.c")[0])

    def test_source_without_its_licence_line_is_found(self):
        self.write("base/a.c", "int x;\n" + LICENCE)
        self.write("base/b.h", LICENCE)
        self.write("scripts/c", "#!/bin/sh\n# SPDX-License-Identifier: Apache-2.0\n")
        self.write("scripts/d", "#!/bin/sh\n")
        self.write("notes.txt", "free text\n")
        self.assertEqual([line.split(":")[0] for line in self.check.check_licence()], ["base/a.c", "scripts/d"])

    def test_words_for_later_are_found_but_not_in_templates_of_file_names(self):
        self.write("base/a.c", LICENCE + "/* FIX" + "ME: later */\nchar t[] = \"/tmp/aXX" + "XXXX\";\n")
        self.assertEqual(len(self.check.check_words()), 1)

    def test_call_past_the_place_that_stands_in_front_is_found(self):
        self.write("proto/base64.c", "    if (sodium_base642bin(ret, size))\n")
        self.write("syncd/control.c", "    if (sodium_base642bin(ret, size))\n")
        self.assertEqual([line.split(":")[0] for line in self.check.check_includes()], ["syncd/control.c"])

    def test_file_that_grew_too_long_is_found(self):
        self.write("base/a.c", "\n" * 800)
        self.write("base/b.c", "\n" * 801)
        self.assertEqual([line.split(":")[0] for line in self.check.check_length()], ["base/b.c"])

    def test_copied_test_data_is_found_by_content(self):
        self.write("photos/street.jpg", "picture", self.check.CORPUS)
        self.write("photos/empty", "", self.check.CORPUS)
        self.write("tests/data/mine.jpg", "picture")
        self.write("tests/data/other.jpg", "Picture")
        self.write("tests/data/empty", "")
        found = self.check.check_corpus()
        self.assertEqual(len(found), 1)
        self.assertIn("tests/data/mine.jpg: is photos/street.jpg", found[0])

    def test_shell_script_that_does_not_parse_is_found(self):
        self.write("scripts/a", "#!/bin/bash\nif true\n")
        self.assertTrue(self.check.check_shell())

    def test_python_that_does_not_compile_is_found(self):
        self.write("scripts/a.py", "def f(:\n")
        self.assertTrue(self.check.check_python())


class Findings(unittest.TestCase):
    def setUp(self):
        self.check = load_check()

    def line(self, number, text):
        """A line as clang-tidy writes it, colours and all, about the first line of base/config.c."""
        return f"\x1b[1m../base/config.c:{number}:1: \x1b[0m\x1b[0;1;35mwarning: \x1b[0m\x1b[1m{text}\x1b[0m"

    def test_finding_is_read_through_the_colours(self):
        self.assertEqual(self.check.tidy_finding(self.line(1, "bad [bugprone-x]")),
                         ("base/config.c", 1, 1, "bad [bugprone-x]"))

    def test_what_is_not_ours_or_explained_is_dropped(self):
        self.assertIsNone(self.check.tidy_finding("/usr/include/stdio.h:1:1: warning: bad [bugprone-x]"))
        self.assertIsNone(self.check.tidy_finding("12 warnings generated."))
        leak = "Potential leak of memory pointed to by 'x' [clang-analyzer-unix.Malloc]"
        self.assertIsNone(self.check.tidy_finding(self.line(1, leak)))
        self.assertIsNotNone(self.check.tidy_finding(self.line(1, "Use of memory after it is freed [clang-analyzer-x]")))


if __name__ == "__main__":
    unittest.main()
