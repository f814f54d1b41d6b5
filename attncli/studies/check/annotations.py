"""GitHub annotations: errors that GitHub shows next to the lines of a file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from attncli.studies.check.result import Checked


def github(file: str, checked: Checked, environment: Mapping[str, str]) -> list[str]:
    """Return a workflow command for each rule that does not hold; none outside of GitHub Actions.

    The path is relative to the repository; %, line ends, commas and colons are escaped.
    """
    if environment.get("GITHUB_ACTIONS") != "true":
        return []
    path = _escape_property(_path_in_repository(file, environment.get("GITHUB_WORKSPACE")))
    return [
        f"::error file={path},line={verdict.line},title={_escape_property(verdict.name)}::"
        f"{_escape_message(f'{verdict.wanted}: {verdict.why}')}"
        for verdict in checked.failed
    ]


def _path_in_repository(file: str, workspace: str | None) -> str:
    if not workspace:
        return file
    path = os.path.relpath(Path(file).resolve(), Path(workspace).resolve())
    return file if path.startswith("..") else path


def _escape_message(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _escape_property(text: str) -> str:
    return _escape_message(text).replace(":", "%3A").replace(",", "%2C")
