#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The made photos are JPEG files of a handheld's size, by seed. Takes the program as its argument."""

import pathlib
import subprocess
import sys
import tempfile
import unittest

PROGRAM = sys.argv.pop(1)


def make(*arguments):
    with tempfile.TemporaryDirectory() as folder:
        photo = pathlib.Path(folder, "photo.jpg")
        subprocess.run([PROGRAM, *arguments, "-o", photo], check=True)
        return photo.read_bytes()


def jpeg_size(data):
    """Return (width, height) as the frame header says (ITU-T T.81, B.2.2), after walking the segments to it."""
    at = 2
    while data[at + 1] not in (0xC0, 0xC1, 0xC2):
        assert data[at] == 0xFF
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return int.from_bytes(data[at + 7 : at + 9], "big"), int.from_bytes(data[at + 5 : at + 7], "big")


class MakePhoto(unittest.TestCase):
    def test_default_photo_is_a_whole_jpeg_of_a_handhelds_size(self):
        for seed in ("1", "6"):
            data = make("--seed", seed)
            self.assertEqual((data[:2], data[-2:]), (b"\xff\xd8", b"\xff\xd9"))
            self.assertEqual(jpeg_size(data), (1600, 1200))
            self.assertTrue(300_000 <= len(data) <= 500_000, len(data))

    def test_same_seed_gives_same_bytes_and_another_seed_gives_others(self):
        small = ("--width", "320", "--height", "200", "--quality", "70", "--seed")
        self.assertEqual(make(*small, "7"), make(*small, "7"))
        self.assertNotEqual(make(*small, "7"), make(*small, "8"))
        self.assertEqual(jpeg_size(make(*small, "7")), (320, 200))

    def test_wrong_arguments_are_refused(self):
        for arguments in (["--width", "8"], ["--seed", "-1"], ["--quality", "101"], ["more"], []):
            output = [] if arguments == [] else ["-o", "/dev/null"]
            done = subprocess.run([PROGRAM, *arguments, *output], capture_output=True, check=False)
            self.assertEqual(done.returncode, 2)


if __name__ == "__main__":
    unittest.main()
