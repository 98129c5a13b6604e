# SPDX-License-Identifier: Apache-2.0
"""The daemon's metrics in a file, read as Prometheus reads them, and held against what `patrol status` says."""

import os
import pathlib
import signal
import time

import prometheus_client.parser
import pytest

import harness
from harness import wait_for

PREFIX = "gridpatrol_syncd_"
IDLE_S = 20
SWITCHES_PER_S_MAX = 0.05


def config_of(path, interval="100ms"):
    return harness.QUICK + f"[metrics]\ntextfile = {path}\ninterval = {interval}\n[budget]\nunmetered-photos = 1 GiB\n"


class Metrics:
    """What the file says now."""

    def __init__(self, path):
        self.families = {}
        self.values = {}
        for family in prometheus_client.parser.text_string_to_metric_families(path.read_text()):
            assert family.name not in self.families, f"{family.name} is there twice"
            self.families[family.name] = family
            for sample in family.samples:
                key = (sample.name, *sorted(sample.labels.items()))
                assert key not in self.values, f"{key} is there twice"
                self.values[key] = sample.value

    def get(self, name, **labels):
        return self.values.get((PREFIX + name, *sorted(labels.items())))


@pytest.fixture
def textfile(tmp_path):
    (tmp_path / "textfiles").mkdir()
    return tmp_path / "textfiles" / "syncd.prom"


def test_metrics_are_what_the_status_says(server, make_real_handheld, textfile, tmp_path):
    handheld = make_real_handheld(server, config=config_of(textfile), start=True)
    wait_for(textfile.exists, "there are metrics at the start")
    assert Metrics(textfile).get("enrolled") == 1
    handheld.call("Pause", paused=True)
    handheld.record_many(3)
    handheld.record(photos=[harness.make_photo(tmp_path / "photo.jpg")])
    wait_for(lambda: Metrics(textfile).get("waiting", lane="text") == 4, "what waits is told")
    waiting = Metrics(textfile)
    assert waiting.get("state", state="paused") == 1 and waiting.get("state", state="idle") == 0
    assert waiting.get("waiting", lane="photos") == 1 and waiting.get("waiting_bytes") > 0
    assert abs(waiting.get("oldest_waiting_timestamp_seconds") - time.time()) < 3600
    assert waiting.get("newest_receipt_timestamp_seconds") is None
    handheld.call("Pause", paused=False)
    handheld.wait_until_drained()
    handheld.run("resync", "--level", "presence")
    # The file follows by a timer: what it says at last is what the status says.
    status = handheld.call("Status")
    wait_for(lambda: Metrics(textfile).get("received_bytes_total") == status["bytes_down"], "the last change is told")
    told = Metrics(textfile)
    assert told.get("waiting", lane="text") == told.get("waiting", lane="photos") == told.get("waiting_bytes") == 0
    assert told.get("records_sent_total") == status["records_sent"] == 4
    assert told.get("photos_confirmed_total") == 2  # and its preview
    assert told.get("exchanges_total", outcome="stored") >= 1
    assert told.get("failures_total", kind="network") == 0
    assert told.get("workers_started_total") >= 1 and told.get("workers_lost_total") == 0
    for lane in status["lanes"]:
        assert told.get("budget_used_bytes", lane=lane["lane"], network="unmetered") == lane["used_bytes"]
        assert told.get("sent_bytes_total", lane=lane["lane"], network="unmetered") == lane["used_bytes"] > 0
    assert told.get("budget_limit_bytes", lane="photos", network="unmetered") == 2 ** 30
    assert told.get("budget_limit_bytes", lane="photos", network="metered") == float("inf")
    assert told.get("last_resync_ok") == 1
    assert told.get("last_resync_timestamp_seconds", cause="person", level="presence") > 0
    assert abs(told.get("newest_receipt_timestamp_seconds") - time.time()) < 3600
    assert told.get("link_up") == status["link"]


