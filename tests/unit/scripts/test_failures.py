#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Holds docs/failures.md to what is there: every test that it names exists, and every mutation stands in a row whose test it
breaks."""

import os
import re
import sys
import unittest

TOP = os.path.realpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", ".."))
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(TOP, "tests", "mutation"))
import mutations  # noqa: E402
import plant  # noqa: E402

ROWS_WITH_MUTATIONS_MIN = 15
NOT_THERE_YET = "not there yet"


def read(name):
    with open(os.path.join(TOP, name), encoding="utf-8") as file:
        return file.read()


class Row:
    def __init__(self, heading, cells):
        self.heading = heading
        self.failure, self.protection, tests, names = cells
        self.is_open = NOT_THERE_YET in tests
        self.tests = re.findall(r"`([\w/.]+::\w+)`", tests)
        self.mutations = re.findall(r"`([\w-]+)`", names)


def rows_of(text):
    """The rows of all tables below a heading of the second level; not their own headings."""
    rows, heading = [], None
    for line in text.splitlines():
        if line.startswith("## "):
            heading = line[3:]
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []
        if heading and len(cells) == 4 and not re.fullmatch("-+", cells[0]) and cells[0] != "what went wrong":
            rows.append(Row(heading, cells))
    return rows


def exists(test):
    """A test of pytest is a function; a test of cmocka is a function that is also registered."""
    name, test = test.split("::")
    path = os.path.join("tests", name)
    if not os.path.exists(os.path.join(TOP, path)):
        return False
    text = read(path)
    if path.endswith(".py"):
        return re.search(rf"^def {test}\(", text, re.MULTILINE) is not None
    return re.search(rf"^static void {test}\(void \*\*", text, re.MULTILINE) is not None and len(
        re.findall(rf"\b{test}\b", text)) >= 2


class Failures(unittest.TestCase):
    def setUp(self):
        self.rows = rows_of(read("docs/failures.md"))

    def test_every_row_has_a_test_or_says_that_it_has_none(self):
        self.assertGreater(len(self.rows), 30)
        for row in self.rows:
            with self.subTest(row.failure):
                self.assertTrue(row.tests or row.is_open)

    def test_every_test_that_is_named_exists(self):
        for row in self.rows:
            for test in row.tests:
                with self.subTest(test):
                    self.assertTrue(exists(test))

    def test_every_path_that_protects_exists(self):
        for row in self.rows:
            for path in re.findall(r"`([\w/.]+/[\w.]+)`", row.protection):
                with self.subTest(path):
                    self.assertTrue(os.path.exists(os.path.join(TOP, path)))

    def test_every_mutation_of_a_row_breaks_a_test_of_that_row(self):
        known = {mutation.name: mutation for mutation in mutations.all_mutations()}
        for row in self.rows:
            for name in row.mutations:
                with self.subTest(name):
                    self.assertIn(known[name].test, row.tests)

    def test_every_mutation_stands_in_a_row_and_there_are_enough_of_them(self):
        named = {name for row in self.rows for name in row.mutations}
        self.assertEqual({mutation.name for mutation in mutations.MUTATIONS} - named, set())
        with_mutations = [row for row in self.rows if row.mutations]
        self.assertGreaterEqual(len(with_mutations), ROWS_WITH_MUTATIONS_MIN)
        self.assertEqual({row.heading for row in with_mutations}, {row.heading for row in self.rows})


class Mutations(unittest.TestCase):
    def test_names_are_unique(self):
        names = [mutation.name for mutation in mutations.all_mutations()]
        self.assertEqual(sorted(names), sorted(set(names)))

    def test_every_text_to_be_changed_stands_in_its_file_once(self):
        for mutation in mutations.all_mutations():
            with self.subTest(mutation.name):
                texts = plant.edited(TOP, mutation.edits)
                for name, text in texts.items():
                    self.assertNotEqual(text, read(name))

    def test_a_text_that_is_not_there_or_there_twice_is_an_error(self):
        for old in ("no such text", "static"):
            with self.subTest(old), self.assertRaisesRegex(plant.PlantError, "stands there"):
                plant.edited(TOP, [plant.Edit("store/append.c", old, "")])
        with self.assertRaises(plant.PlantError):
            plant.edited(TOP, [plant.Edit("store/no_such_file.c", "x", "")])


if __name__ == "__main__":
    unittest.main()
