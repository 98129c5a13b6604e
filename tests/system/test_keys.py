# SPDX-License-Identifier: Apache-2.0
"""A centre changes its receipt key and its CA, while handhelds are away, and nobody is left behind; nobody takes a
retired key for the centre's, nor a key that the centre never named."""

import base64
import json
import re
import shutil

import harness
import pytest
from harness import assert_delivered, wait_for

DAY_S = 86400


def keys(server):
    return [json.loads(line) for line in server.run("key", "list", "--json").stdout.splitlines()]


def states(server):
    return [key["state"] for key in keys(server)]


def knowing(server):
    """Of each key, how many handhelds know of no newer one."""
    return [key["handhelds"] for key in keys(server)]


def evidence_of(handheld, finding, path):
    handheld.run("export", "--evidence", finding, "-o", path)
    return path


def signer_of(server, evidence):
    """The number of the key that cosigned the receipt in an evidence file."""
    line = re.findall(rb"\xe2\x80\x94 gridpatrol/receipt ([A-Za-z0-9+/=]+)\n", evidence.read_bytes())[0]
    wanted = base64.b64decode(line)[:4].hex()
    for number in range(1, len(keys(server)) + 1):
        if server.run("key", "-o", "-", "--number", number).stdout.split("+")[1] == wanted:
            return number
    return None


@pytest.fixture
def later(monkeypatch):
    """All programs that are started from then on live so many days later."""

    def set_days(days):
        monkeypatch.setenv("LD_PRELOAD", harness.program("libclock_shim.so"))
        monkeypatch.setenv("CLOCK_SHIM_OFFSET_S", str(days * DAY_S))
        monkeypatch.setenv("ASAN_OPTIONS", "verify_asan_link_order=0")

    return set_days


def test_handheld_that_was_away_for_two_rotations_gets_across(server, make_real_handheld, tmp_path):
    handheld = make_real_handheld(server, start=True)
    ids = [handheld.record("before")]
    handheld.wait_until_drained()
    handheld.stop()
    server.run("key", "next", "--in", "0s")
    server.run("key", "next", "--in", "0s")  # beside the running serve
    assert states(server) == ["retired", "retired", "signs"] and knowing(server) == [1, 0, 0]
    handheld.start()
    ids.append(handheld.record("after"))
    handheld.wait_until_drained()
    handheld.run("sync", "--wait", "30")  # one exchange brings the keys, the next one says that they are known
    assert knowing(server) == [0, 0, 1]
    ids.append(handheld.record("by the new key"))
    handheld.wait_until_drained()
    assert signer_of(server, evidence_of(handheld, ids[-1], tmp_path / "evidence")) == 3
    handheld.run("resync", "--level", "media", "--wait", "30")
    assert_delivered(server, handheld, ids)
    handheld.stop()
    handheld.start()  # what it was told is on its disk
    ids.append(handheld.record("after a restart"))
    handheld.wait_until_drained()
    assert_delivered(server, handheld, ids)


def test_successor_signs_from_its_date_and_the_retired_key_is_taken_no_more(server, make_real_handheld, later, tmp_path):
    handheld = make_real_handheld(server, start=True)
    shutil.copytree(server.data / "keys", tmp_path / "old keys")
    server.run("key", "next", "--in", "14d")
    assert states(server) == ["signs", "waits"]
    first = handheld.record("before the date")
    handheld.wait_until_drained()
    handheld.run("sync", "--wait", "30")
    assert knowing(server) == [0, 1]
    second = handheld.record("still before it")
    handheld.wait_until_drained()
    assert signer_of(server, evidence_of(handheld, second, tmp_path / "before")) == 1
    handheld.stop()
    server.stop()

    later(15)
    server.start()
    handheld.start()
    third = handheld.record("after the date")
    handheld.wait_until_drained()
    assert states(server) == ["retired", "signs"]
    assert signer_of(server, evidence_of(handheld, third, tmp_path / "after")) == 2
    server.stop()

    # Whoever has the old key, and all else of the centre, is not the centre any more.
    shutil.move(server.data / "keys", tmp_path / "new keys")
    shutil.copytree(tmp_path / "old keys", server.data / "keys")
    server.start()
    fourth = handheld.record("to whom?")
    wait_for(lambda: handheld.call("Status")["failures"] >= 2, "answers by the retired key count for nothing")
    assert handheld.status()["records_queued"] == 1
    server.stop()
    shutil.rmtree(server.data / "keys")
    shutil.move(tmp_path / "new keys", server.data / "keys")
    server.start()
    handheld.run("sync", "--wait", "30")
    handheld.wait_until_drained()
    assert_delivered(server, handheld, [first, second, third, fourth])


