# SPDX-License-Identifier: Apache-2.0
"""What a handheld's and a centre's directory hold, read and recomputed without any of our own code: logs and their roots as
proto/README.md has them ("Ids", "Logs", "Checkpoints and receipts"), tables as store/schema.c and
server/storage/sqlite_schema.c make them."""

import base64
import contextlib
import hashlib
import pathlib
import shutil
import sqlite3
import tempfile
import uuid

SEQ_BITS = 40
TILE_BITS = 32
TILE_LEAVES = 256
PENDING, STORED, BACKED_UP = range(3)  # a handheld's blobs whose file is still here: store/store.h


def leaf_of(record):
    return hashlib.sha256(b"\0" + record).digest()


def root_of(leaves):
    """Folds neighbours level by level; an odd one moves up, which gives the tree of RFC 9162 that is split to the left."""
    if not leaves:
        return hashlib.sha256().digest()
    while len(leaves) > 1:
        whole = len(leaves) // 2 * 2
        leaves = [hashlib.sha256(b"\1" + leaves[at] + leaves[at + 1]).digest() for at in range(0, whole, 2)] + leaves[whole:]
    return leaves[0]


class Log:
    """One log of either end: its records' bytes in order, and the size and root in its newest receipt (0, None without)."""

    def __init__(self, number, log_id, note):
        self.number, self.id, self.records, self.tiles = number, uuid.UUID(bytes=log_id), [], []
        self.receipt_size, self.receipt_root = 0, None
        if note:
            _, size, root = bytes(note).decode().split("\n")[:3]
            self.receipt_size, self.receipt_root = int(size), base64.b64decode(root)

    def ids(self):
        return {str(uuid.uuid5(self.id, f"{seq}:{leaf_of(record).hex()}")): record
                for seq, record in enumerate(self.records)}

    def verify(self):
        """The whole tiles and the receipt have the roots that the records lead to."""
        leaves = [leaf_of(record) for record in self.records]
        whole = len(leaves) // TILE_LEAVES
        assert len(self.tiles) == whole, f"{len(self.tiles)} tiles for {len(leaves)} records"
        for tile, root in enumerate(self.tiles):
            assert root == root_of(leaves[tile * TILE_LEAVES:(tile + 1) * TILE_LEAVES]), f"tile {tile} has another root"
        assert self.receipt_size <= len(leaves), f"receipt for {self.receipt_size} of {len(leaves)} records"
        if self.receipt_root:
            assert self.receipt_root == root_of(leaves[:self.receipt_size]), "the receipt's root is another"


@contextlib.contextmanager
def copied(path):
    """A database as its files say, with the WAL's commits, opened as a copy: what is looked at is not touched."""
    with tempfile.TemporaryDirectory() as scratch:
        for suffix in ("", "-wal"):
            if path.with_name(path.name + suffix).exists():
                shutil.copy(path.with_name(path.name + suffix), scratch)
        with contextlib.closing(sqlite3.connect(pathlib.Path(scratch) / path.name)) as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            yield database


@contextlib.contextmanager
def live(path):
    """A database that others are using, as it is at one instant."""
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        database.execute("BEGIN")
        yield database


def read_logs(database, note, tile_bits):
    """{id: Log}; both ends name tables and columns alike, but for the receipt's note."""
    logs = {number: Log(number, log_id, text)
            for number, log_id, text in database.execute(f"SELECT number, id, {note} FROM logs")}
    for key, leaf, record in database.execute("SELECT key, leaf, bytes FROM records ORDER BY key"):
        records = logs[key >> SEQ_BITS].records
        assert key & (1 << SEQ_BITS) - 1 == len(records), f"a gap before {key:x}"
        assert leaf == leaf_of(record), f"record {key:x} is not what was recorded"
        records.append(record)
    for key, root in database.execute("SELECT key, root FROM tiles ORDER BY key"):
        tiles = logs[key >> tile_bits].tiles
        assert key & (1 << tile_bits) - 1 == len(tiles), f"a tile is missing before {key:x}"
        tiles.append(root)
    for log in logs.values():
        log.verify()
    return {log.id: log for log in logs.values()}


def assert_file_is(path, digest, size):
    assert path.exists(), f"{path} is not there"
    content = path.read_bytes()
    assert len(content) == size, f"{path} has {len(content)} bytes of {size}"
    assert hashlib.sha256(content).digest() == digest, f"{path} has other bytes"


def blob_path(directory, digest):
    return directory / digest.hex()[:2] / digest.hex()


class Handheld:
    """Reads `queue.db` and the photos below `data`. `opens` is `copied`, or `live` beside a daemon."""

    def __init__(self, data, opens=copied):
        self.photos = data / "photos"
        self.logs, self.blobs = {}, {}
        if not (data / "queue.db").exists():
            return
        with opens(data / "queue.db") as database:
            if not database.execute("SELECT 1 FROM sqlite_schema WHERE name = 'logs'").fetchone():
                return  # the power went before there was anything
            self.logs = read_logs(database, "receipt_note", TILE_BITS)
            self.blobs = {digest: (size, state)
                          for digest, size, state in database.execute("SELECT sha256, size, state FROM blobs")}

    def ids(self):
        return {record_id: record for log in self.logs.values() for record_id, record in log.ids().items()}

    def places(self):
        return {(log.id, seq): record for log in self.logs.values() for seq, record in enumerate(log.records)}

    def assert_photos_are_whole(self):
        for digest, (size, state) in self.blobs.items():
            assert state in (PENDING, STORED, BACKED_UP), f"{digest.hex()} is in state {state}"
            assert_file_is(blob_path(self.photos, digest), digest, size)


class Centre:
    """Reads `centre.db` and the blobs below `data`."""

    def __init__(self, data, opens=copied):
        self.blobs = data / "blobs"
        with opens(data / "centre.db") as database:
            self.logs = read_logs(database, "note", SEQ_BITS)

    def assert_bears_out(self, handheld):
        """What it has signed for is there: the records below each receipt, the photos that it called stored."""
        for log in handheld.logs.values():
            mine = self.logs[log.id].records if log.receipt_size else []
            assert len(mine) >= log.receipt_size, f"signed for {log.receipt_size} records, holds {len(mine)}"
            assert mine[:log.receipt_size] == log.records[:log.receipt_size], "holds other records than it signed for"
        for digest, (size, state) in handheld.blobs.items():
            if state in (STORED, BACKED_UP):
                assert_file_is(blob_path(self.blobs, digest), digest, size)

    def assert_holds_all_of(self, handheld):
        """Each record of each log, in its place, and each photo; and the handheld knows it."""
        for log in handheld.logs.values():
            assert log.receipt_size == len(log.records) and self.logs[log.id].records == log.records
        assert all(state != PENDING for _, state in handheld.blobs.values())
        self.assert_bears_out(handheld)
