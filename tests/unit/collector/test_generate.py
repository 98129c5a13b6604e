#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The generator of the built-in category directory refuses a file that is wrong, and names the line."""

import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[3]
GENERATE = ROOT / "collector" / "directory" / "generate.py"

HEAD = "# scheme: S\n# version: 1\n"
COLUMNS = "kind\tcode\tmajor_zh\tmajor_en\tname_zh\tname_en\n"
MATTER = "matter\t2\t类\tClass\t乙\tSecond\n"
COMPONENT = 'component\t1\t类\tClass\t甲\tThe "first" \\ one\n'


def generate(text):
    """Return (exit status, stderr, the table or None)."""
    with tempfile.TemporaryDirectory() as folder:
        source, output = pathlib.Path(folder, "d.tsv"), pathlib.Path(folder, "d.c")
        source.write_bytes(text if isinstance(text, bytes) else text.encode())
        done = subprocess.run(
            [sys.executable, GENERATE, source, output], capture_output=True, text=True, check=False
        )
        return done.returncode, done.stderr, output.read_text() if output.exists() else None


class Generate(unittest.TestCase):
    def test_table_is_sorted_and_its_texts_are_quoted(self):
        status, _, table = generate(HEAD + COLUMNS + COMPONENT + MATTER)
        self.assertEqual(status, 0)
        matter = table.index('{CATEGORY_MATTER, "2", "类", "Class", "乙", "Second"},')
        component = table.index('{CATEGORY_COMPONENT, "1", "类", "Class", "甲", "The \\"first\\" \\\\ one"},')
        self.assertLess(matter, component)
        self.assertIn('.scheme = "S",', table)
        self.assertIn('.version = "1",', table)

    def test_wrong_files_are_refused_with_their_line(self):
        for text, line, word in [
            (HEAD + COLUMNS + MATTER + MATTER, 5, "twice"),
            (HEAD + COLUMNS + MATTER + "matter\t3\t类\t\t丙\tThird\n", 5, "empty"),
            (HEAD + COLUMNS + MATTER + "matter\t3\t类\tClass\t丙\n", 5, "5 fields"),
            (HEAD + COLUMNS + MATTER + "thing\t3\t类\tClass\t丙\tThird\n", 5, "kind"),
            (HEAD + COLUMNS + MATTER + "matter\t3 4\t类\tClass\t丙\tThird\n", 5, "code"),
            (HEAD + COLUMNS + MATTER.replace("乙", "乙" * 86), 4, "longer"),
            (HEAD + COLUMNS + MATTER.replace("\n", "\r\n"), 4, "control"),
            (HEAD.encode() + b"# \xff\n" + COLUMNS.encode(), 3, "UTF-8"),
            (HEAD + MATTER, 3, "column"),
            (HEAD + COLUMNS + COMPONENT, 1, "no matter"),
            (HEAD + COLUMNS + "".join(MATTER.replace("2", str(n)) for n in range(4097)), 1, "4096"),
            ("# version: 1\n" + COLUMNS + MATTER, 1, "scheme"),
            ("# scheme: S\n" + COLUMNS + MATTER, 1, "version"),
        ]:
            with self.subTest(word=word):
                status, error, table = generate(text)
                self.assertEqual(status, 1)
                self.assertIn(f"d.tsv:{line}: ", error)
                self.assertIn(word, error)
                self.assertIsNone(table)


if __name__ == "__main__":
    unittest.main()