def test_evidence_from_before_and_after_verifies_with_the_first_key_and_leads_to_no_other_centre(
        server, make_server, make_real_handheld, tmp_path):
    handheld = make_real_handheld(server, start=True)
    auditor = tmp_path / "auditor.key"
    server.run("key", "-o", auditor)
    old = handheld.record("before")
    handheld.wait_until_drained()
    before = evidence_of(handheld, old, tmp_path / "before")
    server.run("key", "next", "--in", "0s")
    handheld.run("sync", "--wait", "30")
    new = handheld.record("after")
    handheld.wait_until_drained()
    after = evidence_of(handheld, new, tmp_path / "after")
    young = make_real_handheld(server, name="young", start=True)
    born = young.record("enrolled after")
    young.wait_until_drained()
    of_young = evidence_of(young, born, tmp_path / "of young")

    assert signer_of(server, before) == 1 and signer_of(server, after) == 2 and signer_of(server, of_young) == 2
    assert server.run("key", "-o", "-").stdout == auditor.read_text(), "the auditor's key stays the same"
    for evidence in (before, after, of_young):
        handheld.run("verify", evidence, "--server-key", auditor)
    server.run("key", "-o", tmp_path / "second.key", "--number", 2)
    handheld.run("verify", of_young, "--server-key", tmp_path / "second.key")
    assert "did not sign the device's certificate" in handheld.run(
        "verify", before, "--server-key", tmp_path / "second.key", status=1).stderr
    other = make_server("other")
    other.run("key", "next", "--in", "0s")
    other.run("key", "-o", tmp_path / "other.key")
    handheld.run("verify", after, "--server-key", tmp_path / "other.key", status=1)
    data = after.read_bytes()
    at = data.rindex(b"trust-statement+zlib") + 60  # within its signature
    (tmp_path / "forged").write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1:])
    assert "successors" in handheld.run("verify", tmp_path / "forged", "--server-key", auditor, status=1).stderr


def test_token_from_before_the_date_enrols_after_it(server, make_real_handheld, later):
    server.run("key", "next", "--in", "2d")
    early = server.token("--valid", "10d")
    server.stop()
    later(3)
    server.start()
    assert states(server) == ["retired", "signs"]
    handhelds = [make_real_handheld(name="early"), make_real_handheld(name="late")]
    for handheld, token in zip(handhelds, (early, server.token())):
        handheld.enroll(server, token=token)
        handheld.start()
        handheld.record("enrolled")
        handheld.wait_until_drained()
    assert knowing(server) == [0, 2]
    for handheld in handhelds:
        handheld.enroll(server)  # again, by a token that names the new key: it is no other centre


def test_copy_of_a_backup_goes_on_with_the_newest_key(server, make_real_handheld, tmp_path):
    handheld = make_real_handheld(server, start=True)
    server.run("key", "next", "--in", "0s")
    ids = [handheld.record("one")]
    handheld.wait_until_drained()
    handheld.run("sync", "--wait", "30")
    server.run("backup", tmp_path / "copy")
    ids.append(handheld.record("lost at the centre"))
    handheld.wait_until_drained()
    server.stop()
    shutil.rmtree(server.data)
    shutil.move(tmp_path / "copy", server.data)
    server.start()
    ids.append(handheld.record("three"))
    handheld.run("sync", "--wait", "30")
    handheld.wait_until_drained()
    assert_delivered(server, handheld, ids)
    server.stop()
    (server.data / "keys" / "receipt-2.key").unlink()
    assert "restore keys/ from a backup" in server.run("serve", "--listen", "127.0.0.1:0", "--tls-cert",
                                                        server.certificates.chain, "--tls-key", server.certificates.key,
                                                        status=1).stderr


