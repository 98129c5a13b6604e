#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Shows that check_symbols.py refuses what it must. Arguments: the C compiler's command."""

import os
import subprocess
import sys
import tempfile
import unittest

CHECKER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "check_symbols.py")
COMPILER = []


class PurityChecker(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory()
        self.addCleanup(self.directory.cleanup)

    def library(self, name, code):
        path = os.path.join(self.directory.name, name)
        with open(path + ".c", "w", encoding="utf-8") as file:
            file.write(code)
        subprocess.run([*COMPILER, "-w", "-O1", "-fPIC", "-c", path + ".c", "-o", path + ".o"], check=True)
        subprocess.run(["ar", "cr", path + ".a", path + ".o"], check=True)
        return path + ".a"

    def check(self, code, name="proto", below=()):
        command = [sys.executable, CHECKER, "--name", name, "--library", self.library("checked", code),
                   "--below", *below]
        done = subprocess.run(command, stdout=subprocess.PIPE, encoding="utf-8", check=False)
        return done.returncode, done.stdout

    def test_code_of_its_arguments_only_passes(self):
        status, text = self.check(
            "#include <string.h>\nstatic const char *const words[] = {\"a\", \"b\"};\n"
            "int find(const char *t, int i) { return strcmp(t, words[i]); }\n")
        self.assertEqual(status, 0, text)

    def test_a_clock_is_refused_by_name(self):
        status, text = self.check("#include <time.h>\nlong now(void) { return time(0); }\n")
        self.assertEqual(status, 1)
        self.assertIn("checked.o calls time,", text)

    def test_files_sockets_and_random_bits_are_refused(self):
        for call in ("open", "socket", "getrandom", "randombytes_buf", "crypto_sign_keypair", "printf", "getenv",
                     "clock_gettime", "sqlite3_open", "uuid_generate", "localtime"):
            with self.subTest(call=call):
                status, text = self.check(f"int {call}(void *);\nint f(void *p) {{ return {call}(p) + 1; }}\n")
                self.assertEqual(status, 1, text)
                self.assertIn(f"calls {call},", text)

    def test_what_one_library_may_call_another_may_not(self):
        code = "int crypto_sign_detached(void *);\nint f(void *p) { return crypto_sign_detached(p) + 1; }\n"
        self.assertEqual(self.check(code, name="proto")[0], 0)
        self.assertEqual(self.check(code, name="base_pure")[0], 1)

    def test_calls_into_pure_libraries_below_pass(self):
        below = self.library("below", "int below(void) { return 1; }\n")
        code = "int below(void);\nint f(void) { return below() + 1; }\n"
        self.assertEqual(self.check(code, below=[below])[0], 0)
        self.assertEqual(self.check(code)[0], 1)

    def test_variables_are_refused_wherever_they_hide(self):
        for variable in ("int count = 1;", "int count;", "static int count = 1;", "__thread int count;",
                         "static const char *count = \"x\"; const char *g(void) { return count; } void s(const "
                         "char *p) { count = p; }"):
            with self.subTest(variable=variable):
                use = "" if "g(void)" in variable else "int *f(void) { return &count; }\n"
                status, text = self.check(f"{variable}\n{use}")
                self.assertEqual(status, 1, text)
                self.assertIn("count lies in", text)

    def test_an_empty_library_is_refused(self):
        status, text = self.check("/* nothing */\n")
        self.assertEqual(status, 1)
        self.assertIn("defines nothing", text)


if __name__ == "__main__":
    COMPILER = sys.argv[1:] or ["cc"]
    unittest.main(argv=sys.argv[:1])
