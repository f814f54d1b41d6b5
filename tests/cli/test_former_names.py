"""Earlier names of options work as before, on the command line and in files, and are not shown."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from attncli.cli.config.shape import config_schema

if TYPE_CHECKING:
    from conftest import RunCli


@pytest.mark.parametrize(
    ("call", "former", "wrong", "said"),
    [
        ("segments -t two", "--by", "paragraf", "unknown --divide 'paragraf': did you mean 'paragraph'?"),
        ("patterns --probe repeated", "--seeds", "0", "expected --sequences from 1 up, got 0"),
        ("patterns -t two", "--shuffle-seeds", "-1", "expected --shuffles from 0 up, got -1"),
        ("heads -t two", "--shuffle-seeds", "-1", "expected --shuffles from 0 up, got -1"),
    ],
)
def test_an_earlier_name_sets_the_same_option(call: str, former: str, wrong: str, said: str, run_cli: RunCli) -> None:
    for spelled in ([former, wrong], [f"{former}={wrong}"]):
        assert run_cli(*call.split(), *spelled).err == f"error: {said}\n"
    assert former not in run_cli(call.split()[0], "--help").out


def test_a_text_may_be_called_like_an_earlier_name(run_cli: RunCli) -> None:
    assert "unknown --divide 'x'" in run_cli("segments", "-t", "--by", "--divide", "x").err


def test_a_file_may_use_an_earlier_name(run_cli: RunCli) -> None:
    def error_of(options: str) -> str:
        Path("file.yaml").write_text(f"text: a\nsteps: [segments: {{{options}}}]\n")
        return run_cli("run", "file.yaml", "--dry-run").err

    assert error_of("by: line") == error_of("divide: line") == ""
    assert "unknown divide 'paragraf'" in error_of("by: paragraf")
    assert "unknown key 'by'" in error_of("divide: line, by: line")
    assert "by" not in config_schema()["$defs"]["segments"]["properties"]
