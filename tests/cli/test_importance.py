"""`attncli importance`: files, tables, bad input, known answers, and a run that continues after an interruption."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import attncli
from attncli.studies.importance import compute

if TYPE_CHECKING:
    from conftest import RunCli

TEXTS = ("The cat sat on the mat.", "A dog ran home.", "It was warm.", "She read it.", "He ran.", "The dog was warm.")


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(TEXTS), encoding="utf-8")
    return path


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_the_files_of_a_masked_model(run_cli: RunCli, texts: Path) -> None:
    done = run_cli("importance", "--file", texts, "-o", "out", "--format", "parquet")
    assert done.code == 0, done.err
    rows = rows_of(done.out)
    assert [*rows[0]][:8] == ["kind", "layer", "head", "texts", "loss", "loss_low", "loss_high", "kl"]
    assert len(rows) == 16
    losses = [float(row["loss"]) for row in rows]
    assert losses == sorted(losses, reverse=True)
    assert all(float(row["loss_low"]) <= float(row["loss"]) <= float(row["loss_high"]) for row in rows)
    assert {row["measurable"] for row in rows} == {"True", "False"}
    assert all(float(row["p"]) <= float(row["p_adjusted"]) + 1e-9 for row in rows)
    names = {path.name for path in Path("out").iterdir()}
    tables = {f"{name}.{suffix}" for name in ("importance", "importance-attention") for suffix in ("csv", "parquet")}
    assert names == {*tables, "importance.json", "importance.png", "importance-ranked.png", "manifest.json"}
    document = json.loads(Path("out/importance.json").read_text(encoding="utf-8"))
    assert (document["schema"], document["task"], document["main"]) == ("attncli.importance/1", "masked-lm", "loss")
    assert document["run"]["class"] == "BertForMaskedLM"
    assert document["heads"][0]["loss"] == pytest.approx(losses[0], abs=1e-4)
    assert "no measurable effect" in document["advice"]
    assert "15 % of the ordinary tokens are masked" in done.err
    assert {row["statistic"] for row in document["attention"]} >= {"entropy", "sink"}


def test_one_text_describes_one_text(run_tables: RunCli) -> None:
    done = run_tables("importance", "--text", TEXTS[0], "--method", "mean", "--unit", "layer", "--json")
    document = json.loads(done.out)
    assert "this describes one text" in document["advice"]
    assert [row["head"] for row in document["heads"]] == [None] * 4
    assert all(row["loss_low"] is None and row["measurable"] is None and row["p"] is None for row in document["heads"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--method", "none"), "unknown --method 'none'"),
        (("--unit", "neuron"), "unknown --unit 'neuron'"),
        (("--seed", "-1"), "expected --seed to be a number from 0 up, got -1"),
        (("--words",), "importance removes single heads of the model"),
        (("--layer", "7"), "layer 7"),
        (("--tokens", "zebra"), "zebra"),
        (("--tokens", "0", "-m", "demo:decoder"), "no token predicts the first one"),
        (("--model-head", "base", "--method", "gradient"), "has no head"),
        (("--model-head", "base", "--tokens", "cat"), "predicts no tokens"),
        (("--zero", "9.2"), "zero 9.2: layer 9 does not exist"),
        (("--edit", "block dog->cat"), "block dog->cat: 'dog' does not occur"),
    ],
)
def test_bad_input_is_one_line(run_tables: RunCli, arguments: tuple[str, ...], said: str) -> None:
    done = run_tables("importance", "--text", "The cat sat.", *arguments)
    errors = [line for line in done.err.splitlines() if line.startswith("error")]
    assert (done.code, len(errors)) == (2, 1), done.err
    assert said in done.err


def test_a_saved_run_has_no_heads_to_remove(run_cli: RunCli) -> None:
    assert run_cli("stats", "--text", "A cat.", "-l", "0", "--metric", "sink", "--save-maps", "-o", "saved").code == 0
    done = run_cli("importance", "--from", "saved")
    assert done.code == 2
    assert "a saved run has no model" in done.err


def test_an_interrupted_run_continues(run_cli: RunCli, texts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts.write_text("\n".join(TEXTS[:3]), encoding="utf-8")
    arguments = ("importance", "--file", texts, "--layer", "0-1", "-o", "out")
    calls: list[int] = []
    effects = compute.Ablation._effects

    def counted(self: Any, *args: Any) -> Any:
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return effects(self, *args)

    monkeypatch.setattr(compute.Ablation, "_effects", counted)
    assert run_cli(*arguments).code == 130
    assert [path.name for path in Path("out").iterdir() if not path.name.startswith(".")] == ["manifest.json"]
    # a line that was being written when the process was killed
    with Path("out/.partial.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"text": 2, "units"')
    done = run_cli(*arguments)
    assert done.code == 0, done.err
    assert len(calls) == 5 + 6 - 4
    assert not Path("out/.partial.jsonl").exists()
    fresh = run_cli(*arguments[:-1], "fresh")
    assert Path("fresh/importance.json").read_bytes() == Path("out/importance.json").read_bytes()
    assert fresh.out == done.out


def test_the_heads_of_the_decoder_that_copy() -> None:
    """The second of two equal lists is predicted by induction: previous-token head 0.1, then heads of layer 1."""
    words = "some again marine gave honour shall much river before people"
    more = "water great never people found another should light house world"
    texts = [f"{words} {more} {words} {more}", f"{more} {words} {more} {words}"]
    model = attncli.load("demo:decoder", head="auto-head")
    heads = model.importance(texts, tokens="-20--1").to_frame()
    loss = {f"{row.layer}.{row.head}": row.loss for row in heads.itertuples()}
    order = list(loss)
    assert order.index("0.1") < 4
    layer_1 = [name for name in order if name.startswith("1.")]
    assert {"1.3", "1.5"} & set(layer_1[:3])
    by_layer = model.importance(texts, tokens="-20--1", unit="layer").to_frame().set_index("layer").loss
    assert by_layer[1] > 3 * by_layer[2]
    assert by_layer[1] > 5 * max(loss[name] for name in layer_1)  # each of its heads does the work of the others


@pytest.fixture(scope="module")
def translator() -> attncli.Model:
    return attncli.load("demo:seq2seq", head="auto-head")


def test_the_aligned_cross_heads_of_the_encoder_decoder(translator: attncli.Model) -> None:
    """Heads 1.2 and 1.3 are aligned; each does the work of the other, and without their layer the task is lost."""
    layers = translator.importance("one two three four five", unit="layer").to_frame()
    (best, second, *_) = layers.itertuples()
    assert (best.kind, best.layer) == ("cross", 1)
    assert best.loss > 2
    assert best.loss > 3 * second.loss


def test_heads_that_copy_matter_once_the_others_are_zeroed(run_tables: RunCli, texts: Path) -> None:
    """Each of them costs under 0.1 nat in the model as it is."""
    texts.write_text(" ".join(["some again marine gave honour"] * 2), encoding="utf-8")
    options = (
        "--text-file",
        texts,
        "--tokens",
        "-5--1",
        "--layer",
        "1",
        "--zero",
        "1.0,1.2,1.3,1.5",
        "--format",
        "csv",
    )
    rows = {row["head"]: row for row in rows_of(run_tables("importance", "-m", "demo:decoder", *options).out)}
    assert float(rows["6"]["loss"]) > 0.3
    assert float(rows["3"]["loss"]) == pytest.approx(0, abs=1e-6)
    assert rows["3"]["dead"] == "zeroed by an edit"


def test_the_terminal_shows_the_largest_effects_and_dead_heads(translator: attncli.Model) -> None:
    from rich.console import Console

    from attncli.studies.importance.terminal import dead_table, heads_table, predictors_table

    result = translator.importance("one two three four five")
    console = Console(width=80, file=io.StringIO())
    console.print(heads_table(result, 3), dead_table(result), predictors_table(result))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "encoder 1.2" in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert all(reason in ("uniform", "sink with short values", "no effect") for _, reason in result.dead)
    assert np.isfinite(result.loss)


def test_a_step_of_a_file_reads_the_head_of_the_checkpoint(run_cli: RunCli) -> None:
    step = "models: [demo:decoder]\ninputs: [{text: The cat sat. The dog sat.}]\nsteps: [importance: {unit: layer}]\n"
    Path("steps.yaml").write_text(step, encoding="utf-8")
    done = run_cli("run", "steps.yaml", "-o", "out")
    assert done.code == 0, done.err
    (document,) = Path("out").rglob("importance.json")
    assert json.loads(document.read_text(encoding="utf-8"))["task"] == "causal-lm"
