"""Verdicts for CI servers: JUnit XML, and annotations that GitHub shows next to the lines of a file."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape, quoteattr

from attncli.paths import without_folders

if TYPE_CHECKING:
    from attncli.studies.check.result import Checked, Verdict

# characters that XML 1.0 forbids, control characters, and marks that change the direction of text
_FORBIDDEN = re.compile(
    "[^\t\n\r\x20-\x7e\xa0-\u2027\u202f-\u2065\u206a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)


def junit(file: str, checked: Checked) -> str:
    """Return the document: testsuites, one testsuite for the file, a testcase for each rule; a failure says why."""
    file = _relative(file, Path.cwd()) if Path(file).is_absolute() else file
    counts = f'tests="{len(checked.verdicts)}" failures="{len(checked.failed)}" errors="0" skipped="0"'
    cases = "".join(_case(file, verdict, checked) for verdict in checked.verdicts)
    suite = f"<testsuite name={_attribute(file)} {counts}>\n{cases}</testsuite>\n"
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<testsuites name="attncli check" {counts}>\n{suite}</testsuites>\n'


def _relative(file: str, folder: Path) -> str:
    """Return a path from a folder on; the path of a file elsewhere without the folders of this machine."""
    relative = os.path.relpath(Path(file).resolve(), folder.resolve())
    return without_folders(file) if relative.startswith("..") else relative


def _case(file: str, verdict: Verdict, checked: Checked) -> str:
    name = f"name={_attribute(verdict.name)} classname={_attribute('attncli.check.' + verdict.sort)}"
    start = f'<testcase {name} file={_attribute(file)} line="{verdict.line}"'
    if verdict.holds:
        return f"{start}>\n<system-out>{_text(verdict.why)}</system-out>\n</testcase>\n"
    lines = [f"wanted: {verdict.wanted}", f"found: {verdict.why}", *_details(verdict, checked)]
    message = _attribute(f"{verdict.wanted}: {verdict.why}")
    failure = f'<failure message={message} type="{verdict.sort}">{_text(chr(10).join(lines))}</failure>'
    return f"{start}>\n{failure}\n</testcase>\n"


def _details(verdict: Verdict, checked: Checked) -> list[str]:
    if verdict.sort == "suite":
        counted = [case for case in checked.cases if case.suite == verdict.name and case.half != "choose"]
        wrong = [case for case in counted if not case.holds]
        return [f"line {case.line}: {case.query} → {case.target} {case.weight:.3f}" for case in wrong]
    if verdict.sort == "baseline":
        return [
            f"{drift.kind} {drift.layer}.{drift.head} {drift.metric}: {drift.baseline} → {drift.now}"
            for drift in checked.drifts
        ]
    if verdict.sort == "trend":
        points = (point for point in checked.trends if point.rule == verdict.name)
        return [f"{point.checkpoint}: {point.metric} {point.value}" for point in points]
    return []


def _attribute(text: str) -> str:
    return quoteattr(_escape_forbidden(text), {"\n": "&#10;", "\r": "&#13;", "\t": "&#9;"})


def _text(text: str) -> str:
    return escape(_escape_forbidden(text), {"\r": "&#13;"})


def _escape_forbidden(text: str) -> str:
    """Return a text with escapes such as \\u0000 for characters that XML cannot contain."""
    return _FORBIDDEN.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


def github(file: str, checked: Checked, environment: Mapping[str, str]) -> list[str]:
    """Return a workflow command for each rule that does not hold; none outside of GitHub Actions.

    The path is relative to the repository; %, line ends, commas and colons are escaped.
    """
    if environment.get("GITHUB_ACTIONS") != "true":
        return []
    workspace = environment.get("GITHUB_WORKSPACE")
    path = _relative(file, Path(workspace)) if workspace else file
    return [
        f"::error file={_escape_property(path)},line={verdict.line},title={_escape_property(verdict.name)}::"
        f"{_escape_message(f'{verdict.wanted}: {verdict.why}')}"
        for verdict in checked.failed
    ]


def _escape_message(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _escape_property(text: str) -> str:
    return _escape_message(text).replace(":", "%3A").replace(",", "%2C")
