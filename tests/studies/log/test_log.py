"""The log of checkpoints: its files, its errors, the largest changes and the pictures."""

from __future__ import annotations

import io
import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

import attncli
from attncli.data import Array, Text
from attncli.engine.checkpoints import Checkpoint
from attncli.errors import ModelError, UsageError
from attncli.store.tables import table_csv
from attncli.studies.log import figures
from attncli.studies.log.report import change_notes
from attncli.studies.log.result import Snapshot
from attncli.studies.log.series import LogSeries, changes_table, largest_changes, overlap_note
from attncli.studies.log.terminal import log_tables

if TYPE_CHECKING:
    from conftest import Called, RunCli
    from matplotlib.figure import Figure

TEXTS = [f"The {name} sat on the mat because it was warm and dry." for name in ("cat", "dog", "old man", "boy", "bird")]
TEXTS += ["A dog ran home to eat its dinner, and then it slept for a long time."]
HELD_OUT = [text.replace("sat on", "ran to") for text in TEXTS]
SMALL = ("--probe-length", "6", "--sequences", "1", "-l", "0,1", "-H", "0-2")


@pytest.fixture
def logged(run_once: RunCli, checkpoints: Path, tmp_path_factory: pytest.TempPathFactory) -> Called:
    folder = checkpoints.parent
    for name, texts in (("texts.txt", TEXTS), ("held-out.txt", HELD_OUT)):
        (folder / name).write_text("\n".join(texts), encoding="utf-8")
    call = ("log", "-m", f"{checkpoints}/checkpoint-*", "-f", f"{folder}/texts.txt", *SMALL, "-o", "here")
    return run_once(*call, "--held-out", f"{folder}/held-out.txt")


def test_checkpoints_are_measured_in_the_order_of_their_steps(logged: Called, checkpoints: Path) -> None:
    assert logged.code == 0, logged.err
    here = logged.folder / "here"
    assert logged.out == (here / "log.csv").read_text(encoding="utf-8")
    heads = pd.read_csv(here / "log.csv")
    assert heads.columns[:5].tolist() == ["kind", "layer", "head", "checkpoint", "step"]
    assert heads["step"].tolist() == [3] * 6 + [20] * 6 + [100] * 6
    document = json.loads((here / "log.json").read_text(encoding="utf-8"))
    assert document["schema"] == "attncli.log/1"
    assert [entry["step"] for entry in document["checkpoints"]] == [3, 20, 100]
    assert str(checkpoints) not in json.dumps(document)
    for name in ("entropy_normalized", "sink", "distance", "induction", "rigidity_difference", "rows_to_mean"):
        assert document["numbers"][name]["question"].endswith("?")
    assert {path.name for path in here.glob("*.png")} == {"log.png", "log-heads.png"}


def test_zero_weights_are_uniform_attention_and_the_last_checkpoint_is_the_model(logged: Called) -> None:
    heads = pd.read_csv(logged.folder / "here/log.csv")
    first, last = heads[heads["step"] == 3], heads[heads["step"] == 100].reset_index()
    for name in ("entropy_normalized", "sink", "distance", "previous_mass", "induction"):
        assert first[name].to_numpy() == pytest.approx(first[f"{name}_uniform"].to_numpy(), rel=1e-5)
    assert first["class"].tolist() == ["uniform"] * 6
    assert first["rigidity"].isna().all()  # uniform rows have no variance to explain
    expected = attncli.load("demo:decoder").run(TEXTS, layer="0,1", head="0-2").stats(["sink", "distance"]).to_frame()
    for name in ("sink", "distance"):
        assert last[name].to_numpy() == pytest.approx(expected[name].to_numpy(), rel=1e-4)
    layers = pd.read_csv(logged.folder / "here/log-layers.csv")
    means = heads.groupby(["step", "layer"])["distance"].mean()
    assert layers["distance"].to_numpy() == pytest.approx(means.to_numpy(), rel=1e-4)


