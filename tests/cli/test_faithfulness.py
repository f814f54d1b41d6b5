"""`attncli faithfulness`: its files and pictures, how it continues, and how it refuses what it cannot do."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from rich.console import Console

import attncli
from attncli.errors import ModelError
from attncli.studies.faithfulness.agreement.figures import draw_agreement
from attncli.studies.faithfulness.agreement.terminal import agreement_table
from attncli.studies.faithfulness.curves.figures import draw_curves
from attncli.studies.faithfulness.curves.part import CurvesPart
from attncli.studies.faithfulness.curves.result import PERCENTS, Curves
from attncli.studies.faithfulness.curves.terminal import means_tables
from attncli.studies.faithfulness.rationales.figures import draw_rationales
from attncli.studies.faithfulness.rationales.terminal import rationales_table

if TYPE_CHECKING:
    from conftest import RunCli

TEXTS = [
    "I saw a chosen cat and some soup.",
    "The chosen lever and soup.",
    "my chosen cake in the market",
    "a chosen goat or cheese",
    "their soup beside her chosen spade",
    "he carried this chosen bear later",
]
SPANS = [[[15, 18]], ["lever"], [[10, 14]], ["goat"], ["spade"], ["bear"]]
CLASSIFIER = ("faithfulness", "--model", "demo:classifier")
QUICK = ("--method", "attention", "--draws", "1")


@pytest.fixture
def texts() -> str:
    rows = [{"text": text, "rationale": spans} for text, spans in zip(TEXTS, SPANS, strict=True)]
    Path("texts.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return "texts.jsonl"


def test_the_files_have_all_parts_and_an_interrupted_run_continues(
    run_cli: RunCli, texts: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = (*CLASSIFIER, "--file", texts, "--rationales", texts, *QUICK, "--no-pictures", "--format", "parquet")
    fresh = run_cli(*command, "--out", "fresh")
    assert fresh.code == 0, fresh.err
    document = json.loads(Path("fresh/faithfulness.json").read_text())
    assert document["schema"] == "attncli.faithfulness/1"
    assert document["explained"] == {"explain": "next", "unit": "token", "texts": 6}
    assert [text["prediction"] for text in document["texts"]] == ["animal", "tool", "food", "animal", "tool", "animal"]
    rows = list(csv.DictReader(io.StringIO(fresh.out)))
    assert [(row["removal"], row["method"]) for row in rows] == [
        (removal, method) for removal in ("mask", "delete") for method in ("attention", "random", "position")
    ]
    assert all(float(row["sufficiency_low"]) <= float(row["sufficiency"]) for row in rows)
    assert document["summary"][0].startswith("Removal mask, 6 texts: comprehensiveness")
    assert document["rationales"]["methods"][0]["texts"] == 6
    parts = ("", "-agreement", "-differences", "-rationales", "-shares", "-texts")
    names = {f"faithfulness{part}.{suffix}" for part in parts for suffix in ("csv", "parquet")}
    assert {path.name for path in Path("fresh").iterdir()} == names | {"faithfulness.json", "manifest.json"}
    assert "6 texts say little about a method" in fresh.err

    measure, calls = CurvesPart.measure, []

    def interrupted(part: CurvesPart, text: Any, advance: Any) -> Any:
        calls.append(text.number)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return measure(part, text, advance)

    monkeypatch.setattr(CurvesPart, "measure", interrupted)
    assert run_cli(*command, "--out", "out").code == 130
    assert run_cli(*command, "--out", "out").code == 0
    assert calls == [0, 1, 2, 3, 3, 4, 5]
    assert Path("out/faithfulness.json").read_bytes() == Path("fresh/faithfulness.json").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--text", "cat"), 2, "reads one token or none"),
        (("--text", "a cat", "--removal", "mask,delte"), 2, "did you mean 'delete'"),
        (("--text", "a cat", "--removal", ""), 2, "unknown --removal ''"),
        (("--text", "a cat", "--method", "rolout"), 2, "did you mean 'rollout'"),
        (("--text", "a cat", "--draws", "0"), 2, "expected --draws from 1 up"),
        (("--text", "a cat", "--top", "0"), 2, "expected --top from 1 up"),
        (("--text", "a cat", "--explain", "labels"), 2, "give --explain label:NAME"),
        (("--text", "a cat", "--text", "b cat", "--explain", "label:plant"), 2, "text 0: --explain: there is no label"),
        (("--text", "a cat", "--text", "cat"), 2, "text 1: the prediction reads one token"),
        (("--text", "a cat", "--rationales", "texts.jsonl"), 2, "a rationale for each of 1 text, got 6 rationales"),
        (("--text", "a cat", "--rationales", "far.jsonl"), 2, "characters 3 to 90 ends after the text"),
        (("--text", "a cat", "--rationales", "wrong.jsonl"), 2, "wrong.jsonl, line 1 has no 'rationale'"),
        (("--text", "a cat", "--rationales", "none.jsonl"), 2, "no such file"),
        (("--text", "a cat", "--rationales", "other.jsonl"), 2, "the rationale of text 0 is that of another text"),
        (("--text", "a cat", "--save-maps"), 2, "keeps no maps"),
        (("--text", "a cat", "--aggregate", "mean"), 2, "leave out --aggregate"),
        (("--from", "saved"), 2, "a saved run has none"),
        (("-m", "demo:decoder", "--text", "Good lord, good", "--baseline", "mask"), 2, "has no mask token"),
        (("-m", "demo:decoder", "--text", "Good"), 2, "one token can be removed"),
        (("-m", "demo:encoder", "--text", "a cat"), 2, "the text has none"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    run_cli: RunCli, texts: str, arguments: tuple[str, ...], code: int, message: str
) -> None:
    Path("far.jsonl").write_text("[[3, 90]]\n")
    Path("other.jsonl").write_text('{"text": "a dog", "rationale": [[2, 5]]}\n')
    Path("wrong.jsonl").write_text('{"gold": [[0, 1]]}\n')
    model = () if {"-m", "--from"} & set(arguments) else CLASSIFIER[1:]
    done = run_cli("faithfulness", *model, *arguments, *(() if "--draws" in arguments else ("--draws", "1")))
    assert (done.code, message in done.err) == (code, True), done.err
    assert len(done.err.strip().splitlines()) == 1


def test_numbers_that_are_not_finite_name_the_text(run_cli: RunCli, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(remover: Any, cells: Any) -> Any:
        return np.full(len(cells["source"]), np.nan)

    monkeypatch.setattr("attncli.studies.faithfulness.removal.TextRemover._deleted", broken)
    done = run_cli(*CLASSIFIER, "--text", TEXTS[0], "--text", TEXTS[1], "--removal", "delete", *QUICK)
    assert (done.code, "text 0: " in done.err, "gives no finite number" in done.err) == (3, True, True)
    assert "--dtype float32" not in done.err  # it computes in float32 already


def test_missing_scipy_is_found_before_texts_are_measured(
    run_cli: RunCli, texts: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "scipy", None)
    monkeypatch.delattr(CurvesPart, "measure")
    done = run_cli(*CLASSIFIER, "--file", texts, *QUICK)
    assert (done.code, "need SciPy: pip install" in done.err) == (2, True), done.err


@pytest.fixture(scope="module")
def result() -> attncli.Faithfulness:
    model = attncli.load("demo:classifier", head="auto-head")
    return model.faithfulness(TEXTS, ["attention", "gradient-norm"], draws=2, rationales=SPANS)


def test_tables_of_a_terminal_fit_and_mark_what_is_better(result: attncli.Faithfulness) -> None:
    console = Console(file=io.StringIO(), width=80)
    agreement, rationales = result.parts["agreement"], result.parts["rationales"]
    curves = _curves_of_eight_texts(result.curves.methods)
    for table in (*means_tables(curves), agreement_table(agreement), rationales_table(rationales)):  # type: ignore[arg-type]
        console.print(table)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    (shown, _) = [line for line in lines if line.startswith("gradient-norm ") and " +" in line]
    assert shown.split()[1:3] == [f"{curves.means['comprehensiveness'][1]:.3f}", "+"]
    assert repr(result).splitlines()[0] == "Faithfulness of 2 methods on 6 texts"
    assert "not why" in result.summary[-1]


def _curves_of_eight_texts(methods: tuple[str, ...]) -> Curves:
    """Return curves in which the second method is better than random."""
    deletion = np.random.default_rng(0).normal(0.5, 0.02, (2, len(methods), len(PERCENTS), 8))
    insertion = deletion.copy()
    deletion[:, 1, 1:] -= 0.3
    return Curves(methods, ("mask", "delete"), deletion, insertion)


def test_the_pictures_show_the_numbers(result: attncli.Faithfulness) -> None:
    deletion, insertion, *others = draw_curves(result.curves).axes
    assert len(others) == 2
    for axes, values in ((deletion, result.curves.deletion), (insertion, result.curves.insertion)):
        np.testing.assert_allclose([line.get_ydata() for line in axes.lines], values[0].mean(-1))
        assert [line.get_label() for line in axes.lines] == ["attention", "gradient-norm", "random", "position"]
        np.testing.assert_allclose(np.asarray(axes.lines[0].get_xdata()) * 100, PERCENTS)
    matrices: Any = result.parts["agreement"]
    images = [axes.images[0] for axes in draw_agreement(matrices).axes if axes.images]
    np.testing.assert_allclose([np.asarray(image.get_array()) for image in images], matrices.means, atol=1e-6)
    found: Any = result.parts["rationales"]
    first, *_ = draw_rationales(found).axes
    np.testing.assert_allclose([bar.get_width() for bar in first.patches], found.means["auprc"])


def test_a_text_that_fails_is_named_in_python(result: attncli.Faithfulness) -> None:
    model = attncli.load("demo:decoder", head="causal-lm")
    with pytest.raises(ModelError, match="no classifier of texts"):
        model.faithfulness(["Good lord, good", "Good lord"], "attention", "label:x")
