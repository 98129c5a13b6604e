#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Runs every test of the project and counts them. Called by scripts/test and scripts/soak, which install first.

    run_tests.py [--profile test|soak] [STEP...]      only the steps whose names begin so; --list names them

Prints a line for each step with its time, details of what failed, and at the very end one plain line
"N passed, N failed" over everything. Goes on after a failure, so that one run shows them all; status 1 when anything
failed.
"""

import argparse
import concurrent.futures
import dataclasses
import glob
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import typing
import xml.etree.ElementTree

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CORES = os.cpu_count() or 1
DETAIL_LINES_MAX = 60

# The suites that must exist: one that is missing has failed. A suite that is being built is known below, but joins
# this list only when it is there.
EXPECTED_SUITES = {"unit", "purity", "fuzz", "sim", "system", "lab", "tus", "power"}
PYTEST_SUITES = {"system": "tests/system", "lab": "tests/lab", "tus": "tests/tus", "power": "tests/fault"}
# The simulator's program, wherever meson puts it: takes --seeds N --first-seed S.
SIMULATOR_NAMES = ("simulator", "simulate", "sim")
SIMULATOR_WORKERS_MAX = 16

PROFILES = {
    "test": {"seeds": 2000, "sanitized_seeds": 400, "kill_rounds": 6, "power_rounds": 10, "fault_points": 1,
             "backlog": 25000, "mutations": 3, "fuzz_seconds": 5},
    "soak": {"seeds": 20000, "sanitized_seeds": 2000, "kill_rounds": 40, "power_rounds": 200, "fault_points": 150,
             "backlog": 1000000, "mutations": 0, "fuzz_seconds": 60},  # 0 mutations: all there are
}
BUILD_LIMIT_S = 1800
CHECK_LIMIT_S = 3600
DEMO_LIMIT_S = 120
MUTATIONS_LIMIT_S = {"test": 600, "soak": 2 * 3600}
PYTEST_NOTHING_SELECTED = 5
SUITE_LIMIT_S = {"test": 1500, "soak": 6 * 3600}

GCC = "build-gcc"
SANITIZED = "build-asan"
FUZZING = "build-fuzz"


@dataclasses.dataclass
class Result:
    """What one step, or all of them, came to. `problems` are names of failed tests, `details` says why."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    problems: list = dataclasses.field(default_factory=list)
    details: list = dataclasses.field(default_factory=list)

    def fail(self, name, details=""):
        self.failed += 1
        self.problems.append(name)
        lines = details.splitlines()
        self.details += [f"--- {name}", *lines[-DETAIL_LINES_MAX:]] if lines else []

    def add(self, other):
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped
        self.problems += other.problems
        self.details += other.details

    def __str__(self):
        return f"{self.passed} passed, {self.failed} failed"


# Takes what others leave of the processors. A session has a share of its own of them, whatever its niceness.
BESIDE = ["sh", "-c", 'echo 19 2>&- >/proc/self/autogroup; exec nice -n 19 "$@"', "sh"]


def run(command, limit_s, env=None):
    """Runs a command in a process group of its own, which dies with it. (status, output); status -1: took too long."""
    # A file and not a pipe: a process that was left behind could hold a pipe open for ever.
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, cwd=TOP, env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL,
                                   stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            status, note = process.wait(limit_s), ""
        except subprocess.TimeoutExpired:
            status, note = -1, f"\n(stopped after {limit_s} s)\n"
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()
        output.seek(0)
        return status, output.read().decode("utf-8", "replace") + note


def path_of(*parts):
    return os.path.join(TOP, *parts)


def llvm(name):
    return next((found for found in (f"{name}-14", name) if shutil.which(found)), f"{name}-14")


def sanitizer_environment(build):
    """Sanitizers stop at the first finding, and write it also where a program's own stderr cannot swallow it."""
    if build == GCC:
        return {}
    log = path_of(build, "sanitizer-logs", "found")
    symbolizer = shutil.which(llvm("llvm-symbolizer")) or ""
    common = f"log_path={log}:external_symbolizer_path={symbolizer}"
    return {
        "ASAN_OPTIONS": f"detect_stack_use_after_return=1:{common}",
        "UBSAN_OPTIONS": f"halt_on_error=1:print_stacktrace=1:{common}",
        # A test that waits for a deadline may look here how slow the programs are.
        "GRIDPATROL_SANITIZED": "1",
        # And deadlines are some times as far away.
        "GRIDPATROL_PATIENCE_S": "120",
    }