def test_every_metric_has_help_type_and_a_name_of_its_kind(make_real_handheld, textfile):
    make_real_handheld(config=config_of(textfile), start=True)
    wait_for(textfile.exists, "there are metrics at the start")
    metrics = Metrics(textfile)
    assert len(metrics.families) > 20
    for name, family in metrics.families.items():
        assert name.startswith(PREFIX) and family.documentation and family.type in ("gauge", "counter"), name
        for sample in family.samples:
            assert sample.name.endswith("_total") == (family.type == "counter"), sample.name
    documented = (harness.TOP / "docs/operating.md").read_text()
    for name, family in metrics.families.items():
        full = name + ("_total" if family.type == "counter" else "")
        assert f"`{full.removeprefix(PREFIX)}`" in documented, f"{full} is not in docs/operating.md"


def test_a_failure_is_counted_and_a_worker_that_was_killed_too(server, make_real_handheld, textfile):
    handheld = make_real_handheld(server, config=config_of(textfile), start=True)
    handheld.record()
    handheld.wait_until_drained()
    pid = wait_for(handheld.worker, "there is a network worker")
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: Metrics(textfile).get("workers_lost_total") == 1, "the lost worker is counted")
    server.stop()
    handheld.record()
    wait_for(lambda: Metrics(textfile).get("failures_total", kind="network") >= 1, "the failure is counted")
    assert Metrics(textfile).get("failures_in_row") >= 1


def test_an_idle_daemon_is_not_woken_for_its_metrics(server, make_real_handheld, textfile):
    handheld = make_real_handheld(server, config=config_of(textfile, "1s"), start=True)
    handheld.record_many(3)
    handheld.wait_until_drained()
    wait_for(lambda: Metrics(textfile).get("waiting", lane="text") == 0, "the last change is told")
    os.kill(wait_for(handheld.worker, "there is a network worker"), signal.SIGKILL)  # else it ends a minute later
    wait_for(lambda: Metrics(textfile).get("workers_lost_total") == 1, "the daemon has noticed")
    status = pathlib.Path(f"/proc/{handheld.process.child.pid}/status")

    def switches():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["voluntary_ctxt_switches"])

    # What follows that is over when some intervals passed without a wake-up.
    seen = [switches()]

    def is_at_rest():
        time.sleep(3)
        seen.append(switches())
        return seen[-1] == seen[-2]

    wait_for(is_at_rest, "the daemon is at rest")
    before, written = switches(), textfile.stat().st_mtime_ns
    time.sleep(IDLE_S)
    assert switches() - before <= SWITCHES_PER_S_MAX * IDLE_S
    assert textfile.stat().st_mtime_ns == written


def test_the_file_is_gone_with_the_daemon_and_replaced_whole(make_real_handheld, textfile):
    textfile.write_text("what a daemon that was killed has left")
    handheld = make_real_handheld(config=config_of(textfile), start=True)
    wait_for(lambda: Metrics(textfile).get("enrolled") == 0, "it is replaced")
    assert [path.name for path in textfile.parent.iterdir()] == [textfile.name]
    assert handheld.stop() == 0
    assert not textfile.exists()


def test_a_directory_that_is_not_there_stops_no_delivery(server, make_real_handheld, tmp_path):
    missing = tmp_path / "nowhere" / "syncd.prom"
    handheld = make_real_handheld(server, config=config_of(missing), start=True)
    handheld.record_many(2)
    handheld.wait_until_drained()
    assert handheld.process.text().count("metrics cannot be written") == 1
    missing.parent.mkdir()
    handheld.record()
    handheld.wait_until_drained()
    wait_for(lambda: missing.exists() and Metrics(missing).get("records_sent_total") == 3, "they are written when it is there")


@pytest.mark.parametrize("path, word", [
    ("syncd.prom", "absolute"), ("/tmp/metrics.txt", ".prom"), ("{data}/syncd.prom", "data directory"),
    ("{directory}/there.prom", "regular file"),
])
def test_a_path_that_would_do_harm_stops_the_start(make_real_handheld, path, word):
    handheld = make_real_handheld()
    (handheld.directory / "there.prom").mkdir()
    path = path.format(data=handheld.data, directory=handheld.directory)
    handheld.syncd_config.write_text(config_of(path))
    handheld.start(wait=False)
    assert handheld.process.child.wait(timeout=harness.PATIENCE_S) == 2
    told = handheld.process.text()
    assert path in told and word in told and told.count("\n") == 1
