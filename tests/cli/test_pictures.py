"""How pictures look: the options of every command that draws, keys of a file, and the variable ATTNCLI_STYLE."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, get_type_hints
from xml.etree import ElementTree

import pytest
from PIL import Image

from attncli.cli.command_table import all_commands, study_command, study_commands
from attncli.cli.config.shape import config, steps
from attncli.options import PictureOptions
from attncli.studies.view.study import ViewStudy

if TYPE_CHECKING:
    from conftest import RunCli

ONE = ("heatmap", "-t", "The cat sat.", "-l", "1", "-H", "0")
NAME = "encoder-L01-H00"
KEYS = [field.name for field in fields(PictureOptions)]


@pytest.fixture(autouse=True)
def no_style(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ATTNCLI_STYLE", raising=False)


def size(path: str) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def texts(path: str) -> set[str]:
    root = ElementTree.parse(path).getroot()
    return {"".join(element.itertext()) for element in root.iter("{http://www.w3.org/2000/svg}text")}


def resolved(folder: str) -> dict[str, object]:
    manifest = json.loads(Path(folder, "manifest.json").read_text(encoding="utf-8"))
    return manifest["run"]["resolved"].get("pictures", {})  # type: ignore[no-any-return]


def test_every_command_that_draws_has_the_options_and_keys() -> None:
    drawing = {"find", "flow", "heads", "heatmap", "highlight", "importance", "patterns", "prune", "segments", "stats"}
    groups = study_commands()
    assert {name for name in groups if PictureOptions in groups[name]} >= drawing
    assert PictureOptions not in groups["view"]
    assert "pictures" not in study_command(ViewStudy).__annotations__
    for keys in (config(), steps()["heatmap"], steps()["stats"]):
        assert set(KEYS) <= set(keys.model_fields)
    assert all(PictureOptions in get_type_hints(all_commands()[name]).values() for name in ("compare", "run"))


def test_tables_come_without_pictures(run_cli: RunCli) -> None:
    text = ("-t", "a cat", "-l", "0", "-H", "0")
    assert run_cli("stats", *text, "--no-pictures", "-o", "stats").code == 0
    assert {path.name for path in Path("stats").iterdir()} == {"manifest.json", "stats.csv", "stats.json"}
    assert run_cli("stats", *text, "-o", "stats").code == 4  # other files: another run
    assert run_cli("highlight", *text, "--focus", "cat", "--no-pictures", "-o", "highlight").code == 0
    assert {path.suffix for path in Path("highlight").iterdir()} == {".html", ".json"}
    Path("plan.yaml").write_text("text: a cat\nsteps: [patterns: {pictures: false}]\n")
    assert {Path(path).suffix for path in run_cli("run", "plan.yaml").out.split()} == {".csv", ".json"}
    done = run_cli("stats", *text, "--no-pictures", "--format", "csv,svg")
    assert (done.code, done.err) == (2, "error: --format svg is a picture: leave it out, or --no-pictures\n")
    done = run_cli("heatmap", *text, "--no-pictures")
    assert done.err == "error: --no-pictures leaves nothing to write: this command writes pictures alone\n"


@pytest.mark.parametrize(
    "command",
    [
        "find --query cat --key 1 -t",
        "flow --focus cat -l 0-1 -t",
        "highlight --focus cat -l 0 -H 0 -t",
        "patterns --probe repeated --length 3 --seeds 1 -l 0 -H 0",
        "segments -l 0 -H 0 --pair Yes -t",
        "stats --metric sink -l 0 -t",
        "compare --dtype-b bfloat16 --metric sink -l 0 -t",
    ],
)
def test_each_command_draws_in_the_style(command: str, run_cli: RunCli) -> None:
    words = command.split()
    options = ("--format", "svg", "--figsize", "5,4", "--title", "Figure <1>", "--font", "monospace")
    done = run_cli(*words, *(["The cat sat."] if words[-1] == "-t" else []), *options, "-o", "here")
    assert done.code == 0, done.err
    pictures = [path for path in map(str, Path("here").iterdir()) if path.endswith(".svg")]
    assert pictures
    for path in pictures:
        root = ElementTree.parse(path).getroot()
        assert (root.get("width"), root.get("height")) == ("360pt", "288pt")
        assert "Figure <1>" in texts(path)
        assert "'DejaVu Sans'" not in Path(path).read_text(encoding="utf-8")


def test_the_style_enters_the_digest_and_the_same_gives_the_same_bytes(run_cli: RunCli) -> None:
    folders = []
    for options in ((), ("--figsize", "4,3", "--dpi", "200", "--cmap", "magma"), ("--cmap", "magma")):
        (path,) = run_cli(*ONE, *options).out.splitlines()
        folders.append(Path(path).parent)
    assert len(set(folders)) == 3
    assert resolved(str(folders[0])) == {}
    assert resolved(str(folders[1])) == {"figsize": [4.0, 3.0], "dpi": 200, "cmap": "magma"}
    assert size(str(folders[1] / f"{NAME}.png")) == (800, 600)
    assert run_cli(*ONE, "--cmap", "magma", "-o", "again").code == 0
    assert Path("again", f"{NAME}.png").read_bytes() == (folders[2] / f"{NAME}.png").read_bytes()


@pytest.mark.parametrize("option", ["--figsize 0,1", "--dpi 1000000", "--cmap virids", "--font Aria", "--figsize x"])
def test_wrong_values_are_refused_before_the_model_is_loaded(option: str, run_cli: RunCli) -> None:
    done = run_cli(*ONE, "-m", "no/such-model", *option.split())
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert option.split()[0] in done.err


def test_keys_of_a_file_hold_for_its_steps_and_the_command_line_overrides_them(run_cli: RunCli) -> None:
    Path("plan.yaml").write_text(
        "text: The cat sat.\nlayer: 1\nhead: 0\nfigsize: 5,5\ndpi: 100\n"
        "steps:\n  - heatmap: {figsize: [4, 3]}\n  - find: {query: cat, key: 1}\n"
    )
    for options, dpi in (((), 100), (("--dpi", "60"), 60)):
        assert run_cli("run", "plan.yaml", "-o", "here", "--force", *options).code == 0
        assert size(f"here/demo-encoder/000/heatmap/{NAME}.png") == (4 * dpi, 3 * dpi)
        assert size("here/demo-encoder/000/find/find.png") == (5 * dpi, 5 * dpi)
    Path("plan.yaml").write_text("text: The cat sat.\ncmap: virids\nsteps: [stats]\n")
    done = run_cli("run", "plan.yaml", "--dry-run")
    assert done.code == 2
    assert done.err.startswith("error: at stats: unknown --cmap 'virids': did you mean 'viridis'")


def test_the_variable_names_a_file_or_a_style_and_options_override_it(
    run_cli: RunCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("look.yaml").write_text("figsize: [4, 3]\ndpi: 50\ntitle: A title\n")
    Path("paper.mplstyle").write_text("figure.figsize: 2, 1.5\nsavefig.dpi: 100\naxes.grid: True\n")
    for name, expected in (("look.yaml", (200, 150)), ("paper.mplstyle", (200, 150)), ("classic", (800, 600))):
        monkeypatch.setenv("ATTNCLI_STYLE", name)
        assert run_cli(*ONE, "--force", "-o", "here").code == 0
        assert size(f"here/{NAME}.png") == expected
    monkeypatch.setenv("ATTNCLI_STYLE", "look.yaml")
    assert run_cli(*ONE, "--force", "-o", "here", "--dpi", "100", "--title", "").code == 0
    assert size(f"here/{NAME}.png") == (400, 300)
    assert resolved("here") == {"figsize": [4.0, 3.0], "dpi": 100, "title": ""}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "gplot",
            "expected a file in YAML, a file .mplstyle or the name of a style of matplotlib; did you mean 'ggplot'?",
        ),
        ("no/such.mplstyle", "expected a file in YAML"),
        ("wrong.yaml", "cmapp"),
        ("values.yaml", "unknown --cmap 'virids'"),
        ("broken.mplstyle", "the file cannot be read"),
    ],
)
def test_a_wrong_variable_is_named(name: str, said: str, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("wrong.yaml").write_text("cmapp: magma\n")
    Path("values.yaml").write_text("cmap: virids\n")
    Path("broken.mplstyle").write_bytes(b"\xff\xfe\x00")
    monkeypatch.setenv("ATTNCLI_STYLE", name)
    done = run_cli(*ONE)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert done.err.startswith(f"error: ATTNCLI_STYLE is '{name}': ")
    assert said in done.err


def test_a_command_that_draws_nothing_reads_no_style(run_cli: RunCli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTNCLI_STYLE", "no/such/file")
    assert run_cli("view", "-t", "The cat sat.", "-l", "0", "-H", "0").code == 0
    assert run_cli("info").code == 0


def test_pictures_and_pages_name_a_folder_by_its_last_part(
    demo_dirs: dict[str, Path], run_cli: RunCli, tmp_path: Path
) -> None:
    folder = Path("deep/down/my-model")
    folder.parent.mkdir(parents=True)
    folder.symlink_to(demo_dirs["encoder"])
    for model in (folder, folder.absolute(), Path("down/my-model")):
        if not model.exists():
            Path("down").symlink_to("deep/down")
        assert run_cli(*ONE, "-m", model, "--format", "svg", "-o", "here", "--force").code == 0
        assert "my-model" in texts(f"here/{NAME}.svg")
        assert not re.search("(deep|down|…)/", Path(f"here/{NAME}.svg").read_text(encoding="utf-8"))
    assert run_cli("view", "-m", folder, "-t", "The cat sat.", "-l", "0", "-H", "0", "-o", "page").code == 0
    assert "<title>my-model · attncli</title>" in Path("page/view.html").read_text(encoding="utf-8")