def test_held_out_texts_give_the_difference_in_rigidity_with_intervals(logged: Called) -> None:
    last = pd.read_csv(logged.folder / "here/log.csv").query("step == 100")
    difference = last["rigidity"] - last["rigidity_held_out"]
    assert last["rigidity_difference"].to_numpy() == pytest.approx(difference.to_numpy(), abs=1e-5)
    assert (last["rigidity_difference_low"] <= last["rigidity_difference"] + 1e-9).all()
    assert (last["rigidity_difference_high"] >= last["rigidity_difference"] - 1e-9).all()
    assert last["rigidity_p_adjusted"].between(0, 1).all()
    patterns = attncli.load("demo:decoder").patterns(TEXTS, layer="0,1", head="0-2", shuffles=0).table()
    assert last["rigidity"].to_numpy() == pytest.approx(patterns["rigidity"], rel=1e-4)


def test_python_gives_the_same_log_of_one_model(checkpoints: Path) -> None:
    series = attncli.log(f"{checkpoints}/checkpoint-100", TEXTS[0], metrics="sink", probe_length=0, layer=1, head=0)
    assert (series.names, series.steps.tolist(), series.numbers) == (["checkpoint-100"], [100], ("sink", "rigidity"))
    assert list(largest_changes(series)) == []
    expected = attncli.load("demo:decoder").run(TEXTS[0]).stats("sink")["sink"].sel(layer=1, head=0)
    assert series.to_frame()["sink"].tolist() == pytest.approx(expected.values.tolist())
    with pytest.raises(UsageError, match="expected model to be a text, got PosixPath"):
        attncli.log(checkpoints, TEXTS[0])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (("-m", "nowhere/*", "-t", "a b"), "--model 'nowhere/*' is a pattern of model folders, but nothing matches"),
        (("-m", "DEMO/*coder", "-t", "a b"), "expected checkpoints of one model"),
        (("-t", "a b", "--metric", "sink_position"), "sink_position is a position, of which there is no mean"),
        (("-t", "a b", "--metric", "sinc"), "unknown metric 'sinc': did you mean 'sink'"),
        (("-t", "a b", "--probe-length", "1"), "expected --probe-length from 2 tokens up, or 0 for no probe, got 1"),
        (("-t", "a b", "--sequences", "0"), "expected --sequences from 1 up, got 0"),
        (("-t", "a b", "--aggregate", "mean"), "snapshots are of single heads"),
        (("-t", "a b", "--generate", "2"), "each checkpoint would read a text of its own"),
        (("-t", "a b", "--save-maps"), "log keeps no maps"),
        (("--from", "here"), "log runs models on texts: leave out --from"),
        (("-m", "demo:seq2seq", "-t", "a b"), "each checkpoint would read a target that it writes itself"),
        (("-t", "a b", "--held-out", "nowhere.txt"), "no such file: nowhere.txt"),
        (("-t", "a b", "--held-out", "some.txt"), "give several texts, not one"),
        (
            (
                "-m",
                "demo:encoder",
            ),
            "there is no text to read",
        ),
    ],
)
def test_wrong_calls_are_one_line(
    call: Sequence[str], message: str, run_cli: RunCli, demo_dirs: dict[str, Path]
) -> None:
    Path("some.txt").write_text("a text\nanother\n", encoding="utf-8")
    done = run_cli("log", *(part.replace("DEMO", str(demo_dirs["encoder"].parent)) for part in call))
    assert (done.code, done.err.count("\n")) == (2, 1), done.err
    assert message in done.err


