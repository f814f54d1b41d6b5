"""Every page of docs/ is true: its code runs, its pictures are what the commands draw, its links lead somewhere."""

from __future__ import annotations

import doctest
import json
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import gallery
import numpy as np
import pytest
import readme
from PIL import Image
from readme import REPO

import attncli
from attncli import registry

if TYPE_CHECKING:
    from conftest import RunCli

DOCS = REPO / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md"))
FILES = re.compile(r"^# ([\w./-]+\.(?:yaml|yml))\n")
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(DOCS)) for page in PAGES])
def test_the_code_of_a_page_runs(page: Path, tmp_path: Path, run_cli: RunCli) -> None:
    if page == gallery.PAGE:
        return  # each command of it is tested with its picture
    shutil.copytree(REPO / "configs", tmp_path / "configs")
    namespace: dict[str, object] = {}
    for block in readme.blocks(page.read_text(encoding="utf-8")):
        if block.language == "yaml" and (named := FILES.match(block.code)):
            (tmp_path / named[1]).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / named[1]).write_text(block.code, encoding="utf-8")
        if block.language == "bash" or (block.language == "yaml" and re.search("^ *(steps|hooks):", block.code, re.M)):
            for arguments in readme.calls(block, tmp_path):
                done = run_cli(*arguments)
                assert done.code == 0, (arguments, done.err)
        if block.language == "python":
            exec(compile(block.code, str(page), "exec"), namespace)
        if block.language == "pycon":
            example = doctest.DocTestParser().get_doctest(block.code, namespace, page.name, str(page), block.line)
            runner = doctest.DocTestRunner(optionflags=OPTIONS)
            said: list[str] = []
            runner.run(example, out=said.append, clear_globs=False)
            assert runner.summarize(verbose=False).failed == 0, "".join(said)
            namespace.update(example.globs)


@pytest.mark.real  # half a minute in all; other tests run these commands too
@pytest.mark.parametrize("entry", gallery.entries(), ids=lambda entry: entry.picture.stem)
def test_the_gallery_shows_what_its_commands_draw(entry: gallery.Entry, tmp_path: Path, run_cli: RunCli) -> None:
    def run(*arguments: str) -> None:
        assert run_cli(*arguments).code == 0, arguments

    pictures = (gallery.draw(entry, tmp_path, run), entry.picture)
    drawn, shown = (np.asarray(Image.open(path).convert("RGB"), int) for path in pictures)
    assert drawn.shape == shown.shape
    assert np.abs(drawn - shown).mean() < 1


def test_the_gallery_has_every_command_that_draws() -> None:
    text = gallery.PAGE.read_text(encoding="utf-8")
    commands = set(re.findall(r"^attncli ([\w-]+)", text, re.MULTILINE))
    assert set(registry.names("cli.commands")) - commands == {"check", "explain", "info", "log", "run", "view"}
    assert {path.name for path in (DOCS / "gallery").iterdir()} == {entry.picture.name for entry in gallery.entries()}


def test_the_python_page_has_every_public_name() -> None:
    text = (DOCS / "python.md").read_text(encoding="utf-8")
    named = {name.rpartition(".")[2] for name in re.findall(r"^::: ([\w.]+)$", text, re.MULTILINE)}
    named |= set(re.findall(r"`attncli\.(\w+)`", text))
    assert set(attncli.__all__) - named == set()


def test_the_site_has_every_page() -> None:
    config = (REPO / "mkdocs.yml").read_text(encoding="utf-8")
    named = set(re.findall(r"([\w/-]+\.md)", config.partition("nav:")[2]))
    assert named == {str(page.relative_to(DOCS)) for page in PAGES}


def test_the_notebook_runs(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    book = json.loads((REPO / "examples" / "attention.ipynb").read_text(encoding="utf-8"))
    cells = [cell for cell in book["cells"] if cell["cell_type"] == "code"]
    namespace: dict[str, object] = {}
    for cell in cells:
        exec("".join(cell["source"]), namespace)
    stored = ["".join(output["text"]) for cell in cells for output in cell["outputs"] if "text" in output]
    assert stored == [capfd.readouterr().out]