def take_sanitizer_logs(build, result):
    """Each finding is a failure, even when the test that caused it did not notice. That the search for leaks could not look
    into a thread any more, and nothing else, is no finding: the process was killed while it ended, as these tests do."""
    for path in sorted(glob.glob(path_of(build, "sanitizer-logs", "found*"))):
        with open(path, encoding="utf-8", errors="replace") as file:
            found = file.read(8000)
        if not re.fullmatch(r"(==\d+==Unable to get registers from thread \d+\.\n?)+", found):
            result.fail(f"sanitizer: {os.path.basename(path)}", found)
        os.unlink(path)


def set_up(folder, compiler, *options):
    result = Result()
    command = ["meson", "setup", folder, *options]
    if os.path.exists(path_of(folder, "build.ninja")):
        command = ["meson", "configure", folder, *options]
    else:
        shutil.rmtree(path_of(folder), ignore_errors=True)
    cached = f"ccache {compiler}" if shutil.which("ccache") else compiler
    status, output = run(command, BUILD_LIMIT_S, {"CC": cached})
    if status:
        result.fail(f"set up {folder}", output)
    return result


def build(folder, *targets):
    """All that is in it, or only these; a failed build is one failure."""
    result = Result()
    status, output = run(["ninja", "-C", folder, *targets], BUILD_LIMIT_S)
    if status:
        errors = [line for line in output.splitlines() if re.search(r"\berror\b|FAILED|undefined reference", line)]
        result.fail(f"build {folder}", "\n".join(errors[:DETAIL_LINES_MAX]) or output)
    os.makedirs(path_of(folder, "sanitizer-logs"), exist_ok=True)
    return result


SANITIZING = ("-Db_sanitize=address,undefined", "-Db_lundef=false", "-Doptimization=1")


def build_gcc():
    """A warning is an error in it: so scripts/check need not build it once more."""
    result = set_up(GCC, "gcc", "-Dwerror=true")
    return result if result.failed else build(GCC)


def build_sanitized():
    result = set_up(SANITIZED, llvm("clang"), *SANITIZING)
    return result if result.failed else build(SANITIZED)


def build_fuzzing():
    result = set_up(FUZZING, llvm("clang"), *SANITIZING, "-Dfuzzers=true")
    return result if result.failed else build(FUZZING, *(os.path.relpath(fuzzer["filename"][0], path_of(FUZZING)) for fuzzer in fuzzers()))


def introspect(folder, what):
    status, output = run(["meson", "introspect", what, folder], 60)
    return json.loads(output) if status == 0 else []


def fuzzers():
    return [target for target in introspect(FUZZING, "--targets")
            if target["type"] == "executable" and target["name"].startswith("fuzz_")]


def missing(suite):
    """The result of a suite that is not there."""
    result = Result()
    if suite in EXPECTED_SUITES:
        result.fail(f"suite {suite} is missing")
    else:
        print(f"   {suite}: not there yet", flush=True)
    return result


def count_tap(text):
    """(passed, failed, skipped, names of failed) in the lines of the Test Anything Protocol, version 12 or 13."""
    passed = failed = skipped = 0
    names = []
    for line in text.splitlines():
        match = re.match(r"^(not )?ok\b\s*\d*\s*-?\s*([^#]*)(#\s*(skip|todo))?", line, re.IGNORECASE)
        if not match:
            continue
        if match[3]:
            skipped += 1
        elif match[1]:
            failed += 1
            names.append(match[2].strip())
        else:
            passed += 1
    return passed, failed, skipped, names


def count_meson_test(entry):
    """One entry of meson's testlog.json."""
    result = Result()
    text = entry.get("stdout") or ""
    everything = text + (entry.get("stderr") or "")
    is_tap = re.search(r"^1\.\.\d+", text, re.MULTILINE) is not None
    good = entry["result"] in ("OK", "EXPECTEDFAIL")

    if is_tap:
        result.passed, failed, result.skipped, names = count_tap(text)
        for name in names:
            result.fail(f"{entry['name']}: {name}")
        if failed:
            result.details += [f"--- {entry['name']}", *everything.splitlines()[-DETAIL_LINES_MAX:]]
        elif not good and entry["result"] != "SKIP":
            # It died before or after its last test, or did not run all that it had planned.
            result.fail(f"{entry['name']}: {entry['result'].lower()}, status {entry.get('returncode')}", everything)
    elif good:
        result.passed = 1
    elif entry["result"] == "SKIP":
        result.skipped = 1
    else:
        result.fail(f"{entry['name']}: {entry['result'].lower()}, status {entry.get('returncode')}", everything)
    return result


