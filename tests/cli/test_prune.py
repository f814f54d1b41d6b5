"""`attncli prune`: files, known answers, where removal stops, and bad input."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pytest

import attncli
from attncli.errors import UsageError
from attncli.studies.prune import compute
from attncli.studies.prune.figures import draw_curve
from attncli.studies.prune.stopping import stop_by_loss

if TYPE_CHECKING:
    from conftest import RunCli

WORDS = ("some", "again", "marine", "gave", "honour", "shall", "much", "river", "before", "people")
TEXTS = ("The cat sat on the mat.", "A dog ran home.", "It was warm.", "She read it.")


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(TEXTS), encoding="utf-8")
    return path


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def repeated(*shifts: int) -> list[str]:
    """Texts that say the same list of words twice."""
    lists = [" ".join(np.roll(WORDS, shift)) for shift in shifts]
    return [f"{words} {words}" for words in lists]


def test_the_files_and_the_importance_of_a_file(run_cli: RunCli, texts: Path) -> None:
    assert run_cli("importance", "--file", texts, "-o", "known").code == 0
    done = run_cli("prune", "--file", texts, "--importance", "known/importance.csv", "--share", "0.3", "-o", "out")
    assert done.code == 0, done.err
    rows = rows_of(done.out)
    assert [*rows[0]] == ["order", "seed", "heads", "share", "loss", "kl"]
    assert {row["order"]: row["seed"] for row in rows} == {"importance": "", "reverse": "", "random": "4"}
    ends = [row for row in rows if row["heads"] in ("0", "16")]
    assert len(ends) == 2 * 7
    assert len({(row["heads"], row["loss"]) for row in ends}) == 2  # nothing and everything: the same in all orders
    names = {path.name for path in Path("out").iterdir()}
    assert names == {"curve.csv", "curve.png", "manifest.json", "prune.csv", "prune.json"}
    document = json.loads(Path("out/prune.json").read_text(encoding="utf-8"))
    assert (document["schema"], document["removed"], document["rank_texts"]) == ("attncli.prune/1", 5, 0)
    ranked = rows_of(Path("known/importance.csv").read_text(encoding="utf-8"))
    ranked.sort(key=lambda row: float(row["kl"]))
    heads = [(row["layer"], row["head"]) for row in ranked]
    assert [(str(row["layer"]), str(row["head"])) for row in document["heads"]] == heads
    assert [row["removed"] for row in document["heads"]] == [True] * 5 + [False] * 11
    assert "5 of 16 heads removed" in document["advice"]
    again = run_cli("prune", "--file", texts, "--importance", "known/importance.json", "--share", "0.3", "-o", "again")
    assert again.out == done.out


def test_the_curve_equals_the_importance_of_single_heads() -> None:
    """Without one head, and by the hook of another command: the effect that importance measures."""
    model = attncli.load("demo:decoder", head="auto-head")
    texts = repeated(0, 3)
    importance = model.importance(texts)
    result = model.prune(texts, importance=importance)
    order = np.argsort(importance.columns["kl"])
    assert result.names == [importance.names[row] for row in order]
    for name, row in {"importance": order[0], "reverse": order[-1]}.items():
        assert result.at(name, 1)[0] == pytest.approx(importance.columns["loss"][row], abs=1e-6)
    assert result.loss == pytest.approx(importance.loss)


def test_ranking_again_finds_heads_that_replace_each_other() -> None:
    """The induction heads of the decoder do the same work: a ranking that sees them together removes others first."""
    model = attncli.load("demo:decoder", head="auto-head")
    texts, others = repeated(0, 2), repeated(5, 7)
    once = model.prune(texts, rank_texts=others, share=0.5)
    again = model.prune(texts, rank_texts=others, share=0.5, steps=6)
    count = once.removed
    assert count is not None
    assert again.removed == count
    assert again.at("importance", count)[0] < once.at("importance", count)[0]
    random = again.at("random", count)
    assert len(random) == 5
    assert again.at("importance", count)[0] < np.median(random)
    assert again.at("reverse", count)[0] > np.median(random)
    assert (again.rank_texts, again.curve_texts) == (2, 2)


@pytest.mark.parametrize("method", ["mean", "gradient"])
def test_heads_are_ranked_as_importance_ranks_them(method: Literal["mean", "gradient"]) -> None:
    model = attncli.load("demo:decoder", head="auto-head")
    texts, others = repeated(*range(6)), repeated(7, 8)
    importance = model.importance(others, method=method)
    effects = importance.columns["kl" if method == "mean" else "gradient"]
    expected = dict(zip(importance.names, effects.tolist(), strict=True))
    result = model.prune(texts if method == "mean" else texts[:1], rank_texts=others, method=method, steps=2)
    ranked = dict(zip(result.names, result.heads["importance"].tolist(), strict=True))
    first, last = result.names[:12], result.names[12:]
    assert [ranked[name] for name in first] == pytest.approx([expected[name] for name in first], abs=1e-5)
    assert [ranked[name] for name in last] != pytest.approx([expected[name] for name in last], abs=1e-2)
    assert first == sorted(first, key=ranked.__getitem__)
    if method == "mean":
        check_intervals(result)


def check_intervals(result: attncli.Pruning) -> None:
    """The curve lies within its intervals, which are those of single texts; the picture shades them."""
    curve = result.curve
    within = (curve["loss_low"] <= curve["loss"] + 1e-9) & (curve["loss"] <= curve["loss_high"] + 1e-9)
    assert within.all()
    assert (curve["loss_high"] - curve["loss_low"])[curve["heads"] > 0].min() > 0
    assert np.abs(curve["loss_high"][curve["heads"] == 0]).max() < 1e-6  # nothing is removed
    assert len(draw_curve(result).axes[0].collections) == 3


def test_an_interrupted_run_continues(run_cli: RunCli, texts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ("prune", "--file", texts, "--layer", "0", "-o", "out")
    calls: list[int] = []
    of_batch = compute.Remover._of_batch

    def counted(self: Any, *args: Any) -> Any:
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return of_batch(self, *args)

    monkeypatch.setattr(compute.Remover, "_of_batch", counted)
    assert run_cli(*arguments).code == 130
    done = run_cli(*arguments)
    assert done.code == 0, done.err
    assert len(calls) == 3 + 1 + 1  # two texts rank, two give the curve; the last of these is measured again
    fresh = run_cli(*arguments[:-1], "fresh")
    assert fresh.out == done.out
    assert Path("fresh/prune.json").read_bytes() == Path("out/prune.json").read_bytes()


def test_the_stop_by_loss_is_the_last_within_the_rise() -> None:
    rises = np.array([0.0, -0.1, 0.01, 0.05, 0.02, 0.9])
    assert stop_by_loss("+2%", rises, 1.0, "1.2") == 2
    assert stop_by_loss("0.05", rises, 1.0, "1.2") == 4
    with pytest.raises(UsageError, match=r"not reached: the loss rises by 0\.9 nat/token \(90\.0%\) at most"):
        stop_by_loss("+95%", rises, 1.0, "1.2")
    with pytest.raises(UsageError, match=r"removes nothing: without 1\.2 the loss rises by 0\.2"):
        stop_by_loss("0.1", np.array([0.0, 0.2]), 1.0, "1.2")


def test_until_loss_stops_on_the_ranking_texts() -> None:
    model = attncli.load("demo:decoder", head="auto-head")
    result = model.prune(repeated(0), rank_texts=repeated(5), until_loss="+10%")
    assert result.removed is not None
    on_ranking = model.prune(repeated(5), importance=_in_order(model, result), heads=result.removed)
    assert on_ranking.at("importance", result.removed)[0] <= 0.1 * on_ranking.loss


def _in_order(model: attncli.Model, result: attncli.Pruning) -> attncli.Importance:
    """An importance whose order is that of a result."""
    importance = model.importance(repeated(5))
    rank = {name: row for row, name in enumerate(result.names)}
    order = np.array([rank[name] for name in importance.names], dtype=float)
    return attncli.Importance(**{**vars(importance), "columns": {**importance.columns, "kl": order}})


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--heads", "16"), "--heads 16 would leave nothing of 16"),
        (("--heads", "0"), "expected --heads to be a number from 1 up"),
        (("--share", "1.5"), "expected --share to be between 0 and 1"),
        (("--share", "0.3", "--heads", "2"), "--heads and --share both say where to stop"),
        (("--until-loss", "much"), "expected --until-loss to be a rise"),
        (("--until-loss", "+2%", "--model-head", "base"), "--until-loss needs a model that predicts tokens"),
        (("--orders", "2"), "expected --orders to be a number from 5 up"),
        (("--unit", "layer"), "unknown --unit 'layer'"),
        (("--method", "none"), "unknown --method 'none'"),
        (("--method", "mean", "--importance", "texts.json"), "--method ranks heads, --importance takes their order"),
        (("--method", "gradient", "--model-head", "base"), "has no head, so there is no loss for --method gradient"),
        (("--importance", "none.json"), "no such file: none.json"),
        (("--importance", "texts.json"), "is no importance.json"),
        (("--importance", "texts.json", "--steps", "2"), "--steps ranks heads anew"),
        (("--rank-file", "none.txt"), "none.txt"),
        (("--layer", "7"), "layer 7"),
        (("--layer", "0", "--head", "1"), "prune needs two heads or groups at least"),
    ],
)
def test_bad_input_is_one_line(run_tables: RunCli, texts: Path, arguments: tuple[str, ...], said: str) -> None:
    Path("texts.json").write_text("{}", encoding="utf-8")
    done = run_tables("prune", "--file", texts, *arguments)
    errors = [line for line in done.err.splitlines() if line.startswith("error")]
    assert (done.code, len(errors)) == (2, 1), done.err
    assert said in done.err


def test_one_text_cannot_do_both(run_tables: RunCli) -> None:
    done = run_tables("prune", "--text", "The cat sat.")
    assert done.code == 2
    assert "one text cannot rank heads and measure the curve too" in done.err


def test_the_saved_model_is_named_and_loads(run_tables: RunCli, texts: Path) -> None:
    arguments = ("prune", "--file", texts, "--heads", "3", "--save", "pruned", "--form", "irregular", "-o", "out")
    assert run_tables(*arguments).code == 0
    saved = json.loads(Path("out/prune.json").read_text(encoding="utf-8"))["saved"]
    assert (saved["folder"], saved["form"], saved["heads_removed"]) == ("pruned", "irregular", 3)
    assert saved["parameters"][1] < saved["parameters"][0]
    assert saved["speed"]["low"] <= saved["speed"]["ratio"] <= saved["speed"]["high"]
    done = run_tables(*arguments)
    assert (done.code, "--save pruned holds a model" in done.err) == (4, True), done.err
    heads = rows_of(run_tables("stats", "--model", "pruned", "--text", TEXTS[0], "--metric", "sink").out)
    assert len(heads) == 16 - 3


def test_the_tables_fit_the_terminal(tmp_path: Path) -> None:
    from rich.console import Console

    from attncli.studies.prune.terminal import curve_table, order_table, saved_table

    model = attncli.load("demo:decoder", head="auto-head")
    result = model.prune(repeated(0), rank_texts=repeated(5), heads=4, save=tmp_path / "saved")
    console = Console(width=80, file=io.StringIO())
    console.print(curve_table(result), saved_table(result), order_table(result))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, shown.splitlines())) <= 80
    assert shown.count("removed\n") >= 1
    assert "4 of 24 heads removed" in " ".join(shown.split())
    assert "times" in shown


def test_an_edited_model_is_refused() -> None:
    model = attncli.load("demo:decoder", head="auto-head")
    with model.edited(attncli.zero("0.1")) as edited, pytest.raises(UsageError, match="leave its edits out"):
        edited.prune(repeated(0, 1))


def test_the_importance_of_another_model(run_tables: RunCli) -> None:
    assert run_tables("importance", "--text", TEXTS[0], "--layer", "1", "-o", "known").code == 0
    done = run_tables("prune", "--text", TEXTS[0], "--importance", "known/importance.json")
    assert done.code == 2
    assert "has no encoder head 0.0" in done.err
