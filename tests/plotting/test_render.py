"""Pictures on disk: whole or not at all, the same bytes each time, one warning for all missing characters."""

from __future__ import annotations

import errno
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from attncli.plotting.save import FORMATS, render, save
from matplotlib.figure import Figure
from pictures import attention
from PIL import Image

from attncli.data import Tokens
from attncli.errors import OutputError, UsageError
from attncli.plotting import grid, heatmap
from attncli.plotting import save as _save


def picture(**options: Any) -> Figure:
    return heatmap.draw(attention(5), model="demo", **options)


@pytest.mark.parametrize("format", FORMATS)
def test_same_figure_gives_same_bytes(format: str) -> None:
    assert render(picture(), format) == render(picture(), format)
    assert render(grid.draw(attention(6, heads=[2, 3])), format) == render(
        grid.draw(attention(6, heads=[2, 3])), format
    )


SCRIPT = """
import hashlib, sys
sys.path.insert(0, {tests!r})
import matplotlib
matplotlib.rcParams.update({settings!r})
from pictures import attention
from attncli.views import heatmap
from attncli.views._save import FORMATS, render
for format in FORMATS:
    print(hashlib.sha256(render(heatmap.draw(attention(9, causal=True)), format)).hexdigest())
"""


def test_another_process_and_a_users_own_matplotlib_settings_give_the_same_bytes(repo: Path) -> None:
    hashes = []
    for settings in ({}, {"text.usetex": True, "savefig.bbox": "tight", "figure.facecolor": "black"}):
        script = SCRIPT.format(tests=str(repo / "tests"), settings=settings)
        call = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=repo)
        hashes.append(call.stdout)
    assert hashes[0] == hashes[1]
    assert len(set(hashes[0].split())) == len(FORMATS)


def test_saved_files_are_what_their_names_say(tmp_path: Path) -> None:
    for format in FORMATS:
        save(picture(), tmp_path / f"a.{format}", description="demo · 5 tokens · café")
    with Image.open(tmp_path / "a.png") as image:
        assert image.size == tuple((picture().get_size_inches() * 150).round())
        assert image.info["Software"] == "attncli"
        assert image.info["Description"] == "demo · 5 tokens · café"
    assert "demo · 5 tokens · café" in "".join(ElementTree.parse(tmp_path / "a.svg").getroot().itertext())
    assert (tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")


def test_given_format_wins_over_suffix(tmp_path: Path) -> None:
    save(picture(), tmp_path / "picture.tmp", format="svg")
    assert (tmp_path / "picture.tmp").read_bytes().startswith(b"<?xml")


def test_unknown_format_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"unknown picture format 'pngg': did you mean 'png'\?"):
        save(picture(), tmp_path / "a.pngg")
    assert not list(tmp_path.iterdir())


def test_missing_folder_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"cannot write .*a\.png: No such file or directory; create the folder"):
        save(picture(), tmp_path / "gone" / "a.png")


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt(), MemoryError()]
)
def test_failure_while_writing_leaves_the_old_file_and_nothing_else(
    error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(descriptor: int) -> None:
        raise error

    target = tmp_path / "a.png"
    target.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OutputError if isinstance(error, OSError) else type(error)):
        save(picture(), target)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    assert target.read_bytes() == b"old"


def test_disk_that_takes_no_more_says_what_to_do(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource", reason="this system has no limits on file sizes")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OutputError, match="free some space or choose another folder"):
            save(picture(), tmp_path / "a.png")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())


def test_new_file_has_the_rights_that_any_new_file_has(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    save(picture(), tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_missing_characters_are_told_once(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_save, "_told", set())
    figure = heatmap.draw(attention(Tokens.plain(["\U00012000", "\U00012001", "a"])))
    with caplog.at_level(logging.WARNING, "attncli"):
        for format in FORMATS:
            render(figure, format)
    (record,) = caplog.records
    message = record.getMessage()
    assert "has 2 of the characters (\U00012000 \U00012001)" in message
    assert "install Noto Sans Symbols" in message


def test_advice_names_the_font_of_the_script() -> None:
    assert _save._FONTS_FOR["HANGUL"] == _save._FONTS_FOR["CJK"] == "Noto Sans CJK"
