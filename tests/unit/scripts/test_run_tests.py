#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Shows that the runner counts what really happened: a test that failed, died or never ran must not pass."""

import contextlib
import importlib.util
import io
import json
import os
import sys
import tempfile
import time
import unittest

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..")


def load_runner():
    sys.dont_write_bytecode = True
    spec = importlib.util.spec_from_file_location("run_tests", os.path.join(TOP, "scripts", "run_tests.py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules["run_tests"] = module
    spec.loader.exec_module(module)
    return module


RUNNER = load_runner()


def entry(result, stdout="", returncode=0):
    return {"name": "unit x", "result": result, "stdout": stdout, "returncode": returncode}


class Counting(unittest.TestCase):
    def assert_counts(self, result, passed, failed, skipped):
        self.assertEqual((result.passed, result.failed, result.skipped), (passed, failed, skipped), result)
        self.assertEqual(len(result.problems), failed)

    def test_each_line_of_tap_counts(self):
        text = "1..4\nok 1 - a\nnot ok 2 - b\n# why\nok 3 - c # SKIP no such thing here\nok 4 - d\n"
        result = RUNNER.count_meson_test(entry("FAIL", text, 1))
        self.assert_counts(result, 2, 1, 1)
        self.assertEqual(result.problems, ["unit x: b"])
        self.assertIn("# why", result.details)

    def test_program_that_dies_half_way_has_failed(self):
        result = RUNNER.count_meson_test(entry("ERROR", "1..3\nok 1 - a\n", -11))
        self.assert_counts(result, 1, 1, 0)

    def test_program_that_dies_after_its_last_test_has_failed(self):
        result = RUNNER.count_meson_test(entry("ERROR", "1..1\nok 1 - a\n", 1))
        self.assert_counts(result, 1, 1, 0)

    def test_program_without_tap_counts_once(self):
        self.assert_counts(RUNNER.count_meson_test(entry("OK", "fine\n")), 1, 0, 0)
        self.assert_counts(RUNNER.count_meson_test(entry("EXPECTEDFAIL", "", 1)), 1, 0, 0)
        self.assert_counts(RUNNER.count_meson_test(entry("SKIP", "", 77)), 0, 0, 1)

    def test_every_other_result_has_failed(self):
        for name in ("FAIL", "TIMEOUT", "ERROR", "INTERRUPT", "UNEXPECTEDPASS", "something new"):
            self.assert_counts(RUNNER.count_meson_test(entry(name)), 0, 1, 0)

    def test_each_case_of_junit_counts(self):
        with tempfile.NamedTemporaryFile("w", suffix=".xml") as file:
            file.write('<testsuites><testsuite><testcase classname="m" name="good"/>'
                       '<testcase classname="m" name="bad"><failure message="no">why</failure></testcase>'
                       '<testcase classname="m" name="broken"><error message="no set-up"/></testcase>'
                       '<testcase classname="m" name="left"><skipped/></testcase></testsuite></testsuites>')
            file.flush()
            result = RUNNER.count_junit(file.name)
        self.assert_counts(result, 1, 2, 1)
        self.assertEqual(result.problems, ["m.bad", "m.broken"])

    def test_a_mutation_that_is_not_caught_has_failed_and_so_has_one_that_could_not_be_tried(self):
        lines = [json.dumps({"name": name, "test": "a.py::test_b", "result": name, "said": "why", "seconds": 1})
                 for name in ("caught", "not caught", "error")]
        result = RUNNER.count_mutations("\n".join(["something else", *lines]))
        self.assert_counts(result, 1, 2, 0)
        self.assertIn("mutation not caught: not caught by a.py::test_b", result.problems)

    def test_only_suites_that_must_exist_fail_when_missing(self):
        with contextlib.redirect_stdout(io.StringIO()):
            self.assert_counts(RUNNER.missing("unit"), 0, 1, 0)
            self.assert_counts(RUNNER.missing("not yet written"), 0, 0, 0)


class Running(unittest.TestCase):
    def run_steps(self, *steps):
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            total = RUNNER.run_steps(steps)
        return total, output.getvalue()

    def test_steps_go_on_after_a_failure_but_not_on_top_of_it(self):
        good, bad = RUNNER.Result(passed=3), RUNNER.Result()
        bad.fail("it broke")
        total, output = self.run_steps(
            RUNNER.Step("build", lambda: bad), RUNNER.Step("other", lambda: good),
            RUNNER.Step("tests", lambda: good, (), "build"))
        self.assertEqual(str(total), "3 passed, 1 failed")
        self.assertIn('tests: not run, as "build" failed', output)

    def test_skipped_tests_are_told_apart(self):
        total, output = self.run_steps(RUNNER.Step("some", lambda: RUNNER.Result(passed=1, skipped=2)))
        self.assertEqual(str(total), "1 passed, 0 failed")
        self.assertIn("some: 1 passed, 0 failed, 2 skipped", output)

    def test_a_command_that_hangs_is_ended_with_its_children(self):
        with tempfile.NamedTemporaryFile() as file:
            # The child would keep the pipe open and the lock held long after its parent has gone.
            command = ["bash", "-c", f"echo begun; flock {file.name} sleep 60 & wait"]
            started = time.monotonic()
            status, output = RUNNER.run(command, 1)
            self.assertEqual(status, -1)
            self.assertIn("begun\n\n(stopped after 1 s)", output)
            self.assertLess(time.monotonic() - started, 30)
            self.assertEqual(RUNNER.run(["flock", "-w", "20", file.name, "true"], 30)[0], 0)

    def test_what_a_sanitizer_wrote_is_a_failure_though_the_test_passed(self):
        with tempfile.TemporaryDirectory() as directory:
            os.makedirs(os.path.join(directory, "sanitizer-logs"))
            log = os.path.join(directory, "sanitizer-logs", "found.123")
            with open(log, "w", encoding="utf-8") as file:
                file.write("heap-use-after-free")
            result = RUNNER.Result(passed=1)
            RUNNER.take_sanitizer_logs(directory, result)
            self.assertEqual((result.passed, result.failed), (1, 1))
            self.assertIn("heap-use-after-free", result.details)
            self.assertFalse(os.path.exists(log))

    def test_a_search_for_leaks_in_a_process_that_was_killed_is_a_failure_only_when_it_found_some(self):
        lost = "==18235==Unable to get registers from thread 18218.\n"
        with tempfile.TemporaryDirectory() as directory:
            os.makedirs(os.path.join(directory, "sanitizer-logs"))
            for number, text in enumerate([lost, lost * 2, lost + "==18235==ERROR: LeakSanitizer: detected memory leaks\n", ""]):
                with open(os.path.join(directory, "sanitizer-logs", f"found.{number}"), "w", encoding="utf-8") as file:
                    file.write(text)
            result = RUNNER.Result()
            RUNNER.take_sanitizer_logs(directory, result)
            self.assertEqual(result.problems, ["sanitizer: found.2", "sanitizer: found.3"])
            self.assertEqual(os.listdir(os.path.join(directory, "sanitizer-logs")), [])


class Profiles(unittest.TestCase):
    def test_every_expected_suite_is_run_by_every_profile(self):
        for profile in RUNNER.PROFILES:
            run = json.dumps([[step.name, *map(str, step.arguments)] for step in RUNNER.steps_of(profile)])
            for suite in RUNNER.EXPECTED_SUITES:
                self.assertIn(f'"{suite.split()[0]}"', run)

    def test_every_step_needs_one_that_comes_before_it(self):
        for profile in RUNNER.PROFILES:
            seen = {""}
            for step in RUNNER.steps_of(profile):
                self.assertIn(step.needs, seen)
                seen.add(step.name)


if __name__ == "__main__":
    unittest.main()