def test_carriers_go_there_and_back_across_a_rotation(server, make_real_handheld, tmp_path):
    handheld = make_real_handheld(server)
    server.stop()
    handheld.start()
    handheld.record_many(3)
    server.run("key", "next", "--in", "0s")
    for turn in ("knows only the old key", "still does, as no carrier brings keys"):
        handheld.run("export", "--bundle", tmp_path / turn)
        server.run("import-bundle", tmp_path / turn, "-o", tmp_path / (turn + " receipts"))
        handheld.run("import-receipts", tmp_path / (turn + " receipts"))
        assert handheld.is_drained()
        handheld.record("more")
    server.start()
    handheld.wait_until_drained()
    handheld.run("sync", "--wait", "30")
    assert knowing(server) == [0, 1]
    server.stop()
    handheld.record("by the new key")
    handheld.run("export", "--bundle", tmp_path / "new")
    server.run("import-bundle", tmp_path / "new", "-o", tmp_path / "new receipts")
    handheld.run("import-receipts", tmp_path / "new receipts")
    assert handheld.is_drained() and len(server.findings()) == len(handheld.list()) == 6


def test_new_ca_is_trusted_before_it_is_used_and_the_old_one_is_dropped(make_server, make_real_handheld, tmp_path):
    server = make_server()
    old, new = server.certificates, harness.Certificates(tmp_path / "new", name="new")
    handheld = make_real_handheld(server, start=True)
    ids = [handheld.record("under the old CA")]
    handheld.wait_until_drained()
    assert "the CA that patrol-server serve uses now is not in it" in server.run("key", "ca", new.ca, status=3).stderr
    assert "is not a CA's own" in server.run("key", "ca", new.leaf, status=3).stderr
    both = tmp_path / "both.pem"
    both.write_text(old.ca.read_text() + new.ca.read_text())
    server.run("key", "ca", both)
    handheld.run("sync", "--wait", "30")
    handheld.run("sync", "--wait", "30")
    assert server.run("key", "list").stdout.endswith("handhelds that have not heard the newest word on keys and CAs: 0\n")

    server.stop()
    server.certificates = new
    server.start()
    ids.append(handheld.record("under the new CA"))
    handheld.wait_until_drained()
    assert "will refuse it" not in server.process.text()
    server.run("key", "ca", new.ca)
    handheld.run("sync", "--wait", "30")
    assert (handheld.data / "ca.pem").read_text() == new.ca.read_text()
    young = make_real_handheld(server, name="young", start=True)
    young.record("enrolled under the new CA")
    young.wait_until_drained()

    server.stop()
    server.certificates = old
    server.start()
    assert "will refuse it" in server.process.text()
    handheld.record("the old CA vouches for nobody any more")
    wait_for(lambda: handheld.call("Status")["failures"] >= 2, "the handheld refuses the server")
    assert handheld.status()["records_queued"] == 1
    server.stop()
    server.certificates = new
    server.start()
    handheld.run("sync", "--wait", "30")
    handheld.wait_until_drained()


def test_key_commands_say_what_they_want(server, tmp_path):
    for arguments, status, told in ((["key"], 2, "say what"), (["key", "nothing"], 2, "say what"), (["key", "ca"], 2, "say what"),
                                    (["key", "next", "--in", "soon"], 3, "no duration"),
                                    (["key", "-o", "-", "--number", "2"], 3, "no key 2"),
                                    (["key", "ca", tmp_path / "nowhere.pem"], 3, "nowhere.pem")):
        refused = server.run(*arguments, status=status)
        assert told in refused.stderr and refused.stderr.count("\n") == 1, arguments
    assert len(keys(server)) == 1
