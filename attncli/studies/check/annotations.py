"""Errors as GitHub shows them beside the lines of a file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from attncli.studies.check.result import Checked


def github(file: str, found: Checked, environment: Mapping[str, str]) -> list[str]:
    """A workflow command for each rule that does not hold; none where GitHub does not run this.

    GitHub knows files by their place in the repository, and takes apart what holds %, line ends, commas and colons
    unless these are escaped.
    """
    if environment.get("GITHUB_ACTIONS") != "true":
        return []
    path = _property(_in_repository(file, environment.get("GITHUB_WORKSPACE")))
    return [
        f"::error file={path},line={verdict.line},title={_property(verdict.name)}::"
        f"{_message(f'{verdict.wanted}: {verdict.why}')}"
        for verdict in found.failed
    ]


def _in_repository(file: str, workspace: str | None) -> str:
    if not workspace:
        return file
    path = os.path.relpath(Path(file).resolve(), Path(workspace).resolve())
    return file if path.startswith("..") else path


def _message(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _message(text).replace(":", "%3A").replace(",", "%2C")