def meson_suite(folder, suite, limit_s):
    """Runs one suite of meson's tests, and counts the tests inside each program."""
    result = Result()
    tests = introspect(folder, "--tests")
    if not any(name.split(":")[-1] == suite for test in tests for name in test["suite"]):
        return missing(suite)
    log = path_of(folder, "meson-logs", f"{suite}.json")
    if os.path.exists(log):
        os.unlink(log)
    slowness = "1" if folder == GCC else "5"
    status, output = run(["meson", "test", "-C", folder, "--no-rebuild", "--suite", suite, "--logbase", suite,
                          "--timeout-multiplier", slowness], limit_s, sanitizer_environment(folder))
    try:
        with open(log, encoding="utf-8") as file:
            for line in file:
                result.add(count_meson_test(json.loads(line)))
    except OSError as error:
        result.fail(f"suite {suite}: no log", f"{output}\n{error}")
    if status and not result.failed:
        result.fail(f"suite {suite}: meson test ended with status {status}", output)
    take_sanitizer_logs(folder, result)
    return result


def count_junit(path):
    result = Result()
    for case in xml.etree.ElementTree.parse(path).iter("testcase"):
        bad = case.find("failure")
        bad = case.find("error") if bad is None else bad
        if bad is not None:
            result.fail(f"{case.get('classname')}.{case.get('name')}", bad.text or bad.get("message") or "")
        elif case.find("skipped") is not None:
            result.skipped += 1
        else:
            result.passed += 1
    return result


