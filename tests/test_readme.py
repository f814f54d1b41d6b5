"""Every promise of the README is kept: its code runs, its picture is real, what it names exists."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import readme
from PIL import Image
from readme import PICTURE, REPO, SET_UP, Block

from attncli import registry

if TYPE_CHECKING:
    from conftest import RunCli
    from forking import ForkServer

TEXT = (REPO / "README.md").read_text(encoding="utf-8")
BLOCKS = readme.blocks(TEXT)
(DRAWS_PICTURE,) = readme.blocks(TEXT.partition("draws the picture above:")[2])[:1]
COMMANDS = registry.names("cli.commands")
CODE = "\n".join(block.code for block in BLOCKS if block.language == "bash").replace("\\\n", " ")


@pytest.mark.parametrize("block", BLOCKS, ids=[f"line {block.line}" for block in BLOCKS])
def test_the_code_runs(block: Block, tmp_path: Path, run_cli: RunCli, forks: ForkServer) -> None:
    assert block.language in {"bash", "python"}
    (tmp_path / "configs").symlink_to(REPO / "configs")
    if block.language == "python":
        done = readme.run(block, tmp_path, forks.folder, forks.environment)
        assert done.returncode == 0, done.stderr
        return
    said = ""
    for args in readme.calls(block):
        done = run_cli(*args)
        assert done.code == 0, args
        said = done.out
    if block.code == DRAWS_PICTURE.code:
        assert_same_picture(Path(said.splitlines()[-1]), PICTURE)


def assert_same_picture(*paths: Path) -> None:
    drawn, shown = (np.asarray(Image.open(path).convert("RGB"), int) for path in paths)
    assert drawn.shape == shown.shape
    assert np.abs(drawn - shown).mean() < 1


def test_bash_makes_the_arguments() -> None:
    block = Block("bash", 'pip install .\nattncli a "b c" \\\n  "$(seq 2)"  # comment\nattncli d \'\'\n', 1)
    assert readme.calls(block) == [["a", "b c", "1\n2"], ["d", ""]]
    found = sum(len(readme.calls(block)) for block in BLOCKS if block.language != "python")
    assert found == len(re.findall("^attncli ", CODE, re.MULTILINE))


def test_it_is_short_and_starts_with_a_picture() -> None:
    assert len(TEXT.splitlines()) < 170
    assert re.match(r"# attncli\n\n!\[[^\]]+\]\(docs/heatmap\.png\)\n", TEXT)


def test_every_option_it_names_exists(run_cli: RunCli) -> None:
    commands = sorted(set(re.findall(r"^attncli ([\w-]+)", CODE, re.MULTILINE)))
    assert commands == COMMANDS
    known = {command: set(re.findall(r"--[a-z-]+", run_cli(command, "--help").out)) for command in commands}
    for line in CODE.splitlines():
        if called := re.match(r"attncli ([\w-]+)(.*)", line):
            assert set(re.findall(r"(?<= )--[a-z-]+", called[2])) <= known[called[1]], line
    named = set(re.findall(r"`(--[a-z-]+)", TEXT))
    assert named <= set().union(*known.values())


def test_every_make_target_it_names_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):.*##", (REPO / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = set(re.findall(r"make ([a-z-]+)(?=`| )", TEXT))
    assert {"demo", "test", "test-real", "help", "lock", "picture", "page"} <= named <= targets


def test_every_file_it_names_exists() -> None:
    named = set(re.findall(r"\]\(([\w./-]+)\)", TEXT)) | set(re.findall(r"`((?:tests|training|docs)/[\w./]*)`", TEXT))
    assert {"docs/heatmap.png", "training/"} <= named
    assert [name for name in sorted(named) if not (REPO / name).exists()] == []


def test_only_set_up_is_left_out_of_the_runs() -> None:
    left_out = [line for line in CODE.splitlines() if SET_UP.match(line)]
    assert [line.split("#")[0].strip() for line in left_out] == ["make demo", "make test", "pip install ."]
