"""Commands on a model that pools tokens: its layers have their own kind, rows and keys."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import families
import pytest
from page import Read

if TYPE_CHECKING:
    from conftest import RunCli

TEXT = "the animal saw a dog and a cat"
POOLED = "encoder-pooled-2x1"


@pytest.fixture(scope="module")
def funnel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Funnel model: two encoder layers of tokens, one whose queries are pairs of tokens, one decoder layer."""
    return families.save(families.FAMILIES["funnel"], tmp_path_factory.mktemp("model") / "funnel")


def rows(out: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(out)))


def keys(table: list[dict[str, Any]]) -> list[tuple[str, int]]:
    """Kind and layer of each row, once."""
    return list(dict.fromkeys((row["kind"], int(row["layer"])) for row in table))


def test_info_lists_the_kind_with_its_layers(run_cli: RunCli, funnel: Path) -> None:
    done = run_cli("info", "-m", funnel)
    assert done.code == 0
    assert f"{POOLED} attention\t1 layers (2) x 4 heads" in done.out
    assert "left out" not in done.out


def test_a_saved_run_gives_the_numbers_and_pictures_of_its_pass(run_cli: RunCli, funnel: Path) -> None:
    metrics = ("--metric", "entropy,distance")
    done = run_cli("stats", "-m", funnel, "-t", TEXT, "--save-maps", "-o", "saved", "--json", "--per-query", *metrics)
    document = json.loads(done.out)
    assert keys(document["heads"]) == [("encoder", 0), ("encoder", 1), (POOLED, 2), ("decoder", 0)]
    (sides,) = (sides for sides in document["inputs"] if sides["kind"] == POOLED)
    assert sides["queries"] == ["[CLS]", "tokens 1-2", "tokens 3-4", "tokens 5-6", "tokens 7-8"]
    assert sides["query_pieces"] == ["[CLS]", "the animal", "saw a", "dog and", "a cat"]
    assert sides["keys"] == ["[CLS]", *TEXT.split(), "[SEP]"]
    pooled = [row for row in document["heads"] if row["kind"] == POOLED]
    assert all(row["entropy"] is not None and row["distance"] is None and row["queries"] == 5 for row in pooled)
    names = [row["token"] for row in document["tokens"] if (row["kind"], row["head"]) == (POOLED, 0)]
    assert names == sides["queries"]

    again = run_cli("stats", "--from", "saved", "-o", "again", "--json", *metrics)
    for row, before in zip(json.loads(again.out)["heads"], document["heads"], strict=True):
        assert row == pytest.approx(before, abs=1e-6)
    drawn = run_cli("heatmap", "--from", "saved", "-l", "2", "-H", "0,3", "-o", "pictures")
    assert [Path(line).name for line in drawn.out.splitlines()] == [
        f"{POOLED}-L02-H{head}.png" for head in ("00", "03")
    ]
    pages = run_cli("heatmap", "-m", funnel, "-t", TEXT, "-H", "0", "-o", "pages")
    kinds = ("encoder", POOLED, "decoder")
    assert [Path(line).name for line in pages.out.splitlines()] == [f"{kind}-grid.png" for kind in kinds]


@pytest.mark.parametrize("options", [(), ("--max-page", "90kB")])
def test_the_page_shows_the_kind_with_its_labels(options: tuple[str, ...], run_cli: RunCli, funnel: Path) -> None:
    text = " ".join([TEXT] * 12) if options else TEXT
    done = run_cli("view", "-m", funnel, "-t", text, "-o", "page", *options)
    document = Read(Path("page/view.html").read_text(encoding="utf-8")).document
    by_kind = {maps["kind"]: maps for maps in document["maps"]}
    assert list(by_kind) == ["encoder", POOLED, "decoder"]
    assert document["sides"][by_kind[POOLED]["queries"]]["labels"][:3] == ["[CLS]", "tokens 1-2", "tokens 3-4"]
    assert by_kind[POOLED]["form"] == ("strongest" if options else "whole"), done.err


def test_a_kind_selects_its_scales_and_layers_count_through_them(run_tables: RunCli, funnel: Path) -> None:
    def layers(*options: str) -> list[tuple[str, int]]:
        call = ("stats", "-m", funnel, "-t", TEXT, "-H", "0", "-o", "out", "--force", "--metric", "entropy")
        done = run_tables(*call, *options)
        return keys(rows(done.out))

    assert layers("--kind", "encoder") == [("encoder", 0), ("encoder", 1), (POOLED, 2)]
    assert layers("--kind", "encoder", "--layer", "-1") == [(POOLED, 2)]
    assert layers("--kind", POOLED) == [(POOLED, 2)]
    assert layers("--layer", "1-2") == [("encoder", 1), (POOLED, 2)]


@pytest.mark.parametrize("command", ["patterns", "segments --pair dog", "flow", "highlight --focus dog"])
def test_analyses_of_tokens_leave_the_kind_out_and_say_so(command: str, run_tables: RunCli, funnel: Path) -> None:
    done = run_tables(*command.split(), "-m", funnel, "-t", TEXT, "-H", "0", "-o", "out")
    assert done.code == 0, done.err
    assert f"note: {POOLED} layers 2 are left out: their rows or keys stand for several tokens or for none" in done.err
    assert POOLED not in done.out
    refused = run_tables(*command.split(), "-m", funnel, "-t", TEXT, "-o", "none", "--kind", POOLED)
    assert (refused.code, Path("none").exists()) == (2, False)


def test_the_steps_of_a_file_share_a_pass_over_all_kinds(run_cli: RunCli, funnel: Path) -> None:
    steps = [{"stats": {"metric": "entropy"}}, {"patterns": {"shuffles": 0}}]
    plan = {"model": str(funnel), "text": TEXT, "head": 0, "steps": steps}
    Path("steps.yaml").write_text(json.dumps(plan), encoding="utf-8")
    done = run_cli("run", "steps.yaml", "-o", "out")
    assert done.code == 0, done.err
    (table,) = Path("out").rglob("stats.csv")
    assert (POOLED, 2) in keys(rows(table.read_text(encoding="utf-8")))
    (table,) = Path("out").rglob("patterns.csv")
    assert {row["kind"] for row in rows(table.read_text(encoding="utf-8"))} == {"encoder", "decoder"}