def pytest_suite(folder, suite, limit_s, *options):
    """Runs one folder of Python tests against the programs of one build."""
    directory = PYTEST_SUITES[suite]
    if not glob.glob(path_of(directory, "**", "test_*.py"), recursive=True):
        return missing(suite)
    report = path_of(folder, f"pytest-{suite}.xml")
    if os.path.exists(report):
        os.unlink(report)
    env = {**sanitizer_environment(folder), "GRIDPATROL_BUILD": path_of(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    status, output = run(["/usr/bin/python3", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "junit_family=xunit2",
                          f"--junitxml={report}", *options, directory], limit_s, env)
    if status == PYTEST_NOTHING_SELECTED:
        return missing(f"{suite} {' '.join(options)}".rstrip())
    try:
        result = count_junit(report)
    except (OSError, xml.etree.ElementTree.ParseError):
        result = Result()
        result.fail(f"suite {suite}: pytest ended with status {status} and no report", output)
    if status and not result.failed:
        result.fail(f"suite {suite}: pytest ended with status {status}", output)
    take_sanitizer_logs(folder, result)
    return result


def simulator_of(folder):
    for target in introspect(folder, "--targets"):
        if target["type"] == "executable" and target["name"] in SIMULATOR_NAMES:
            return target["filename"][0]
    return None


def seeds(folder, count, limit_s):
    """Runs the simulator over `count` seeds, in one run, so that (from 1,000 on) what never happened in any of them is found. A failing
    seed prints how to replay it."""
    simulator = simulator_of(folder)
    if not simulator:
        return missing("sim")
    result = Result()
    status, output = run([simulator, "--seeds", str(count), "--workers", str(min(CORES, SIMULATOR_WORKERS_MAX))], limit_s,
                         sanitizer_environment(folder))
    if status:
        result.fail(f"simulator seeds 1 to {count}: status {status}", output)
    else:
        result.passed += 1
    take_sanitizer_logs(folder, result)
    return result


def check():
    results = path_of(GCC, "check.json")
    os.makedirs(path_of(GCC), exist_ok=True)
    if os.path.exists(results):
        os.unlink(results)
    status, output = run([*BESIDE, path_of("scripts", "check"), "--results", results, "--gcc", GCC], CHECK_LIMIT_S)
    result = Result()
    try:
        with open(results, encoding="utf-8") as file:
            for name, findings in json.load(file).items():
                if findings:
                    result.fail(f"check {name}", "\n".join(findings[:DETAIL_LINES_MAX]))
                else:
                    result.passed += 1
    except OSError:
        result.fail(f"scripts/check ended with status {status}", output)
    return result


def fuzz(seconds):
    """Lets each fuzzer look for something new, beginning with its corpus; what it finds stays in build-fuzz."""
    result = Result()
    if not (found := fuzzers()):
        return missing("fuzz")

    def run_fuzzer(target):
        name = target["name"]
        scratch = path_of(FUZZING, "found", name)
        os.makedirs(scratch, exist_ok=True)
        corpus = path_of("tests", "fuzz", "corpus", name.removeprefix("fuzz_"))
        command = [target["filename"][0], f"-max_total_time={seconds}", "-timeout=10", "-rss_limit_mb=2048",
                   f"-artifact_prefix={path_of(FUZZING, name)}-", scratch, *([corpus] if os.path.isdir(corpus) else [])]
        return name, *run(command, seconds * 3 + 120, sanitizer_environment(FUZZING))

    with concurrent.futures.ThreadPoolExecutor(CORES) as pool:
        for name, status, output in pool.map(run_fuzzer, found):
            if status:
                result.fail(f"{name}: status {status}", output)
            else:
                result.passed += 1
    take_sanitizer_logs(FUZZING, result)
    return result


# Asked before its process group is ended: that would hide what the demo has left running.
DEMO = """/usr/bin/python3 scripts/demo.py "$1"; status=$?
pgrep -af "$TMPDIR/" | sed 's/^/LEFT RUNNING /'
find "$TMPDIR" -mindepth 1 -maxdepth 1 | sed 's/^/LEFT BEHIND /'
exit $status"""


def demo():
    """The README's first command ends well, in time, and leaves nothing running and no file."""
    result = Result()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        status, output = run(["bash", "-c", DEMO, "bash", GCC], DEMO_LIMIT_S, {"TMPDIR": scratch})
    if status or re.search("^LEFT ", output, re.MULTILINE):
        result.fail(f"demo: status {status} after {time.monotonic() - started:.0f} s", output)
    else:
        result.passed = 1
    return result


def count_mutations(output):
    """One line of JSON for each; caught is what it should be."""
    result = Result()
    for line in output.splitlines():
        if not line.startswith("{"):
            continue
        tried = json.loads(line)
        if tried["result"] == "caught":
            result.passed += 1
        else:
            result.fail(f"mutation {tried['name']}: {tried['result']} by {tried['test']}", tried["said"])
    return result


def mutations(folder, count, limit_s):
    """Takes protections away and sees their tests fail: `count` that change from commit to commit, or all of them."""
    status, output = run([path_of("scripts", "mutate"), "--build", folder, "--rotate", str(count), "--json"], limit_s)
    result = count_mutations(output)
    if (status and not result.failed) or not result.passed + result.failed:
        result.fail(f"scripts/mutate ended with status {status}", output)
    return result


@dataclasses.dataclass
class Step:
    name: str
    function: typing.Callable
    arguments: tuple = ()
    needs: str = ""  # a step that must have passed
    beside: bool = False  # runs while those after it do, with what they leave of the processors


def steps_of(profile, numbers=None):
    numbers = PROFILES[profile] | (numbers or {})
    limit_s = SUITE_LIMIT_S[profile]
    os.environ.setdefault("ROUNDS", str(numbers["kill_rounds"]))  # tests/system/test_kill9.py reads it
    os.environ.setdefault("BACKLOG", str(numbers["backlog"]))  # tests/system/test_machine.py
    os.environ.setdefault("POWER_ROUNDS", str(numbers["power_rounds"]))  # tests/fault/test_power_cut.py
    os.environ.setdefault("FAULT_POINTS", str(numbers["fault_points"]))  # tests/fault/test_faults.py
    first = [
        Step("build gcc", build_gcc),
        Step("check", check, (), "build gcc", beside=profile == "test"),
        Step("build sanitized", build_sanitized),
        Step("build fuzzers", build_fuzzing),
    ]
    plain = [
        Step("gcc unit", meson_suite, (GCC, "unit", limit_s), "build gcc"),
        Step("gcc purity", meson_suite, (GCC, "purity", limit_s), "build gcc"),
        Step("gcc fuzz corpora", meson_suite, (GCC, "fuzz", limit_s), "build gcc"),
        Step("gcc sim", meson_suite, (GCC, "sim", limit_s), "build gcc"),
        Step("gcc seeds", seeds, (GCC, numbers["seeds"], limit_s), "build gcc"),
        Step("gcc system", pytest_suite, (GCC, "system", limit_s), "build gcc"),
        Step("gcc lab", pytest_suite, (GCC, "lab", limit_s), "build gcc"),
        Step("gcc tus", pytest_suite, (GCC, "tus", limit_s), "build gcc"),
        Step("gcc power", pytest_suite, (GCC, "power", limit_s), "build gcc"),
        Step("gcc demo", demo, (), "build gcc"),
        Step("mutations", mutations, (GCC, numbers["mutations"], MUTATIONS_LIMIT_S[profile]), "build gcc"),
    ]
    # Under the sanitizers one round of the main job is enough for every day; the long run takes them all.
    selection = ("-m", "smoke") if profile == "test" else ()
    sanitized = [
        Step("sanitized unit", meson_suite, (SANITIZED, "unit", limit_s), "build sanitized"),
        Step("sanitized fuzz corpora", meson_suite, (SANITIZED, "fuzz", limit_s), "build sanitized"),
        Step("sanitized seeds", seeds, (SANITIZED, numbers["sanitized_seeds"], limit_s), "build sanitized"),
        Step("sanitized system", pytest_suite, (SANITIZED, "system", limit_s, *selection), "build sanitized"),
    ]
    return [*first, *plain, *sanitized, Step("fuzz", fuzz, (numbers["fuzz_seconds"],), "build fuzzers")]


def run_step(step):
    started = time.monotonic()
    result = step.function(*step.arguments)
    skipped = f", {result.skipped} skipped" if result.skipped else ""
    lines = [f"{step.name}: {result}{skipped} ({time.monotonic() - started:.0f} s)"]
    lines += [f"   FAILED {name}" for name in result.problems] + [f"   | {line}" for line in result.details]
    print("\n".join(lines), flush=True)
    return result


def run_steps(steps):
    total = Result()
    broken = set()
    with concurrent.futures.ThreadPoolExecutor(1) as beside:
        later = []
        for step in steps:
            if step.needs in broken:
                print(f"{step.name}: not run, as \"{step.needs}\" failed", flush=True)
            elif step.beside:
                later.append(beside.submit(run_step, step))
            else:
                result = run_step(step)
                if result.failed:
                    broken.add(step.name)
                total.add(result)
        for running in later:
            try:
                total.add(running.result())
            except Exception as problem:  # the results of all others are to be seen all the same
                total.fail(f"a step that ran beside: {problem!r}")
    return total


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", choices=PROFILES, default="test")
    parser.add_argument("--list", action="store_true", help="name the steps")
    for name in sorted({name for numbers in PROFILES.values() for name in numbers}):
        parser.add_argument("--" + name.replace("_", "-"), type=int, metavar="N", help="instead of the profile's number")
    parser.add_argument("steps", nargs="*", metavar="STEP")
    options = parser.parse_args()

    numbers = {name: value for name, value in vars(options).items() if name in PROFILES["soak"] and value is not None}
    steps = steps_of(options.profile, numbers)
    if options.steps:
        chosen = {step.name for step in steps if step.name.startswith(tuple(options.steps))}
        chosen |= {step.needs for step in steps if step.name in chosen}
        steps = [step for step in steps if step.name in chosen]
    if options.list:
        print("\n".join(step.name for step in steps))
        return 0

    started = time.monotonic()
    total = run_steps(steps)
    minutes, seconds = divmod(round(time.monotonic() - started), 60)
    skipped = f" {total.skipped} skipped." if total.skipped else ""
    if total.problems:
        print("\nFailed:")
        for name in total.problems:
            print(f"   {name}")
    print(f"\nAll in {minutes} min {seconds} s.{skipped}")
    if total.passed + total.failed == 0:
        total.fail("nothing was run")
    print(total)
    return 1 if total.failed else 0


if __name__ == "__main__":
    sys.exit(main())
