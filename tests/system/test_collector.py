# SPDX-License-Identifier: Apache-2.0
"""`patrol` by itself, without a daemon and without a network: what it takes, what it refuses, and in which words."""

import concurrent.futures
import gzip
import hashlib
import json
import os
import re
import select
import subprocess

import pytest

import harness

CORPUS = harness.TOP / "../shared/corpus"
WHOLE = {"category": "06010", "lat": 31.2304, "lon": 121.4737, "note": "路面破损"}


@pytest.fixture
def handheld(make_real_handheld):
    return make_real_handheld()


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.jpg"
    subprocess.run([harness.program("make_photo"), "--width", "800", "--height", "600", "--seed", "1", "-o", path], check=True)
    return path


def import_lines(handheld, lines, status=0):
    text = "".join((line if isinstance(line, str) else json.dumps(line, ensure_ascii=False)) + "\n" for line in lines)
    return handheld.run("record", "--from", "-", input=text, status=status)


# ---- record ----

def test_a_finding_is_listed_as_it_was_recorded(handheld):
    printed = handheld.run("record", "--category", "06010", "--component", "01002", "--severity", "serious", "--note", "井盖松动",
                           "--lat", "31.2304001", "--lon", "-121.4737", "--accuracy", "3.2", "--fix-time",
                           "2026-11-23T16:30:00+08:00", "--observed-at", "2026-11-23T16:29:00+08:00", "--inspector", "王五").stdout
    [finding] = handheld.list()
    assert printed == finding["id"] + "\n"
    assert finding["category"] == {"scheme": "GB/T 47678.5", "version": "2026", "kind": "matter", "code": "06010"}
    expected = {"component": "01002", "severity": "serious", "note": "井盖松动", "lat": 31.2304001, "lon": -121.4737,
                "accuracy_m": 3.2, "no_fix": None, "inspector": "王五", "state": "queued", "kind": "finding", "parent": None,
                "complete": False, "photos": [], "received_at": None, "device": None}
    assert {key: finding[key] for key in expected} == expected
    assert finding["observed_at"] == "2026-11-23T16:29:00+08:00"
    assert finding["fix_time"] == "2026-11-23T08:30:00Z"


def test_options_stand_before_or_after_the_command(handheld):
    data = ["--data", handheld.data]
    record = ["record", "--category", "06010", "--no-fix", "x"]
    for arguments in ([*data, *record], [*record, *data]):
        subprocess.run([harness.program("patrol"), *map(str, arguments)], check=True, env=harness.environment(),
                       stdout=subprocess.DEVNULL)
    assert len(handheld.list()) == 2


