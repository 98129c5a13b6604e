# SPDX-License-Identifier: Apache-2.0
"""The command lines with a daemon and a centre, as people meet them: what they say when something is in the way."""

import re

import harness

# After one failed attempt the next is far away.
PATIENT = harness.QUICK.replace("100ms", "10min").replace("backoff-max = 1s", "backoff-max = 30min")


def one_line(result):
    assert result.stderr.count("\n") == 1, result.stderr
    return result.stderr


# ---- sync and resync that run out of time ----

def test_a_sync_that_runs_out_of_time_says_why_and_when_it_goes_on(server, make_real_handheld):
    handheld = make_real_handheld(server, config=PATIENT)
    server.stop()
    handheld.start()
    handheld.record()
    told = one_line(handheld.run("sync", "--wait", "1", status=1))
    assert re.search(r"the sync is not done yet: the centre could not be reached; next attempt \d\d:\d\d:\d\d;", told), told


def test_a_resync_that_runs_out_of_time_says_why_and_when_it_goes_on(server, make_real_handheld):
    handheld = make_real_handheld(server, config=PATIENT, start=True)
    handheld.record()
    handheld.run("sync", "--wait", "20")
    server.stop()
    told = one_line(handheld.run("resync", "--wait", "1", status=1))
    assert re.search(r"the resync is not done yet: the centre could not be reached; next attempt \d\d:\d\d:\d\d;", told), told


def test_a_resync_with_nothing_receipted_claims_nothing(server, make_real_handheld):
    handheld = make_real_handheld(server, config=PATIENT)
    server.stop()
    handheld.start()
    handheld.record()
    told = handheld.run("resync").stdout
    assert "nothing to compare" in told and "holds everything" not in told
