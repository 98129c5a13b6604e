#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Shows that scripts/mutate takes nothing for caught that was not, on a build of the test's own: a library, a program and a
cmocka test."""

import argparse
import importlib.machinery
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

TOP = os.path.realpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", ".."))

BUILD = """project('small', 'c')
part = static_library('part', 'room/part.c')
executable('test_room_part', 'tests/unit/room/test_part.c', link_with: part, dependencies: dependency('cmocka'))
"""
PART = """int twice(int x);
int twice(int x)
{
    return 2 * x;
}
"""
TEST = """#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
int twice(int x);
static void two_of_two_are_four(void **state) { (void)state; assert_int_equal(twice(2), 4); }
static void all_is_skipped(void **state) { (void)state; skip(); }
static void nothing_is_asked(void **state) { (void)state; }
static void this_fails_anyway(void **state) { (void)state; assert_true(0); }
int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(two_of_two_are_four), cmocka_unit_test(all_is_skipped),
        cmocka_unit_test(nothing_is_asked), cmocka_unit_test(this_fails_anyway)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
"""


def load_mutate():
    sys.dont_write_bytecode = True
    loader = importlib.machinery.SourceFileLoader("mutate", os.path.join(TOP, "scripts", "mutate"))
    spec = importlib.util.spec_from_loader("mutate", loader)
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


MUTATE = load_mutate()


class Trying(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if not shutil.which("meson"):
            raise unittest.SkipTest("meson is not installed")
        cls.directory = tempfile.TemporaryDirectory()
        top = cls.directory.name
        for name, text in (("meson.build", BUILD), ("room/part.c", PART), ("tests/unit/room/test_part.c", TEST)):
            path = os.path.join(top, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
        # Where the project's own build has the program of this test.
        build = os.path.join(top, "build")
        for command in (["meson", "setup", build, top], ["ninja", "-C", build]):
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "CC": "gcc"})
        cls.build = MUTATE.Build(top, build)

    @classmethod
    def tearDownClass(cls):
        cls.directory.cleanup()

    def attempt(self, test, old="2 * x", new="3 * x"):
        """What becomes of one mutation."""
        unit = MUTATE.UnitTest(self.build, "unit/room/test_part.c", test)
        self.assertEqual(unit.program, "tests/unit/test_room_part")
        unit.program = "test_room_part"
        mutation = MUTATE.mutations.mutation("m", "", "room/part.c", old, new)
        made = MUTATE.test_of
        MUTATE.test_of = lambda build, name: unit
        try:
            return MUTATE.try_one(self.build, mutation)
        finally:
            MUTATE.test_of = made

    def test_a_test_that_fails_with_the_change_alone_has_caught_it(self):
        self.assertEqual(self.attempt("two_of_two_are_four")[0], "caught")

    def test_a_crash_is_caught_too(self):
        became, said = self.attempt("two_of_two_are_four", "return 2 * x", "__builtin_trap(); return x")
        self.assertEqual(became, "caught", said)

    def test_a_change_that_no_test_notices_is_not_caught(self):
        self.assertEqual(self.attempt("nothing_is_asked")[0], "not caught")
        self.assertEqual(self.attempt("two_of_two_are_four", "2 * x", "x + x")[0], "not caught")

    def test_what_is_no_failure_of_the_test_is_an_error(self):
        for test, old, new, word in (("two_of_two_are_four", "2 * x", "2 * y", "error"),
                                     ("two_of_two_are_four", "3 * x", "x", "stands there 0 times"),
                                     ("all_is_skipped", "2 * x", "3 * x", "SKIP"),
                                     ("there_is_no_such_test", "2 * x", "3 * x", "1..0"),
                                     ("this_fails_anyway", "2 * x", "3 * x", "without the change")):
            with self.subTest(test=test, new=new):
                became, said = self.attempt(test, old, new)
                self.assertEqual(became, "error", said)
                self.assertIn(word, said)


class Rotation(unittest.TestCase):
    def chosen(self, count):
        return MUTATE.choose(argparse.Namespace(only=None, rotate=count))

    def test_one_commit_has_the_same_ones_and_none_twice(self):
        first, again = self.chosen(3), self.chosen(3)
        self.assertEqual(first, again)
        self.assertEqual(len({mutation.name for mutation in first}), 3)

    def test_the_simulator_is_not_among_them(self):
        guarded = self.chosen(1000)
        self.assertEqual(guarded, MUTATE.mutations.MUTATIONS)

    def test_without_a_number_there_are_all(self):
        self.assertEqual(self.chosen(0), MUTATE.mutations.all_mutations())


if __name__ == "__main__":
    unittest.main()
