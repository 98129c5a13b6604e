#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Makes a preset dictionary for small batches of findings. See README.md here: a dictionary that was ever shipped is
never made again, so that this script is for the next one.

Usage: train.py OUTPUT

What stands most often in records is put together from three sources, the best last, where a match costs least:
findings of the project's own generator, the names in the category directory (both languages), and what frames every
record and exchange. From the first two, pieces are picked that cover the most sequences of SEQUENCE_BYTES bytes, by
the number of texts in which a sequence occurs, per byte of dictionary. The same inputs give the same bytes.
"""

import collections
import heapq
import pathlib
import sys
import zlib

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(TOP / "tests" / "vectors"), str(TOP / "tests" / "data")]

import make_findings  # noqa: E402
import make_record_vectors as wire  # noqa: E402

DICTIONARY_BYTES_MAX = 8192
FINDINGS_BYTES = 3600
CHINESE_NAMES_BYTES = 2000
ENGLISH_NAMES_BYTES = 2200
SEQUENCE_BYTES = 6  # two Chinese characters
PIECE_BYTES = (8, 16, 24, 40)
SEEDS = range(101, 107)
FINDINGS_PER_SEED = 250
SEVERITIES = {"minor": 1, "normal": 2, "serious": 3, "urgent": 4}


def encode(finding, n):
    """The finding as a record: one every three minutes, with a position fixed in that second."""
    wall_ms = wire.WALL_MS + 180000 * n + n * n % 7919
    position = (wire.fixed32(1, round(finding["lat"] * 1e7)) + wire.fixed32(2, round(finding["lon"] * 1e7))
                + wire.number(3, round(finding["accuracy_m"] * 10)) + wire.signed(4, 0, True))
    body = (wire.field(1, wire.category(finding["category"])) + wire.number(2, SEVERITIES[finding["severity"]])
            + wire.text(3, finding["note"]) + wire.field(4, position))
    return wire.record(wire.FINDING, body, wall_ms=wall_ms, boot_ms=wall_ms - wire.WALL_MS + wire.BOOT_MS)


def sample_findings():
    return [encode(finding, n) for seed in SEEDS
            for n, finding in enumerate(make_findings.make_findings(FINDINGS_PER_SEED, seed))]


def directory_names(column):
    rows = (TOP / "collector" / "directory" / "gbt47678.5-2026.tsv").read_text(encoding="utf-8").splitlines()
    rows = [row.split("\t") for row in rows if not row.startswith("#")]
    at = rows[0].index(column)
    return [row[at].encode() for row in rows[1:]]


def sequences(text):
    return {text[at:at + SEQUENCE_BYTES] for at in range(len(text) - SEQUENCE_BYTES + 1)}


def pick_pieces(texts, size):
    """The best pieces of the texts, `size` bytes in all, the best last."""
    occurrences = collections.Counter()
    for text in texts:
        occurrences.update(sequences(text))
    occurrences = {sequence: count for sequence, count in occurrences.items() if count >= 3}

    def gain(piece):
        return sum(occurrences.get(sequence, 0) for sequence in sequences(piece)) / len(piece)

    pieces = {text[at:at + length] for text in texts for length in PIECE_BYTES for at in range(len(text) - length + 1)}
    best_first = [(-gain(piece), piece) for piece in pieces]
    heapq.heapify(best_first)
    picked, left = [], size
    while best_first and left > 0:
        _, piece = heapq.heappop(best_first)
        now = -gain(piece)
        if best_first and now > best_first[0][0]:
            if now < 0:
                heapq.heappush(best_first, (now, piece))
            continue
        picked.append(piece[:left])
        left -= len(picked[-1])
        for sequence in sequences(piece):
            occurrences.pop(sequence, None)
    return b"".join(reversed(picked))


def framing():
    """What stands in every exchange and every record, the most frequent last."""
    note = "/default/" + "\n\n\u2014 " + "/default/device/" + "\n\u2014 " + "/receipt "
    photo = wire.field(7, wire.text(1, bytes(32))[:2]) + wire.number(2, 100000)
    record = wire.record(wire.FINDING, wire.field(1, wire.category("06013")) + wire.number(2, 2) + wire.text(3, "; "),
                         inspector="")
    return (note.encode() + b"gridpatrol 0.1.0" + photo + wire.text(4, wire.category("01001", "01001")) + record)


def main():
    dictionary = (pick_pieces(sample_findings(), FINDINGS_BYTES)
                  + pick_pieces(directory_names("name_zh"), CHINESE_NAMES_BYTES)
                  + pick_pieces(directory_names("name_en"), ENGLISH_NAMES_BYTES) + framing())
    assert len(dictionary) <= DICTIONARY_BYTES_MAX
    pathlib.Path(sys.argv[1]).write_bytes(dictionary)
    print(f"{len(dictionary)} bytes, named {zlib.adler32(dictionary):08x}")


if __name__ == "__main__":
    main()
