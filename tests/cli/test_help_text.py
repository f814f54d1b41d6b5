"""The help of a command, its docstring and its page of `explain` say the same, word for word."""

from __future__ import annotations

import inspect
import io
import re
import sys
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

import pytest
from cli.test_streams import check_fits

from attncli.cli import main
from attncli.cli.command_table import all_commands
from attncli.cli.commands.explain import names
from attncli.cli.run_study import CommonOptions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import RunCli

BOX = re.compile(r"[│╭╮╰╯─]")


def words(text: str) -> str:
    """The text with single spaces and without the boxes of panels."""
    return " ".join(BOX.sub(" ", text).split())


def helps_of(group: Any, command: str) -> Iterator[tuple[str, str]]:
    """Yield the long name and the help of each option of a group, those that the command has."""
    for field in fields(group):
        hint = get_type_hints(group)[field.name]
        if is_dataclass(hint):
            yield from helps_of(hint, command)
        elif (option := field.metadata.get("option")) and not (option.yields and command == "patterns"):
            yield option.all_names(field.name)[0].partition("/")[0] + " ", option.help


@pytest.mark.parametrize("command", sorted(all_commands()))
def test_help_docstring_and_explain_agree(command: str, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    shown, page = run_cli(command, "--help").out, run_cli("explain", command).out
    for paragraph in (inspect.getdoc(all_commands()[command]) or "").split("\n\n"):
        assert words(paragraph) in words(shown)
        assert words(paragraph) in words(page)
    hints = get_type_hints(all_commands()[command], include_extras=True)
    expected = [pair for hint in hints.values() if is_dataclass(hint) for pair in helps_of(hint, command)]
    expected += [("", argument.help) for hint in hints.values() for argument in get_args(hint)[1:] if argument.help]
    assert expected
    lines = [words(line) for line in shown.splitlines()]
    for name, help in expected:
        assert any(line.startswith(name) and words(help) in line for line in lines), name or help


@pytest.mark.parametrize("command", sorted(all_commands()))
def test_help_fits_into_80_columns(command: str, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    check_fits(run_cli(command, "--help").out)


def test_all_pages_fit_into_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("COLUMNS", "80")
    for name in ("", *names()):
        monkeypatch.setattr(sys, "stdout", terminal := Terminal())
        assert main(["explain", *filter(None, [name])]) == 0
        shown = terminal.getvalue()
        assert shown
        check_fits(shown)


@pytest.mark.parametrize("command", ["heads", "compare"])
def test_help_keeps_square_brackets(command: str, run_cli: RunCli) -> None:
    assert 'pip install "attncli[analyses]"' in words(run_cli(command, "--help").out)


def test_every_study_has_the_common_options_in_this_comparison() -> None:
    assert {"--text ", "--model ", "--out ", "--verbose "} <= {name for name, _ in helps_of(CommonOptions, "stats")}
