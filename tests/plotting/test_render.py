"""The bytes of pictures: the same each time, with metadata, and one warning for all characters without a font."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import subprocess
from io import BytesIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib
import pytest
from forking import ForkServer
from matplotlib.figure import Figure
from pictures import attention
from PIL import Image

from attncli.data import Tokens
from attncli.errors import UsageError
from attncli.plotting import grid, heatmap, missing_fonts
from attncli.plotting.render import FORMATS, render


def picture(**options: Any) -> Figure:
    return heatmap.draw(attention(5), model="demo", **options)


@pytest.mark.parametrize("format", FORMATS)
def test_same_figure_gives_same_bytes(format: str) -> None:
    assert render(picture(), format) == render(picture(), format)


def test_same_grid_gives_same_bytes() -> None:
    first, second = (render(grid.draw(attention(6, heads=[2, 3])), "svg") for _ in range(2))
    assert first == second


SETTINGS = {"text.usetex": True, "savefig.bbox": "tight", "figure.facecolor": "black"}
SCRIPT = f"""
import sys
sys.path.insert(0, sys.argv[1])
import matplotlib
matplotlib.rcParams.update({SETTINGS!r})
from plotting.test_render import causal_hashes
print(*causal_hashes())
"""


def causal_hashes() -> list[str]:
    """Return a hash of the same picture in each format."""
    figures = ((heatmap.draw(attention(9, causal=True)), format) for format in FORMATS)
    return [hashlib.sha256(render(figure, format)).hexdigest() for figure, format in figures]


def test_another_process_and_a_users_own_matplotlib_settings_give_the_same_bytes(repo: Path, forks: ForkServer) -> None:
    command = [forks.python, "-c", SCRIPT, str(repo / "tests" / "support")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(repo), str(repo / "tests")])}
    call = subprocess.run(command, capture_output=True, text=True, check=True, cwd=repo, env=environment)
    assert call.stdout.split() == causal_hashes()
    assert len(set(causal_hashes())) == len(FORMATS)


def test_bytes_are_of_their_format_and_have_the_description() -> None:
    files = {format: render(picture(), format, description="demo · 5 tokens · café") for format in FORMATS}
    with Image.open(BytesIO(files["png"])) as image:
        assert image.size == tuple((picture().get_size_inches() * 150).round())
        assert image.info["Software"] == "attncli"
        assert image.info["Description"] == "demo · 5 tokens · café"
    assert "demo · 5 tokens · café" in "".join(ElementTree.fromstring(files["svg"]).itertext())
    assert files["svg"].startswith(b"<?xml")
    assert files["pdf"].startswith(b"%PDF")


def test_unknown_format_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"unknown picture format 'pngg': did you mean 'png'\?"):
        render(picture(), "pngg")


def test_missing_characters_are_named_once(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(missing_fonts, "_warned_codes", set())
    figure = heatmap.draw(attention(Tokens.plain(["\U00012000", "\U00012001", "a"])))
    with caplog.at_level(logging.WARNING, "attncli"):
        for format in FORMATS:
            render(figure, format)
    (record,) = caplog.records
    message = record.getMessage()
    assert "has 2 of the characters (\U00012000 \U00012001)" in message
    assert "install Noto Sans Symbols and Symbola (on Debian and Ubuntu: apt install fonts-noto-core" in message
    assert f"rm {matplotlib.get_cachedir()}/fontlist*.json" in message


@pytest.mark.parametrize(("character", "package"), [("한", "fonts-noto-cjk"), ("注", "fonts-noto-cjk")])
def test_advice_names_the_package_of_the_script_and_what_to_do_then(
    character: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(missing_fonts, "findSystemFonts", list)
    advice = missing_fonts._advice([ord(character)])
    assert advice.startswith(f"install Noto Sans CJK (on Debian and Ubuntu: apt install {package}), then delete")


def test_a_font_that_matplotlib_has_not_listed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
    new = str(shutil.copy(known, tmp_path / "New.ttf"))
    (tmp_path / "Broken.ttf").write_bytes(b"no font")
    files = [str(known), str(tmp_path / "Broken.ttf")]
    monkeypatch.setattr(missing_fonts, "findSystemFonts", lambda: files)
    assert missing_fonts._unlisted_font({ord("a")}) is None
    files.append(new)
    assert missing_fonts._unlisted_font({ord("a")}) == new
    assert missing_fonts._unlisted_font({0x6CE8}) is None
    assert missing_fonts._advice([ord("a")]).startswith(f"{new} has some of them, but is not in the list of fonts")