@pytest.mark.parametrize("arguments, field, mend", [
    (["--category", "6010", "--no-fix", "x"], "category", "06010"),
    (["--no-fix", "x"], "category", "--category"),
    (["--category", "06010", "--component", "99999", "--no-fix", "x"], "component", "patrol categories"),
    (["--category", "06010"], "position", "--no-fix"),
    (["--category", "06010", "--lat", "91", "--lon", "0"], "lat", "-90 to 90"),
    (["--category", "06010", "--lat", "nan", "--lon", "0"], "lat", "decimal degrees"),
    (["--category", "06010", "--lat", "0", "--lon", "180.1"], "lon", "-180 to 180"),
    (["--category", "06010", "--lat", "0"], "lon", "--lon"),
    (["--category", "06010", "--no-fix", "x", "--lat", "1", "--lon", "1"], "no_fix", "one or the other"),
    (["--category", "06010", "--no-fix", ""], "no_fix", "say why"),
    (["--category", "06010", "--no-fix", "x", "--severity", "bad"], "severity", "urgent"),
    (["--category", "06010", "--no-fix", "x", "--note", "x" * 16385], "note", "shorten"),
    (["--category", "06010", "--no-fix", "x", "--note", b"\xc2\xb7\xbb\xb5"], "note", "iconv"),
    (["--category", "06010", "--lat", "1", "--lon", "1", "--fix-time", "now"], "fix_time", "+08:00"),
    (["--category", "06010", "--no-fix", "x", "--inspector", "x" * 129], "inspector", "shorten"),
    (["--category", "06010", "--no-fix", "x", "--photo", "/nonexistent.jpg"], "photo", "/nonexistent.jpg"),
    (["--category", "06010", "--no-fix", "x", "--photo", "/dev/null"], "photo", "/dev/null"),
])
def test_bad_input_is_refused_in_one_line_that_names_field_and_fix(handheld, arguments, field, mend):
    command = [*handheld.command("record"), *arguments]
    result = subprocess.run(command, env=harness.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    message = result.stderr.decode()
    assert result.returncode == 3
    assert result.stdout == b""
    assert message.startswith(f"patrol: {field}: ") and message.count("\n") == 1
    assert mend in message
    assert handheld.list() == []


@pytest.mark.parametrize("content, words", [
    (b"", "empty"), (b"GIF89a" + b"x" * 100, "JPEG"), (b"\xff\xd8\xff\xe0" + b"\0" * 3000, "photo")])
def test_a_file_that_is_no_whole_photo_is_refused(handheld, tmp_path, content, words):
    path = tmp_path / "bad.jpg"
    path.write_bytes(content)
    result = handheld.run("record", "--category", "06010", "--no-fix", "x", "--photo", path, status=3)
    assert words in result.stderr
    assert handheld.list() == []


def test_a_truncated_photo_is_refused(handheld, photo, tmp_path):
    path = tmp_path / "cut.jpg"
    data = photo.read_bytes()
    for share in (0.1, 0.5, 0.99):
        path.write_bytes(data[:int(len(data) * share)])
        result = handheld.run("record", "--category", "06010", "--no-fix", "x", "--photo", path, status=3)
        assert "cut.jpg" in result.stderr
    assert handheld.list() == []


def test_a_photo_is_kept_byte_for_byte_with_a_small_preview(handheld, photo):
    handheld.record(photos=[photo])
    [finding] = handheld.list()
    full, preview = finding["photos"]
    assert (full["role"], full["size"], full["sha256"]) == ("photo", photo.stat().st_size, hashlib.sha256(photo.read_bytes()).hexdigest())
    kept = handheld.data / "photos" / full["sha256"][:2] / full["sha256"]
    assert kept.read_bytes() == photo.read_bytes()
    assert preview["role"] == "preview" and preview["size"] <= 24576
    assert (handheld.data / "photos" / preview["sha256"][:2] / preview["sha256"]).stat().st_size == preview["size"]


@pytest.mark.parametrize("arguments", [["rcord"], [], ["record", "--nonsense"], ["list", "--note", "x"], ["amend"], ["show"],
                                       ["list", "surplus"], ["export"], ["verify", "x"]])
def test_wrong_usage_ends_with_2_and_one_line(handheld, arguments):
    result = handheld.run(*arguments, status=2)
    assert result.stderr.count("\n") == 1 and result.stdout == ""


@pytest.mark.parametrize("arguments, field, mend", [
    (["list", "--state", "lost"], "state", "quarantined"),
    (["resync", "--level", "all"], "level", "media"),
    (["sync", "--wait", "soon"], "wait", "whole number"),
    (["sync", "--wait", "1.5"], "wait", "whole number"),
    (["resync", "--wait", "-1"], "wait", "whole number"),
    (["categories", "--kind", "both"], "kind", "component"),
    (["show", "nonsense"], "id", "patrol list"),
    (["export", "--evidence", "nonsense", "-o", "x"], "evidence", "patrol list"),
    (["server-url", "nonsense"], "URL", "https://"),
    (["enroll", "nonsense"], "token URL", "copy the whole line"),
])
def test_a_value_that_is_refused_ends_with_3_whatever_the_option(handheld, arguments, field, mend):
    told = handheld.run(*arguments, status=3).stderr
    assert told.split(": ")[1] == field and mend in told and told.count("\n") == 1


def test_help_and_version_are_there_for_every_command(handheld):
    text = handheld.run("--help").stdout
    for line in text.splitlines():
        if re.match(r"  \w", line):
            assert "Usage" in handheld.run(line.split()[0], "--help").stdout
    assert handheld.run("--version").stdout.startswith("patrol ")


def test_an_unwritable_directory_and_a_full_output_are_told(handheld):
    result = subprocess.run([harness.program("patrol"), "record", "--category", "06010", "--no-fix", "x", "--data", "/proc/none"],
                            env=harness.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert result.returncode == 1 and result.stderr.count("\n") == 1
    handheld.record()
    with open("/dev/full", "w") as full:
        listed = subprocess.run(handheld.command("list"), env=harness.environment(), stdout=full, stderr=subprocess.PIPE)
    assert listed.returncode == 1 and listed.stderr


def test_a_damaged_configuration_is_named_with_its_line(handheld):
    handheld.config.write_text("[patrol]\ninspektor = x\n")
    result = handheld.run("status", status=2)
    assert "patrol.conf:2" in result.stderr
    handheld.config.unlink()
    result = handheld.run("status", status=2)
    assert f"{handheld.config}: No such file" in result.stderr and result.stderr.count("\n") == 1


# ---- import ----

def test_lines_are_recorded_in_order_and_bad_ones_reported_with_their_number(handheld):
    result = import_lines(handheld, [WHOLE, {**WHOLE, "lat": 91}, "not json", {**WHOLE, "colour": "red"}, {**WHOLE, "note": "last"}],
                          status=3)
    assert len(result.stdout.split()) == 2
    lines = result.stderr.splitlines()
    assert [line.split(": ")[2] for line in lines[:3]] == ["line 2", "line 3", "line 4"]
    assert "lat: " in lines[0] and "colour" in lines[2]
    assert [finding["note"] for finding in handheld.list()] == ["路面破损", "last"]


def test_every_field_of_the_man_page_is_taken(handheld, photo):
    line = {**WHOLE, "component": "01002", "severity": "urgent", "accuracy_m": 8.6, "fix_time": "2026-11-23T08:30:00Z",
            "observed_at": "2026-11-23T08:29:00.250Z", "inspector": "i-7", "source": "nyc:1", "reported_at": "2013-09-09",
            "photos": [str(photo)]}
    import_lines(handheld, [line])
    [finding] = handheld.list()
    for key in ("component", "severity", "accuracy_m", "fix_time", "inspector", "lat", "lon", "note"):
        assert finding[key] == line[key]
    assert finding["observed_at"].startswith("2026-11-23T16:29:00.250") or finding["observed_at"] == "2026-11-23T16:29:00.250+08:00"
    assert len(finding["photos"]) == 2 and "nyc" not in json.dumps(finding)


def test_a_lone_line_on_a_pipe_is_committed_at_once(handheld):
    child = subprocess.Popen(handheld.command("record", "--from", "-"), env=harness.environment(), stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE)
    try:
        for number in range(3):
            child.stdin.write(json.dumps({**WHOLE, "note": f"line {number}"}).encode() + b"\n")
            child.stdin.flush()
            assert select.select([child.stdout], [], [], harness.PATIENCE_S)[0], "no id came while the pipe stayed open"
            identity = child.stdout.readline().decode().strip()
            assert handheld.list()[-1]["id"] == identity
    finally:
        child.stdin.close()
        assert child.wait(timeout=harness.PATIENCE_S) == 0


def test_options_beside_from_that_would_be_lost_are_refused(handheld):
    assert "--from" in handheld.run("record", "--from", "-", "--note", "x", input="", status=2).stderr
    assert "directory" in handheld.run("record", "--from", "/", status=3).stderr


def test_odd_line_endings_blank_lines_and_a_missing_last_newline_are_taken(handheld):
    text = json.dumps(WHOLE) + "\r\n\n   \n" + json.dumps(WHOLE)
    assert len(handheld.run("record", "--from", "-", input=text).stdout.split()) == 2


def import_bytes(handheld, content, *words):
    return subprocess.run(handheld.command("record", "--from", *(words or ["-"])), input=content, env=harness.environment(),
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_byte_order_marks_that_editors_write_are_taken(handheld):
    mark, line = b"\xef\xbb\xbf", json.dumps(WHOLE, ensure_ascii=False).encode() + b"\n"
    assert import_bytes(handheld, mark + line + line).returncode == 0
    assert import_bytes(handheld, mark + line + mark + line + mark + b"\r\n" + mark).returncode == 0  # files joined with cat
    assert [finding["note"] for finding in handheld.list()] == [WHOLE["note"]] * 4


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be", "utf-32-le"])
def test_wide_text_is_refused_at_once_in_one_line(handheld, encoding):
    result = import_bytes(handheld, "".join(json.dumps(WHOLE) + "\r\n" for _ in range(50)).encode(encoding))
    told = result.stderr.decode()
    assert (result.returncode, result.stdout) == (3, b"")
    assert told.startswith("patrol: standard input: ") and "iconv -f UTF-16 -t UTF-8" in told and told.count("\n") == 1
    assert handheld.list() == []


def test_lines_that_cannot_be_text_are_refused_with_what_to_do(handheld):
    lines = [json.dumps({**WHOLE, "note": "破损"}, ensure_ascii=False).encode("gb18030"), json.dumps(WHOLE).encode(),
             b'{"category": "06010", "no_fix": "x", "note": "a\\u0000b"}']
    result = import_bytes(handheld, b"\n".join(lines))
    told = result.stderr.decode().splitlines()
    assert result.returncode == 3 and len(told) == 3
    assert "line 1: " in told[0] and "iconv -f GB18030 -t UTF-8" in told[0]
    assert "line 3: " in told[1] and "NUL" in told[1] and "JSON_" not in told[1]


def test_a_directory_is_no_input_however_it_is_given(handheld):
    directory = os.open("/", os.O_RDONLY)
    try:
        result = subprocess.run(handheld.command("record", "--from", "-"), stdin=directory, env=harness.environment(),
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    finally:
        os.close(directory)
    assert result.returncode == 3 and "standard input: is a directory" in result.stderr


def test_an_over_long_line_is_refused_and_the_next_one_taken(handheld):
    result = import_lines(handheld, [{**WHOLE, "note": "x" * 200_000}, WHOLE], status=3)
    assert "line 1" in result.stderr and len(result.stdout.split()) == 1


def test_a_reader_that_goes_away_stops_it_and_what_was_recorded_stays(handheld):
    lines = "".join(json.dumps({**WHOLE, "note": str(number)}) + "\n" for number in range(3000))
    child = subprocess.Popen(handheld.command("record", "--from", "-"), env=harness.environment(), stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    child.stdout.close()
    try:
        child.stdin.write(lines.encode())
        child.stdin.close()
    except BrokenPipeError:
        pass
    assert child.wait(timeout=harness.PATIENCE_S) == 1
    notes = [finding["note"] for finding in handheld.list()]
    assert notes == [str(number) for number in range(len(notes))] and notes


# ---- amend, withdraw ----

def test_an_amendment_names_its_parent_and_keeps_the_rest(handheld):
    first = handheld.record("as found")
    second = handheld.run("amend", first, "--severity", "urgent").stdout.strip()
    third = handheld.run("amend", first, "--note", "worse").stdout.strip()
    original, amended, again = handheld.list()
    assert (original["severity"], original["note"]) == ("normal", "as found")
    assert (amended["id"], amended["kind"], amended["parent"], amended["severity"]) == (second, "amendment", first, "urgent")
    assert (again["id"], again["severity"], again["note"]) == (third, "urgent", "worse")
    assert again["observed_at"] == original["observed_at"]


def test_a_withdrawn_finding_cannot_be_changed(handheld):
    first = handheld.record()
    handheld.run("withdraw", first, status=3)
    handheld.run("withdraw", first, "--reason", "a duplicate")
    assert "withdrawn" in handheld.run("amend", first, "--note", "x", status=3).stderr
    withdrawal = handheld.list()[-1]
    assert (withdrawal["kind"], withdrawal["parent"], withdrawal["reason"]) == ("withdrawal", first, "a duplicate")


def test_ids_that_are_wrong_or_unknown_are_refused(handheld):
    handheld.record()
    for command in (["show"], ["amend"], ["withdraw"]):
        more = ["--reason", "x"] if command == ["withdraw"] else ["--note", "x"] if command == ["amend"] else []
        for identity in ("nonsense", "00000000-0000-4000-8000-000000000000"):
            assert "id: " in handheld.run(*command, identity, *more, status=3).stderr


# ---- status, show, categories, export ----

def test_status_counts_what_people_recorded(handheld, photo):
    assert handheld.status()["records_queued"] == 0
    handheld.record(photos=[photo])
    handheld.record()
    status = handheld.status()
    assert (status["records_queued"], status["photos_pending"], status["records_sent"], status["records_quarantined"]) == (2, 2, 0, 0)
    assert status["bytes_pending"] > photo.stat().st_size
    assert status["oldest_queued_at"] and not status["enrolled"] and not status["daemon"]
    named = [key for key in status if "queued" in key or "pending" in key]
    assert sorted(named) == ["bytes_pending", "oldest_queued_at", "photos_pending", "records_queued"]
    assert "not enrolled" in handheld.run("status").stdout


def test_list_filters_by_state_and_show_shows_one(handheld):
    identity = handheld.record("one")
    assert [finding["id"] for finding in handheld.list("--state", "queued")] == [identity]
    assert handheld.list("--state", "sent") == []
    assert json.loads(handheld.run("show", identity, "--json").stdout) == handheld.list()[0]
    assert "one" in handheld.run("show", identity).stdout


def test_a_note_is_shown_in_one_line_and_cannot_steer_the_terminal(handheld):
    finding = handheld.run("record", "--category", "06010", "--no-fix", "x", "--note", "a\nstate sent\x1b[2J人").stdout.strip()
    assert "note         a\\nstate sent\\x1b[2J人\n" in handheld.run("show", finding).stdout


def test_what_needs_a_receipt_says_so(handheld, tmp_path):
    identity = handheld.record()
    result = handheld.run("export", "--evidence", identity, "-o", tmp_path / "x.evidence", status=1)
    assert "enrol" in result.stderr and not (tmp_path / "x.evidence").exists()
    key = tmp_path / "key"
    key.write_text("no key")
    assert "patrol-server key" in handheld.run("verify", tmp_path / "key", "--server-key", key, status=3).stderr
    assert "patrol enroll" in handheld.run("server-url", "https://elsewhere.example", status=1).stderr


def test_categories_are_found_by_chinese_english_and_number(handheld):
    for text in ("垃圾", "refuse", "0601"):
        found = [json.loads(line) for line in handheld.run("categories", text, "--json").stdout.splitlines()]
        assert any(entry["code"] == "06010" for entry in found)
    assert len(handheld.run("categories", "--json").stdout.splitlines()) == 403
    handheld.run("categories", "no such thing", status=1)


REPLACEMENT = ("# scheme: City list\n# version: 2027-1\nkind\tcode\tmajor_zh\tmajor_en\tname_zh\tname_en\n"
               "matter\tA1\t道路\tRoads\t坑洞\tpothole\n")


def test_reference_data_replace_the_built_in_directory(handheld):
    handheld.data.mkdir(exist_ok=True)
    before = handheld.run("record", "--category", "06010", "--no-fix", "x").stdout.strip()
    (handheld.data / "categories.tsv").write_text(REPLACEMENT, encoding="utf-8")
    assert [json.loads(line)["name_en"] for line in handheld.run("categories", "--json").stdout.splitlines()] == ["pothole"]
    after = handheld.run("record", "--category", "A1", "--no-fix", "x").stdout.strip()
    refused = handheld.run("record", "--category", "06010", "--no-fix", "x", status=3)
    assert "category" in refused.stderr
    mixed = handheld.run("amend", before, "--component", "C1", status=3)
    assert mixed.stderr == "patrol: component: the finding's category is of another directory; give --category too\n"
    handheld.run("amend", before, "--note", "as it was named then")
    (handheld.data / "categories.tsv").write_text(REPLACEMENT.replace("A1", "06010"), encoding="utf-8")
    assert "pothole" not in handheld.run("list").stdout, "the same code of another directory is another thing"
    categories = {finding["id"]: finding["category"] for finding in handheld.list()}
    assert categories[after] == {"scheme": "City list", "version": "2027-1", "kind": "matter", "code": "A1"}
    assert categories[before] == {"scheme": "GB/T 47678.5", "version": "2026", "kind": "matter", "code": "06010"}
    [amendment] = [finding for finding in handheld.list() if finding["kind"] == "amendment"]
    assert amendment["category"] == categories[before] and amendment["note"] == "as it was named then"


@pytest.mark.parametrize("text, words", [(REPLACEMENT + "matter\tA1\t道路\t\t坑洞\t\n", "categories.tsv:5: this code stands there twice"),
                                         ("", "not the form"), ("x" * 2_000_000, "built-in directory")],
                         ids=["a code twice", "empty", "too long"])
def test_a_damaged_directory_is_told_and_does_not_stop_recording(handheld, text, words):
    handheld.data.mkdir(exist_ok=True)
    (handheld.data / "categories.tsv").write_text(text, encoding="utf-8")
    recorded = handheld.run("record", "--category", "06010", "--no-fix", "x")
    assert words in recorded.stderr and recorded.stderr.count("\n") == 1
    assert [finding["category"]["code"] for finding in handheld.list()] == ["06010"]


# ---- several at once ----

def test_eight_processes_at_once_give_one_log_without_gaps(handheld):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(lambda number: handheld.record(f"by {number}"), range(40)))
    findings = handheld.list()
    assert sorted(finding["id"] for finding in findings) == sorted(ids)
    assert len({finding["log"] for finding in findings}) == 1
    seqs = [finding["seq"] for finding in findings]
    assert seqs == list(range(seqs[0], seqs[0] + 40))


# ---- real data, when it is there ----

def corpus(path):
    return pytest.mark.skipif(not (CORPUS / path).exists(), reason="the corpus is not there")


@corpus("findings/patrol_10k.ndjson.gz")
def test_ten_thousand_real_findings_come_back_as_they_went_in(handheld):
    with gzip.open(CORPUS / "findings/patrol_10k.ndjson.gz", "rt", encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    assert len(import_lines(handheld, lines).stdout.split()) == len(lines)
    for line, finding in zip(lines, handheld.list(), strict=True):
        assert finding["note"] == line["note"] and finding["category"]["code"] == line["category"]
        assert (finding["lat"], finding["lon"], finding["severity"]) == (line["lat"], line["lon"], line["severity"])


@corpus("text/blns.json")
def test_naughty_strings_come_back_byte_for_byte(handheld):
    strings = [text for text in json.loads((CORPUS / "text/blns.json").read_text(encoding="utf-8")) if "\0" not in text]
    import_lines(handheld, [{**WHOLE, "note": text} for text in strings])
    assert [finding["note"] for finding in handheld.list()] == strings


@corpus("text/jsontestsuite_test_parsing")
def test_the_json_test_suite_never_breaks_the_import(handheld):
    for path in sorted((CORPUS / "text/jsontestsuite_test_parsing").iterdir()):
        result = subprocess.run(handheld.command("record", "--from", "-"), input=path.read_bytes() + b"\n", env=harness.environment(),
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert result.returncode in (0, 3), path.name
        assert result.stdout == b"", f"{path.name} was taken as a finding"
    assert handheld.list() == []


@corpus("malformed")
def test_malformed_pictures_are_refused_or_taken_whole(handheld):
    for path in sorted((CORPUS / "malformed").glob("*.jpg")):
        result = handheld.run("record", "--category", "06010", "--no-fix", "x", "--photo", path, status=None)
        assert result.returncode in (0, 3), path.name
        assert bool(result.stdout) == (result.returncode == 0)


@corpus("photos")
def test_real_photos_are_taken(handheld):
    photos = sorted((CORPUS / "photos").glob("*.jpg"))
    for path in photos:
        handheld.record(photos=[path])
    assert all(len(finding["photos"]) == 2 for finding in handheld.list())