def test_a_checkpoint_that_diverged_is_left_out(run_cli: RunCli, checkpoints: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    shutil.copytree(checkpoints / "checkpoint-3", tmp_path / "runs/checkpoint-3")
    broken = shutil.copytree(checkpoints / "checkpoint-3", tmp_path / "runs/checkpoint-5") / "model.safetensors"
    tensors = load_file(broken)
    tensors["model.layers.1.mlp.up_proj.weight"] *= float("nan")
    save_file(tensors, broken, {"format": "pt"})
    done = run_cli("log", "-m", "runs/*", "-t", "a b c", "--no-pictures", "--json")
    assert "checkpoint-5: left out, as parameters are NaN or infinite: the training diverged" in done.err
    assert {row["checkpoint"] for row in json.loads(done.out)["heads"]} == {"checkpoint-3"}
    done = run_cli("log", "-m", "runs/checkpoint-5", "-t", "a b c")
    assert (done.code, done.err.count("\n")) == (3, 1)
    assert done.err.startswith("error: checkpoint-5: parameters are NaN or infinite")


def test_without_scipy_no_model_is_loaded(run_cli: RunCli, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("texts.txt").write_text("a b\n" * 6, encoding="utf-8")
    monkeypatch.setitem(sys.modules, "scipy.stats", None)
    done = run_cli("log", "-m", "no-model", "-f", "texts.txt", "--held-out", "texts.txt")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert 'intervals and tests need SciPy: pip install "attncli[analyses]"' in done.err


def test_held_out_texts_of_an_encoder_decoder_need_targets() -> None:
    texts = [Text("The cat sat.", target="Die Katze."), Text("A dog ran.", target="Ein Hund.")]
    with pytest.raises(UsageError, match="--held-out has texts without a target"):
        attncli.log("demo:seq2seq", texts, held_out="It rained.")


def test_texts_are_the_same_if_all_of_their_parts_are() -> None:
    texts = [Text("a b", "c"), Text("a b"), Text("", messages=({"role": "user", "content": "a"},))]
    others = [Text("a b", "d"), Text("a b"), Text("", messages=({"role": "user", "content": "b"},))]
    assert [*overlap_note(texts, others)] == ["--held-out repeats 1 text of the others: rigidity_difference is too low"]


def test_texts_in_both_sets_are_counted(run_cli: RunCli, checkpoints: Path) -> None:
    for name, texts in {"train": "a b\nb c d\n", "held": "b c d\nd e\n"}.items():
        Path(f"{name}.txt").write_text(texts, encoding="utf-8")
    model = str(checkpoints / "checkpoint-3")
    done = run_cli("log", "-m", model, "-f", "train.txt", "--held-out", "held.txt", "--no-pictures")
    assert "--held-out repeats 1 text of the others: rigidity_difference is too low" in done.err


# ------------------------------------------------------------------------------- changes and pictures, without models


def series_of(values: Array, steps: Sequence[int | None], kinds: Sequence[str] = ("decoder",)) -> LogSeries:
    """Return a series with the sink of heads, [checkpoint, head], two heads a layer, in each kind."""
    count = values.shape[1]
    layer, head = np.arange(count) // 2, np.arange(count) % 2
    kind = np.array([name for name in kinds for _ in range(count)], dtype=object)
    snapshots = []
    for step, row in zip(steps, values, strict=True):
        row = np.tile(row, len(kinds))
        heads: dict[str, Any] = {"kind": kind, "layer": np.tile(layer, len(kinds)), "head": np.tile(head, len(kinds))}
        heads |= {"sink": row, "sink_uniform": np.full(len(row), 0.1), "class": np.array(["mixed"] * len(row))}
        layers = {name: heads[name][::2] for name in ("kind", "layer")}
        layers |= {"sink": row.reshape(-1, 2).mean(1), "sink_uniform": np.full(len(row) // 2, 0.1)}
        layers |= {"cosine": row[::2]}
        for name in ("vertical", "diagonal", "local", "block", "sparse", "uniform"):
            layers[f"{name}_heads"] = np.zeros(len(row) // 2, int)
        layers["mixed_heads"] = np.full(len(row) // 2, 2)
        snapshots.append(Snapshot(f"step-{step}", step, heads, layers, ("sink",)))
    return LogSeries([Checkpoint(f"runs/step-{step}", step) for step in steps], snapshots)


RISE = np.array([[0.1, 0.1, 0.2, 0.2], [0.1, 0.15, 0.2, 0.25], [0.1, 0.2, 0.2, 0.9], [0.1, 0.3, np.nan, 0.95]])
UNITS: Any = {"sink": ("1", (0.0, 1.0)), "cosine": ("1", (-1.0, 1.0))}


def test_the_largest_change_is_that_of_a_plain_loop_and_abrupt_if_quick() -> None:
    steps = [0, 100, 110, 1000]
    series = series_of(RISE, steps)
    of_heads, of_layers = largest_changes(series)
    size, place = max(
        (abs(RISE[row + 1, column] - RISE[row, column]), (row, column))
        for row in range(3)
        for column in range(4)
        if np.isfinite(RISE[row + 1, column])
    )
    assert place == (1, 3)
    assert (of_heads.name, of_heads.first.step, of_heads.second.step) == ("1.1", 100, 110)
    assert abs(of_heads.change) == size
    assert of_heads.share_of_range == pytest.approx(0.65 / 0.75)
    assert of_heads.share_of_steps == pytest.approx(10 / 1000)
    assert (of_heads.searched, of_heads.abrupt) == (4, True)
    assert (of_layers.number, of_layers.head, of_layers.abrupt) == ("cosine", None, False)  # no layer changes
    assert [*change_notes([of_heads, of_layers])] == [
        "decoder head 1.1: sink rises from 0.25 to 0.9 between step-100 and step-110: 87% of its range in 1% of the "
        "steps, the largest change of 4 heads"
    ]
    table = changes_table([of_heads, of_layers])
    assert table["change"].tolist()[0] == pytest.approx(0.65)
    # a head is no 1.0, which would be head 0 of layer 1
    assert table_csv({"head": table["head"]}).split("\n")[1:] == [str(of_heads.head), "", ""]


@pytest.mark.parametrize(
    ("values", "steps", "share"),
    [
        (RISE, [0, 100, 900, 1000], 0.8),  # in most of the steps
        (RISE / 10, [0, 100, 110, 1000], 0.01),  # tiny
        (np.linspace([0, 0], [1, 1], 11), list(range(11)), 0.1),  # steady
        (RISE, [0, 100, None, 1000], 1 / 3),  # at unknown steps each is as far as the others
        (RISE, [5, 5, 5, 5], 1 / 3),
    ],
)
def test_a_slow_small_or_steady_change_is_not_abrupt(values: Array, steps: Any, share: float) -> None:
    change = next(largest_changes(series_of(values, steps)))
    assert change.share_of_steps == pytest.approx(share)
    assert not change.abrupt


def lines_of(figure: Figure, panel: int) -> list[Any]:
    return [line for line in figure.axes[panel].lines if line.get_linestyle() == "-"]


def test_lines_are_at_their_steps_thin_for_heads_and_thick_for_layers() -> None:
    series = series_of(RISE, [0, 100, 110, 1000])
    figure = figures.draw_lines(series, UNITS, model="runs/$x$*")
    lines = lines_of(figure, 0)
    assert [line.get_linewidth() for line in lines] == [0.5] * 4 + [1.8] * 2
    assert lines[3].get_xdata().tolist() == [0, 100, 110, 1000]
    assert lines[3].get_ydata().tolist() == [0.2, 0.25, 0.9, 0.95]
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "sink",
        "cosine of hidden states",
        "heads of each class",
    ]
    assert [line.get_label() for line in figure.axes[2].lines] == ["mixed"]
    named = figures.draw_lines(series_of(RISE, [1, None, 2, 3]), UNITS)
    assert [label.get_text() for label in named.axes[0].get_xticklabels()][:2] == ["step-1", "step-None"]
    assert named.axes[0].get_xlabel() == "checkpoint"


def test_the_map_of_heads_has_a_row_per_head_and_a_column_per_checkpoint() -> None:
    figure = figures.draw_heads(series_of(RISE, [0, 100, 110, 1000], ("encoder", "decoder")), UNITS)
    images = [axes.images[-1].get_array() for axes in figure.axes[:2]]
    assert images[0].shape == (5, 4)  # a gap between the layers
    assert images[0][4].tolist() == pytest.approx(RISE[:, 3].tolist())
    assert images[1].mask[3].tolist() == [False, False, False, True]  # undefined
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["0.0", "0.1", "1.0", "1.1"]


def test_tables_fit_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.console import Console

    series = series_of(RISE, [0, 100, 110, 1000])
    hostile = [replace(checkpoint, path="runs/[b]x\u202e", step=None) for checkpoint in series.checkpoints]
    console = Console(width=80, record=True, file=io.StringIO())
    for table in log_tables(replace(series, checkpoints=hostile)):
        console.print(table)
    text = console.export_text()
    assert "[b]x\\u202e" in text
    assert "0.650" in text or "0.900" in text
    assert max(map(len, text.splitlines())) <= 80


def test_a_command_for_one_model_says_what_a_pattern_is_for() -> None:
    with pytest.raises(ModelError, match="is a pattern of model folders, and one model is read here: give one folder"):
        attncli.load("runs/checkpoint-*").run("a cat")
