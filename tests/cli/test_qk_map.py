"""`attncli qk-map`: its files, what is read back from them, and how it refuses what it cannot do."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

if TYPE_CHECKING:
    from conftest import RunCli

TEXT = "The cat sat on the mat because it was warm."
CALL = (
    "qk-map",
    "-t",
    TEXT,
    "-t",
    "A dog ran home.",
    "-l",
    "0",
    "-H",
    "1,2",
    "--format",
    "parquet,jsonl",
    "-o",
    "here",
)


def test_the_files_have_heads_points_and_vectors(run_cli: RunCli) -> None:
    done = run_cli(*CALL)
    assert (done.code, done.err) == (0, "")
    tables = {f"qk-map.{name}" for name in ("json", "csv", "jsonl", "parquet", "png", "html")}
    more = {"qk-map-points.parquet", "qk-map-points.jsonl", "qk-map-vectors.parquet", "manifest.json"}
    assert {path.name for path in Path("here").iterdir()} == tables | more
    document = json.loads(Path("here/qk-map.json").read_text())
    assert document["schema"] == "attncli.qk-map/1"
    assert document["map"] == {"method": "pca", "vectors": 2000, "seed": 0, "good": 0.5, "fair": 0.3}
    heads = pd.read_csv("here/qk-map.csv")
    assert done.out == Path("here/qk-map.csv").read_text()
    assert heads[["layer", "head"]].to_numpy().tolist() == [[0, 1], [0, 2]]
    page = run_cli("explain", "qk-map.json").out
    assert all(f'"{name}"' in page for part in (document, document["map"], document["heads"][0]) for name in part)
    points, vectors = (pd.read_parquet(f"here/qk-map-{name}.parquet") for name in ("points", "vectors"))
    assert len(points) == len(vectors) == (heads["queries"] + heads["keys"]).sum()
    assert len(Path("here/qk-map-points.jsonl").read_text().splitlines()) == len(points)
    names = ["kind", "layer", "head", "text", "position", "token", "side", "x", "y", "norm"]
    assert list(points) == names
    assert list(vectors) == [*names, "vector"]
    assert {len(vector) for vector in vectors["vector"]} == {24}
    for _, group in vectors.groupby("head"):
        means = group.groupby("side")["vector"].apply(lambda column: np.stack(column.to_list()).mean(0))
        assert means["query"] == pytest.approx(means["key"], abs=1e-5)


def test_a_step_of_a_file_finds_what_the_command_alone_finds(run_tables: RunCli) -> None:
    call = ("-t", TEXT, "-l", "1", "--vectors", "12", "--seed", "3")
    alone = pd.read_csv(run_tables("qk-map", *call, "-o", "alone").folder / "alone/qk-map.csv")
    Path("steps.yaml").write_text(
        f"text: {TEXT}\nlayer: 1\nsteps: [qk-map: {{vectors: 12, seed: 3}}, stats: {{metric: sink}}]\n"
    )
    done = run_tables("run", "steps.yaml", "--out", "steps", "--quiet")
    assert done.code == 0, done.err
    (step,) = Path("steps").rglob("qk-map.csv")
    pd.testing.assert_frame_equal(pd.read_csv(step), alone, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("-t", TEXT, "--vectors", "2"), 2, "expected --vectors to be a number from 3 up"),
        (("-m", "demo:decoder", "-t", "a", "--max-tokens", "1"), 2, "at least 3 vectors of a head, these texts give 2"),
        (("-t", TEXT, "--method", "tsn"), 2, "did you mean 'tsne'"),
        (("-t", TEXT, "--color", "sides"), 2, "did you mean 'side'"),
        (("-t", TEXT, "--capture", "eager"), 2, "--capture eager does not capture: use --capture auto"),
        (("--from", "maps.npy"), 2, "give --model and a text, not a saved run or --module"),
        (("-t", TEXT, "--words"), 2, "leave out --aggregate, --aggregate-layers and --words"),
    ],
)
def test_what_it_cannot_do_is_said_in_one_line(
    arguments: tuple[str, ...], code: int, message: str, run_tables: RunCli
) -> None:
    np.save("maps.npy", np.full((1, 1, 2, 2), 0.5, np.float32))
    done = run_tables("qk-map", *arguments)
    assert (done.code, done.out) == (code, "")
    errors = [line for line in done.err.splitlines() if not line.startswith("note: ")]
    assert len(errors) == 1
    assert message in " ".join(errors)


def test_what_is_not_installed_is_named_with_its_command(run_tables: RunCli, monkeypatch: pytest.MonkeyPatch) -> None:
    for module, options, named in (
        ("umap", ("--method", "umap"), 'pip install "attncli[umap]"'),
        ("sklearn.manifold", (), 'pip install "attncli[analyses]"'),
    ):
        monkeypatch.setitem(sys.modules, module, None)
        done = run_tables("qk-map", "-t", TEXT, *options)
        assert done.code == 2
        assert named in done.err


def test_one_text_is_noted_and_so_are_short_texts(run_tables: RunCli) -> None:
    done = run_tables("qk-map", "-t", "a cat sat", "-l", "0")
    assert done.code == 0
    assert "one text: the map shows which of its own tokens are near" in done.err
    assert "no encoder query sees more than 10 of the sampled keys of its own text" in done.err
    assert "top_near" not in done.out
