"""Maps of other tools claim no kind of attention in any picture or table, unless the user named it."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from page import Read
from pictures import words
from rich.console import Console

import attncli
from attncli.cli import study_files
from attncli.cli.study_files import StudyFiles, StudyRun
from attncli.engine import publish
from attncli.engine.report import Drawing
from attncli.plotting import render

if TYPE_CHECKING:
    from conftest import RunCli

METRICS = ("--metric", "entropy,sink")
COMMANDS: dict[str, tuple[str, ...]] = {
    "heatmap": ("--layer", "0"),
    "highlight": ("--focus", "1", "--format", "png,html"),
    "stats": (*METRICS, "--spread", "--profile"),
    "patterns": ("--layer", "0"),
    "heads": (),
    "flow": (),
    "segments": ("--segments", "parts.json"),
    "compare": METRICS,
}
CLAIMS = ("encoder", "decoder", "cross")


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts of all pictures and terminal tables that commands made so far."""
    texts: list[str] = []
    picture, write_drawing, tables = render.render, publish._write_drawing, study_files._tables
    show = StudyFiles.show

    def shown(parts: Iterable[Any]) -> None:
        console = Console(file=io.StringIO(), width=200)
        console.print(*parts)
        texts.append(console.file.getvalue())  # type: ignore[attr-defined]

    def see_picture(figure: Any, *args: Any, **more: Any) -> bytes:
        texts.extend(words(figure))
        return picture(figure, *args, **more)

    def see_drawing(drawing: Drawing, *args: Any) -> Any:
        if drawing.terminal is not None:
            shown(drawing.terminal())
        return write_drawing(drawing, *args)

    def see_files(files: StudyFiles, study: Any, done: StudyRun[Any]) -> None:
        shown(tables(study, done, files.console.options.verbose))
        show(files, study, done)

    monkeypatch.setattr(render, "render", see_picture)
    monkeypatch.setattr(publish, "_write_drawing", see_drawing)
    monkeypatch.setattr(StudyFiles, "show", see_files)
    return texts


def save_maps() -> None:
    np.savez("maps.npz", maps=np.random.default_rng(0).dirichlet(np.ones(6), (2, 3, 6)).astype(np.float32))
    Path("parts.json").write_text(json.dumps({"first": [{"tokens": [0, 2]}]}))


@pytest.mark.parametrize("command", COMMANDS)
def test_untold_kinds_are_not_claimed(command: str, seen: list[str], run_cli: RunCli) -> None:
    save_maps()
    source = ["maps.npz", "maps.npz"] if command == "compare" else ["--from", "maps.npz"]
    done = run_cli(command, *source, "--axes", "layer,head,query,key", *COMMANDS[command], "-o", "out")
    assert done.code == 0, done.err
    assert len(seen) > 5
    claims = [text for text in (*seen, done.err) if any(claim in text for claim in CLAIMS)]
    assert claims == []
    for page in Path("out").glob("*.html"):
        assert not any(claim in page.read_text(encoding="utf-8") for claim in CLAIMS)


def test_a_kind_that_the_user_named_is_in_titles(seen: list[str], run_cli: RunCli) -> None:
    save_maps()
    foreign = ("--from", "maps.npz", "--axes", "layer,head,query,key", "--kind", "decoder")
    assert run_cli("heatmap", *foreign, "--layer", "0", "--head", "1").code == 0
    assert run_cli("stats", *foreign, *METRICS, "--save-maps", "-o", "saved").code == 0
    assert "decoder self-attention · layer 0 · head 1" in seen
    assert any("decoder attention, 6 heads" in text for text in seen)
    # a run that was saved from it remembers the kind
    seen.clear()
    assert run_cli("heatmap", "--from", "saved", "--layer", "0", "--head", "1").code == 0
    assert "decoder self-attention · layer 0 · head 1" in seen
    assert attncli.open("maps.npz", axes="layer,head,query,key").info.kinds.title("encoder") == ""
    assert attncli.open("maps.npz", axes="layer,head,query,key", kind="encoder").info.kinds.known


def test_the_page_names_no_kind(run_cli: RunCli) -> None:
    save_maps()
    run = attncli.open("maps.npz", axes="layer,head,query,key")
    read = Read(run.view().html)
    assert read.document["title"] == "maps.npz"
    assert not any(claim in note for note in read.document["notes"] for claim in CLAIMS)


def test_kinds_of_models_are_known() -> None:
    assert attncli.load("demo:decoder").run("a cat").info.kinds.title("decoder") == "decoder self-attention"


CROSS = ("-m", "demo:seq2seq", "-t", "the cat", "--kind", "cross", "-o", "out")


@pytest.mark.parametrize(
    ("call", "titles"),
    [
        (("heatmap", "--layer", "1", "--head", "0"), ["target token (read)", "source token"]),
        (("heatmap", "--layer", "1", "--head", "0", "--rows-as", "predicted"), ["target token (predicted)"]),
        (("heatmap",), ["rows are target tokens, each in the row that reads it; columns are source tokens"]),
        (
            ("heatmap", "--grid", "--rows-as", "predicted"),
            ["rows are target tokens, each in the row that predicts it", "rows as predicted", "target 1-7, source 0-7"],
        ),
        (("stats", *METRICS, "--profile", "--layer", "1"), ["source token"]),
        (("find", "--query", "e", "--key", "e"), ["attention weight on each source token", "strongest source"]),
        (("flow",), ["target token at the top (read)", "source token"]),
        (("flow", "--rows-as", "predicted", "--focus", "e"), ["from 'e' (predicted)", "(predicted)", "source token"]),
        (("highlight", "--focus", "e", "--format", "png"), ["from e (target token 1)", "rows as input"]),
        (
            ("segments", "--divide", "line", "--target", "eht\ntac"),
            ["rows are target segments, columns are source segments"],
        ),
    ],
    ids=lambda value: value[0] if isinstance(value[0], str) else "",
)
def test_cross_attention_names_target_and_source(
    call: tuple[str, ...], titles: list[str], seen: list[str], run_cli: RunCli
) -> None:
    done = run_cli(*call, *CROSS)
    assert done.code == 0, done.err
    together = "\n".join(seen)
    for title in titles:
        assert title in together
    assert not any(text.startswith(("query token", "key token")) for text in seen)


def test_the_page_says_which_token_a_row_is_named_by() -> None:
    model = attncli.load("demo:seq2seq")
    note = "rows of decoder and cross attention are named by the token that the model reads there"
    assert any(note in shown for shown in Read(model.run("the cat").view().html).document["notes"])
    assert not any("named by" in shown for shown in Read(attncli.load().run("a cat").view().html).document["notes"])
