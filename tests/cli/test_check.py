"""`attncli check`: verdicts on real models by brute force, exit codes, files, annotations, baselines, bad input."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import numpy as np
import pytest
import torch
import yaml
from cli.test_streams import on_terminal
from hostile import HOSTILE
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoTokenizer

import attncli
from attncli.cli import main
from attncli.studies.check.result import TOLERANCE
from attncli.studies.patterns.result import CLASSES

if TYPE_CHECKING:
    from conftest import RunCli

ANIMAL = "The animal didn't cross the street because it was too tired."
MAT = "The cat sat on the mat because it was warm, and the dog sat beside it."
HOLDS = f"rules:\n- {{text: '{MAT}', from: it#1, to: cat, min: 0.0}}\n- head 0.2 is previous-token\n- no head uniform\n"
FAILS = HOLDS + "- sink < 0.5\n"


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def names(folder: str = "here") -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir())


def wrote(text: str, name: str = "rules.yaml") -> str:
    Path(name).write_text(text, encoding="utf-8")
    return name


@pytest.fixture
def without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draws no rule that fails: for tests that read verdicts alone. Drawing is most of what a short text costs."""
    monkeypatch.setattr("attncli.studies.check.study._failed_maps", lambda *_: ({}, []))


# ------------------------------------------------------------------------------------- a real encoder


@pytest.fixture(scope="module")
def by_transformers(minilm: Path) -> tuple[list[str], np.ndarray]:
    """Pieces and [layer, head, query, key], as Transformers itself returns them."""
    tokenizer = AutoTokenizer.from_pretrained(minilm)
    model = AutoModel.from_pretrained(minilm, attn_implementation="eager")
    encoded = tokenizer(ANIMAL, return_tensors="pt")
    with torch.no_grad():
        maps = model(**encoded, output_attentions=True).attentions
    return tokenizer.convert_ids_to_tokens(encoded["input_ids"][0]), torch.stack(maps)[:, 0].numpy()


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def test_some_head_of_minilm_looks_from_it_to_the_animal(
    run_cli: RunCli, minilm: Path, by_transformers: tuple[list[str], np.ndarray]
) -> None:
    rule = f"{{text: {quoted(ANIMAL)}, from: it, to: animal, than: street, min: 0.3, heads: layer 2-5}}"
    done = run_cli("check", wrote(f"model: {minilm}\nrules:\n- {rule}\n"), "-o", "here")
    assert (done.code, done.err) == (0, "")
    (found,) = rows(done.out)
    pieces, maps = by_transformers
    row = maps[:, :, pieces.index("it")]
    animal, street = row[..., pieces.index("animal")], row[..., pieces.index("street")]
    best = max(
        (min(animal[layer, head] - 0.3, animal[layer, head] - street[layer, head]), layer, head)
        for layer in range(2, 6)
        for head in range(12)
    )
    assert (found["layer"], found["head"]) == (str(best[1]), str(best[2])) == ("3", "1")
    assert float(found["found"]) == pytest.approx(animal[3, 1], abs=2e-6) == pytest.approx(0.677, abs=5e-4)
    assert float(found["than"]) == pytest.approx(street[3, 1], abs=2e-6)
    assert int(found["met"]) == int(((animal >= 0.3) & (animal > street))[2:].sum())
    assert int(found["rank"]) == 1 + int((row[3, 1] > animal[3, 1]).sum())
    assert float(found["chance"]) == pytest.approx(1 / len(pieces), abs=1e-6)
    assert names() == ["check.csv", "check.json", "manifest.json"]


def test_no_head_of_minilm_looks_at_the_street_as_much_and_the_best_one_is_drawn(run_cli: RunCli, minilm: Path) -> None:
    rule = f"{{text: {quoted(ANIMAL)}, from: it, to: street, min: 0.5}}"
    done = run_cli("check", wrote(f"rules:\n- {rule}\n"), "-m", minilm, "-o", "here")
    assert done.code == 1
    assert re.fullmatch(r"failed: 1 of 1 rules does not hold: it → street: head 5\.5 gives 0\.222 [^\n]+\n", done.err)
    assert names() == ["check.csv", "check.json", "manifest.json", "rule-01-encoder-L05-H05.png"]
    assert Path("here/rule-01-encoder-L05-H05.png").read_bytes().startswith(b"\x89PNG")
    manifest = json.loads(Path("here/manifest.json").read_text())
    assert [entry["name"] for entry in manifest["files"]] == names()[:2] + names()[3:]
    assert manifest["complete"] is True


def test_permutations_count_all_heads_that_were_searched(
    run_cli: RunCli, minilm: Path, by_transformers: tuple[list[str], np.ndarray]
) -> None:
    pieces, maps = by_transformers
    row = maps[:, :, pieces.index("it")]
    rule = f"text: {quoted(ANIMAL)}, from: it, to: animal, above: permutation"
    text = f"model: {minilm}\nrules:\n- {{{rule} 93, heads: 3.1}}\n- {{{rule} 75, heads: layer 2-5}}\n"
    alone, several = rows(run_cli("check", wrote(text), "-q").out)
    assert float(alone["p"]) == pytest.approx(1 / len(pieces), abs=1e-6)
    reached = row[2:].max((0, 1)) >= row[2:].max((0, 1))[pieces.index("animal")]
    assert float(several["p"]) == pytest.approx(reached.mean(), abs=1e-6)
    assert alone["holds"] == "True"
    assert several["holds"] == str(bool(reached.mean() <= 0.25))


def test_a_percentile_that_the_text_is_too_short_for_is_refused(run_cli: RunCli) -> None:
    text = "rules:\n- {text: the man sat, from: sat, to: man, above: permutation 95}"
    done = run_cli("check", wrote(text))
    assert (done.code, done.out) == (2, "")
    assert "line 2, column 50: permutation 95 cannot be reached: with 5 keys" in done.err
    assert "write permutation 80, or use a longer text or a suite" in done.err
    assert names(".") == ["rules.yaml"]


# ------------------------------------------------------------------------------------ rules by brute force


def test_words_of_several_pieces_are_the_mean_from_and_the_sum_to(run_cli: RunCli) -> None:
    text = "The electromagnetic cat believed in thermodynamics."
    run = attncli.load("demo:encoder").run(text)
    pieces = run.inputs[0].source
    starts = {word: text.index(word) for word in ("electromagnetic", "thermodynamics")}
    here = {
        word: [
            at
            for at, (start, _) in enumerate(pieces.offsets.tolist())
            if starts[word] <= start < starts[word] + len(word)
        ]
        for word in starts
    }
    assert all(len(positions) > 1 for positions in here.values())
    weights = run.attention().stack().astype(np.float64)
    wanted = weights[:, :, here["electromagnetic"]].mean(2)[:, :, here["thermodynamics"]].sum(-1)
    rule = f"{{text: {text}, from: electromagnetic, to: thermodynamics, min: 0, heads: "
    done = run_cli("check", wrote(f"rules:\n- {rule}any}}\n- {rule}all}}\n- {rule}2.3}}\n"), "-q")
    best, worst, one = rows(done.out)
    assert float(best["found"]) == pytest.approx(wanted.max(), abs=2e-6)
    assert float(worst["found"]) == pytest.approx(wanted.min(), abs=2e-6)
    assert float(one["found"]) == pytest.approx(wanted[2, 3], abs=2e-6)
    assert float(one["chance"]) == pytest.approx(len(here["thermodynamics"]) / len(pieces), abs=1e-6)


def test_words_read_as_words_give_the_same_weights(run_cli: RunCli) -> None:
    rule = (
        "{text: The electromagnetic cat believed in thermodynamics., from: electromagnetic, to: thermodynamics, min: 0}"
    )
    found = [
        rows(run_cli("check", wrote(f"{words}rules:\n- {rule}\n- no head is sparse\n"), "-q").out)
        for words in ("", "words: true\n")
    ]
    (pieces, _), (words, _) = found
    assert float(words["found"]) == pytest.approx(float(pieces["found"]), abs=2e-6)
    assert (words["layer"], words["head"]) == (pieces["layer"], pieces["head"])
    assert int(words["keys"]) < int(pieces["keys"])
    dropped = wrote("special: drop\nrules: [{text: the man sat, from: man, to: '[CLS]', min: 0}]")
    assert "'[CLS]' does not occur in the text" in run_cli("check", dropped).err


def test_a_decoder_sees_only_what_came_before(run_cli: RunCli) -> None:
    run = attncli.load("demo:decoder").run("one two one two one two")
    weights = run.attention().stack().astype(np.float64)
    text = "model: demo:decoder\nrules:\n- {text: one two one two one two, from: 5, to: 3, min: 0}\n"
    (found,) = rows(run_cli("check", wrote(text), "-q").out)
    assert float(found["found"]) == pytest.approx(weights[:, :, 5, 3].max(), abs=2e-6)
    assert float(found["chance"]) == pytest.approx(1 / 6, abs=1e-6)
    assert found["keys"] == "6"


@pytest.mark.usefixtures("without_pictures")
def test_budgets_are_those_of_stats(run_cli: RunCli) -> None:
    texts = f"texts: {{one: '{MAT}', two: The dog sat.}}\n"
    rules = "- entropy: {max: 2}\n- {entropy: {heads: any, min: 2}, text: two}\n- sink < 0.5 in layer 1\n"
    done = run_cli("check", wrote(f"{texts}rules:\n{rules}"), "-q", "-o", "here")
    entropy, of_two, sink = rows(done.out)
    model = attncli.load("demo:encoder")
    both = model.run([MAT, "The dog sat."], metrics=["entropy", "sink"]).stats()
    alone = model.run("The dog sat.", metrics=["entropy"]).stats()
    assert float(entropy["found"]) == pytest.approx(both["entropy"].values.max(), rel=7e-6)
    assert int(entropy["met"]) == int((both["entropy"].values <= 2).sum())
    assert float(of_two["found"]) == pytest.approx(alone["entropy"].values.max(), rel=7e-6)
    assert of_two["text"] == "1"
    in_layer = both["sink"].sel(layer=1).values
    assert (sink["heads"], float(sink["found"])) == ("4", pytest.approx(in_layer.max(), abs=2e-6))
    lengths = [len(one.source) for one in model.run([MAT, "The dog sat."]).inputs]
    assert float(entropy["chance"]) == pytest.approx(np.mean(np.log(lengths)), abs=1e-5)
    assert float(sink["chance"]) == pytest.approx(np.mean(1 / np.array(lengths)), abs=1e-5)


@pytest.mark.usefixtures("without_pictures")
def test_classes_are_those_of_patterns(run_cli: RunCli) -> None:
    found = attncli.load("demo:encoder").patterns(MAT, shuffles=0)
    lines = []
    for (_, layer, head), classes in zip(found.head_keys(), found.classes, strict=True):
        other = next(name for name in CLASSES if name not in (*classes, "block"))
        lines += [f"head {layer}.{head} is {name}" for name in classes] + [f"head {layer}.{head} is not {other}"]
    wrong = lines[0].replace(" is ", " is not ") if " is not " not in lines[0] else lines[0].replace(" is not ", " is ")
    rules = "".join(f"- {line}\n" for line in [*lines, wrong])
    done = rows(run_cli("check", wrote(f"texts: {{a: '{MAT}'}}\nrules:\n{rules}"), "-q", "--format", "csv").out)
    assert [(row["name"], row["holds"]) for row in done] == [*((line, "True") for line in lines), (wrong, "False")]
    assert len(lines) > len(found.classes)


@pytest.mark.usefixtures("without_pictures")
def test_heads_of_the_demo_do_what_its_readme_says(run_cli: RunCli) -> None:
    lines = {
        "head 0.2 is previous-token": True,
        "head 1.0 is next-token": True,
        "head 0.2 is next-token": False,
        "head 0.2 is not previous-token": False,
        "no head is previous-token": False,
        "some head is previous-token": True,
        "every head of layer 0 is diagonal": False,
    }
    rules = "".join(f"- {line}\n" for line in lines)
    done = run_cli("check", wrote(f"texts: {{a: '{MAT}'}}\nrules:\n{rules}"), "-q", "--format", "png")
    assert done.code == 1
    assert {row["name"]: row["holds"] == "True" for row in rows(done.out)} == lines


def test_blocks_need_two_segments(run_cli: RunCli) -> None:
    pair = "{a: {text: The cat sat on the mat., pair: A dog ran over the wide green field today.}}"
    found = attncli.load("demo:encoder").patterns(
        "The cat sat on the mat.", pair="A dog ran over the wide green field today.", shuffles=0
    )
    # rules that hold have no picture
    rules = "".join(
        f"- head {layer}.{head} {'is' if 'block' in classes else 'is not'} block\n"
        for (_, layer, head), classes in zip(found.head_keys(), found.classes, strict=True)
    )
    assert " is block" in rules
    assert " is not block" in rules
    done = rows(run_cli("check", wrote(f"texts: {pair}\nrules:\n{rules}"), "-q").out)
    assert [float(row["found"]) for row in done] == pytest.approx(found.heads["segment_mass"].values, abs=2e-6)
    even = found.baselines["uniform"]["segment_mass"].values
    assert [float(row["chance"]) for row in done] == pytest.approx(even, abs=2e-6)
    assert {row["holds"] for row in done} == {"True"}
    done = run_cli("check", wrote(f"texts: {{a: '{MAT}'}}\nrules: [no head is block]"))
    assert done.code == 2
    assert "segment_mass is undefined for these heads and texts" in done.err


def test_a_text_that_is_too_short_to_tell_a_class_is_refused(run_cli: RunCli) -> None:
    done = run_cli("check", wrote("texts: {a: It was.}\nrules: [no head is local]"))
    assert done.code == 2
    assert "line 2" in done.err
    assert (
        "a text of 5 tokens is too short to tell whether a head is local: uniform attention has local_mass" in done.err
    )
    done = run_cli("check", wrote("texts: {a: It was.}\nrules: [head 0.1 is vertical]"), "-q")
    assert rows(done.out)[0]["why"].endswith("; vertical needs 0.400")


def test_a_baseline_holds_metrics_and_not_the_numbers_of_classes(run_cli: RunCli) -> None:
    pair = "{a: {text: The cat sat on the mat., pair: A dog ran over the wide green field today.}}"
    path = wrote(f"texts: {pair}\nrules: [no head is uniform]")
    assert run_cli("check", path, "--baseline", "b.json", "--record").code in (0, 1)
    head = json.loads(Path("b.json").read_text(encoding="utf-8"))["heads"][0]
    assert {"sink", "diagonal_offset"} < head.keys()
    assert not {"sink_rows", "segment_mass"} & head.keys()
    assert "is damaged" not in run_cli("check", path, "--baseline", "b.json").err


def test_a_text_too_long_for_whole_maps_has_budgets_and_rules(run_cli: RunCli) -> None:
    text = "one two three four five six seven " * 60
    rules = f"texts: {{a: {text}}}\nrules:\n- entropy < 9\n- {{from: seven#60, to: seven#59, min: 0}}\n"
    done = run_cli("check", wrote(f"model: demo:decoder\n{rules}"), "-o", "here", "--max-memory", "1MB")
    assert (done.code, done.err) == (0, "")


def test_what_there_is_no_room_to_draw_is_a_note(run_cli: RunCli) -> None:
    text = "one two three four five six seven " * 60
    rules = f"texts: {{a: {text}}}\nrules: [entropy < 1]\n"
    done = run_cli("check", wrote(f"model: demo:decoder\n{rules}"), "-o", "here", "--max-memory", "1MB")
    assert done.code == 1
    note, error = done.err.splitlines()
    assert note.startswith("note: there are no pictures of text 0: ")
    assert error.startswith("failed: 1 of 1 rules does not hold")
    assert names() == ["check.csv", "check.json", "manifest.json"]


def test_a_target_that_the_model_writes_has_words_too(run_cli: RunCli) -> None:
    rule = "{text: stop the cat, kind: cross, from: eht, to: the, min: 0.5}"
    done = run_cli("check", wrote(f"model: demo:seq2seq\nrules:\n- {rule}\n"), "-q")
    assert done.code == 0, done.err


# ---------------------------------------------------------------------------------------------- suites

CASES = [
    {"pair": "a", "text": "The king sat near the man.", "from": "sat", "to": "king", "than": "man"},
    {"pair": "a", "text": "The man sat near the king.", "from": "sat", "to": "man", "than": "king"},
    {"text": "The boy went with the woman.", "from": "went", "to": "boy", "than": "woman"},
    {"text": "The house is near the school.", "from": "near", "to": "school", "than": "house"},
]


def suite(more: str = "min-rate: 0.5") -> str:
    Path("cases.jsonl").write_text("\n".join(json.dumps(case) for case in CASES))
    return wrote(f"suites:\n- {{name: nouns, file: cases.jsonl, {more}}}\n")


def test_the_best_single_head_stands_for_a_suite(run_cli: RunCli) -> None:
    done = run_cli("check", suite("min-rate: 0.5"), "-q", "-o", "here")
    (found,) = rows(done.out)
    model = attncli.load("demo:encoder")
    right = []
    for case in CASES:
        run = model.run(case["text"])
        pieces = list(run.inputs[0].source.pieces)
        row = run.attention().stack()[:, :, pieces.index(case["from"])]
        right.append(row[..., pieces.index(case["to"])] > row[..., pieces.index(case["than"])] + 1e-5)
    units = np.stack([right[0] & right[1], right[2], right[3]]).sum(0)
    assert float(found["found"]) == pytest.approx(units.max() / 3, abs=1e-6)
    assert int(found["met"]) == int((units / 3 >= 0.5).sum())
    layer, head = int(found["layer"]), int(found["head"])
    assert units[layer, head] == units.max()
    cases = rows(Path("here/check-cases.csv").read_text())
    assert [row["holds"] for row in cases] == [str(bool(one[layer, head])) for one in right]
    assert [row["line"] for row in cases] == ["1", "2", "3", "4"]
    assert float(found["low"]) < float(found["found"]) < float(found["high"]) or float(found["found"]) == 1


def test_a_suite_of_few_cases_says_that_the_head_was_chosen_on_them(run_cli: RunCli) -> None:
    done = run_cli("check", suite("min-rate: 0"), "-o", "here")
    (found,) = rows(done.out)
    head = f"{found['layer']}.{found['head']}"
    assert "suite 'nouns': 3 pairs are too few to choose a head on one half and score it on the other" in done.err
    assert "add pairs, or name a head that other texts chose (heads: 3.1): then all pairs count" in done.err
    assert f"head {head}, the best of 16 on the same pairs, is right in" in found["why"]
    assert {row["half"] for row in rows(Path("here/check-cases.csv").read_text())} == {""}
    named = run_cli("check", suite(f"min-rate: 0, heads: {head}"))
    assert "too few" not in named.err
    (same,) = rows(named.out)
    assert same["found"] == found["found"]
    assert float(same["low"]) > float(found["low"])


@pytest.mark.usefixtures("without_pictures")
def test_a_head_that_prefers_the_target_without_attending_to_it_has_a_note(run_cli: RunCli, minilm: Path) -> None:
    cases = Path(__file__).parents[2] / "configs" / "coreference.jsonl"
    shutil.copy(cases, "cases.jsonl")
    done = run_cli("check", wrote("suites: [{file: cases.jsonl, min-rate: 0.1}]"), "-m", minilm, "-o", "here")
    (found,) = rows(done.out)
    assert "the target is its top key in only 0% of cases, with a mean weight of 0.0" in done.err
    assert "head 1.3 gives it the most, 0.3" in done.err
    heads = rows(Path("here/check-heads.csv").read_text())
    assert len(heads) == 72
    assert [row["used"] for row in heads] == ["True", *["False"] * 71]
    assert (heads[0]["layer"], heads[0]["head"]) == (found["layer"], found["head"])
    assert max(heads, key=lambda row: float(row["weight"]))["head"] == "3"
    # the rate is that of the pairs of the half that scores; check-cases.csv has the cases of the used head
    pairs: dict[str, list[dict[str, str]]] = {}
    for case in rows(Path("here/check-cases.csv").read_text()):
        pairs.setdefault(case["pair"], []).append(case)
    halves = {
        half: [of for of in pairs.values() if {case["half"] for case in of} == {half}] for half in ("choose", "score")
    }
    assert {half: len(of_half) for half, of_half in halves.items()} == {"choose": 10, "score": 10}
    rates = {half: np.mean([all(case["holds"] == "True" for case in of) for of in halves[half]]) for half in halves}
    assert float(heads[0]["rate"]) == float(found["found"]) == pytest.approx(rates["score"])
    assert float(heads[0]["rate_choose"]) == pytest.approx(rates["choose"])
    weights = [float(case["weight"]) for of in halves["score"] for case in of]
    assert float(found["weight"]) == pytest.approx(np.mean(weights), abs=1e-6)
    tops = [float(case["rank"]) == 1 for of in halves["score"] for case in of]
    assert float(found["top"]) == pytest.approx(np.mean(tops), abs=1e-6)


def test_a_percentile_that_no_sample_reaches_is_refused(run_cli: RunCli) -> None:
    done = run_cli("check", suite("above: permutation 99.99"))
    assert done.code == 2
    assert "expected at most permutation 99.95, because 1,999 samples are drawn" in done.err


def test_a_rate_that_is_not_reached_fails_and_shows_a_wrong_case(run_cli: RunCli) -> None:
    done = run_cli("check", suite("min-rate: 1, heads: 0.0, above: permutation 99.9"), "-o", "here")
    assert done.code == 1
    (found,) = rows(done.out)
    assert float(found["p"]) > 0.001
    wrong = next(row for row in rows(Path("here/check-cases.csv").read_text()) if row["holds"] == "False")
    assert found["text"] == wrong["text"]
    assert "rule-01-encoder-L00-H00.png" in names()


# -------------------------------------------------------------------------------------- files and streams


def test_files_hold_the_same_and_the_same_call_gives_the_same_bytes(run_cli: RunCli) -> None:
    wrote(FAILS)
    done = run_cli("check", "rules.yaml", "-o", "one", "--format", "parquet,jsonl,svg")
    again = run_cli("check", "rules.yaml", "-o", "two", "--format", "parquet,jsonl,svg", "--json")
    assert (done.code, again.code) == (1, 1)
    assert done.out == Path("one/check.csv").read_text(encoding="utf-8")
    assert {"check.parquet", "check.jsonl"} < {*names("one")}
    for name in names("one"):
        if name != "manifest.json":
            assert Path("one", name).read_bytes() == Path("two", name).read_bytes(), name
    document = json.loads(Path("one/check.json").read_text(encoding="utf-8"))
    assert (document["schema"], document["holds"], document["file"]) == ("attncli.check/1", False, "rules.yaml")
    for row, entry in zip(rows(done.out), document["rules"], strict=True):
        assert all(row[name] == ("" if entry[name] is None else str(entry[name])) for name in row)
    assert again.out == Path("one/check.json").read_text(encoding="utf-8")


def test_what_a_former_run_drew_goes_away(run_cli: RunCli, demo_dirs: dict[str, Path]) -> None:
    shutil.copytree(demo_dirs["encoder"], "model")
    wrote(f"model: model\ntexts: {{a: '{MAT}'}}\nrules: [head 0.2 is previous-token]")
    weights = load_file("model/model.safetensors")
    save_file(
        {name: torch.zeros_like(value) for name, value in weights.items()}, "model/model.safetensors", {"format": "pt"}
    )
    assert run_cli("check", "rules.yaml", "-o", "here").code == 1
    assert "rule-01-encoder-L00-H02.png" in names()
    save_file(weights, "model/model.safetensors", {"format": "pt"})
    assert run_cli("check", "rules.yaml", "-o", "here").code == 0
    assert names() == ["check.csv", "check.json", "manifest.json"]


def test_a_person_reads_why(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(HOLDS)
    seen = on_terminal(tmp_path, "check", "rules.yaml", "-o", "here", NO_COLOR="1")
    assert "3 of 3 rules hold" in seen
    for word in ("it#1 → cat", "previous-token", "rank", "chance", "Wrote here/check.json"):
        assert word in seen


@pytest.mark.usefixtures("without_pictures")
def test_junit_names_what_fails(run_cli: RunCli) -> None:
    assert run_cli("check", wrote(FAILS), "-o", "here", "--junit", "reports/junit.xml").code == 1
    root = ElementTree.parse("reports/junit.xml").getroot()
    assert (root.get("tests"), root.get("failures")) == ("4", "1")
    (failed,) = [case for case in root.iter("testcase") if case.find("failure") is not None]
    assert (failed.get("name"), failed.get("line")) == ("sink < 0.5", "5")
    assert run_cli("check", "rules.yaml", "-o", "here", "--junit", "reports/junit.xml").code == 1
    done = run_cli("check", "rules.yaml", "-o", "here", "--junit", "rules.yaml")
    assert done.code == 4
    assert "rules.yaml exists and is not JUnit XML" in done.err
    assert Path("rules.yaml").read_text() == FAILS


@pytest.mark.usefixtures("without_pictures")
def test_github_shows_what_fails_beside_its_line(run_cli: RunCli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_WORKSPACE", str(Path.cwd()))
    Path("sub").mkdir()
    wrote(f'texts: {{a: "{MAT}"}}\nrules:\n- {{name: "100%, or: so\\nmuch", sink: {{max: 0.5}}}}\n', "sub/rules.yaml")
    assert "::error" not in run_cli("check", Path("sub/rules.yaml").resolve(), "-o", "here").err
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    done = run_cli("check", Path("sub/rules.yaml").resolve(), "-o", "there")
    line, error = done.err.splitlines()
    assert line.startswith(
        "::error file=sub/rules.yaml,line=3,title=100%25%2C or%3A so%0Amuch::sink <= 0.5 in every head: head "
    )
    assert error.startswith("failed: 1 of 1 rules does not hold: ")
    assert "::error" not in run_cli("check", wrote(HOLDS), "-o", "holds").err


def test_hostile_names_and_texts_do_no_harm(run_cli: RunCli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    drawn = ("[/INST]", "</script>", "\x1b[31m", "\u202eabc", "two\nlines", "::error ::%0A, a:b")
    rules: list[dict[str, object]] = [
        {"name": token, "text": f"a man {token} sat", "from": "1", "to": "2", "min": int(token in drawn)}
        for token in [*HOSTILE, drawn[-1]]
    ]
    wrote(yaml.safe_dump({"rules": rules}).replace("${", "$${"))
    done = run_cli("check", "rules.yaml", "-o", "here", "--junit", "junit.xml", "--format", "svg")
    assert done.code == 1
    annotations = [line for line in done.err.splitlines() if line.startswith("::error ")]
    assert len(annotations) == len(drawn)
    assert all(re.fullmatch(r"::error file=rules\.yaml,line=\d+,title=[^:,]*::[^\n]+", line) for line in annotations)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", done.err)
    assert len(list(Path("here").glob("rule-*.svg"))) == len(drawn)
    assert [row["name"] for row in csv.DictReader(io.StringIO(done.out, newline=""))] == [
        rule["name"] or "1 → 2" for rule in rules
    ]
    cases = {case.get("name") for case in ElementTree.parse("junit.xml").iter("testcase")}
    assert {name for name in HOSTILE if name.isprintable() and name} <= cases


# What changes the last digits of float32: threads, the instructions of the processor, the order of sums.
OTHER_NUMERICS = {
    "OMP_WAIT_POLICY": "PASSIVE",  # threads that wait take no time of the processor
    "OMP_NUM_THREADS": "2",
    "MKL_NUM_THREADS": "2",
    "ATEN_CPU_CAPABILITY": "default",
    "MKL_CBWR": "COMPATIBLE",
}


@pytest.mark.real
def test_processors_and_threads_give_the_same_verdicts(
    run_cli: RunCli, minilm: Path, by_transformers: tuple[list[str], np.ndarray]
) -> None:
    pieces, maps = by_transformers
    row = maps[3, 1, pieces.index("it")]
    weight = round(float(row[pieces.index("animal")]), 6)
    rule = f"text: {quoted(ANIMAL)}, from: it, to: animal, heads: 3.1"
    rules = [
        f"{{{rule}, min: {weight}}}",
        f"{{{rule}, max: {weight}}}",
        f"{{{rule}, than: street, min: {weight - 9e-6:.6f}}}",
        f"{{{rule}, min: {weight + 5e-5:.6f}}}",
        "sink < 0.9",
        "head 0.2 is previous-token",
    ]
    call = ("check", wrote("rules:\n" + "".join(f"- {each}\n" for each in rules)), "-m", str(minilm), "-o")
    here = run_cli(*call, "here")
    environment = os.environ | OTHER_NUMERICS
    process = (sys.executable, "-m", "attncli", *call, "there")
    there = subprocess.run(process, env=environment, capture_output=True, text=True, check=False)
    assert (here.code, there.returncode) == (1, 1), there.stderr
    found = [
        [(row["name"], row["holds"], row["layer"], row["head"]) for row in rows(out)]
        for out in (here.out, there.stdout)
    ]
    assert found[0] == found[1]
    assert [holds for _, holds, _, _ in found[0]] == ["True", "True", "True", "False", "False", "True"]


@pytest.mark.usefixtures("without_pictures")
def test_the_tolerance_of_the_file_holds_for_words_and_measures(run_cli: RunCli) -> None:
    run = attncli.load("demo:encoder").run(MAT, metrics=["sink", "entropy"])
    sink, entropy = (run.stats()[name].sel(layer=0, head=0).values.item() for name in ("sink", "entropy"))
    weight, near = run.attention().stack()[0, 0, 3, 2].item(), 4e-4
    rules = [
        f"{{text: mat, from: 3, to: 2, min: {weight + near:.6f}, heads: 0.0}}",
        f"{{text: mat, from: 3, to: 2, max: {weight - near:.6f}, heads: 0.0}}",
        f"{{sink: {{max: {sink - near:.6f}, heads: 0.0}}}}",
        f"entropy >= {entropy + near:.6f} in 0.0",
    ]
    strict = [f"sink < {sink + near:.6f} in 0.0", f"entropy > {entropy - near:.6f} in 0.0"]
    both = [*rules, *strict]
    for tolerance, equal, lines in ((None, False, both), (0.0001, False, rules[:1]), (0.001, True, both)):
        listed = "".join(f"- {each}\n" for each in lines)
        stated = "" if tolerance is None else f"tolerance: {tolerance}\n"
        text = f"{stated}texts: {{mat: '{MAT}'}}\nrules:\n{listed}"
        document = json.loads(run_cli("check", wrote(text), "--json").out)
        assert document["tolerance"] == (tolerance or 1e-5)
        held = [rule["holds"] for rule in document["rules"]]
        assert held == [equal if line in rules else not equal for line in lines]


# ------------------------------------------------------------------------------------------- baselines


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory, demo_dirs: dict[str, Path]) -> Path:
    """The folder of a copy of the demo encoder and its baseline."""
    folder = tmp_path_factory.mktemp("recorded")
    with contextlib.chdir(folder):
        shutil.copytree(demo_dirs["encoder"], "model")
        wrote(f"model: model\ntexts: {{a: '{MAT}'}}\nbaseline: {{file: numbers/baseline.json, absolute: 0.02}}\n")
        assert main(["check", "rules.yaml", "--record", "-o", "first"]) == 0
    return folder


@pytest.fixture
def own_model(run_cli: RunCli, recorded: Path) -> Path:
    """A copy of the demo encoder in the folder of the test, recorded."""
    shutil.copytree(recorded, Path.cwd(), dirs_exist_ok=True)
    return Path("numbers/baseline.json")


def perturb(head: int, layer: int = 1) -> None:
    """Let a head of the copy look at everything alike."""
    weights = load_file("model/model.safetensors")
    name = next(name for name in weights if f"layer.{layer}.attention.self.query.weight" in name)
    part = slice(head * 24, head * 24 + 24)
    for each in (name, name.replace("weight", "bias")):
        weights[each][part] = 0
    save_file(weights, "model/model.safetensors", {"format": "pt"})


def test_what_did_not_change_is_where_it_was(run_cli: RunCli, own_model: Path) -> None:
    document = json.loads(own_model.read_text())
    assert document["schema"] == "attncli.baseline/1"
    assert len(document["heads"]) == 16
    stats = attncli.load("model").run(MAT, metrics="all").stats()
    assert [head["entropy"] for head in document["heads"]] == pytest.approx(stats["entropy"].values, abs=1e-6)
    done = run_cli("check", "rules.yaml", "-o", "here")
    assert (done.code, done.err) == (0, "")
    (found,) = rows(done.out)
    assert (found["sort"], found["holds"], found["heads"], found["met"]) == ("baseline", "True", "16", "16")
    assert names() == ["check.csv", "check.json", "manifest.json"]


def test_heads_that_drifted_are_named(run_cli: RunCli, own_model: Path) -> None:
    perturb(head=2, layer=3)
    done = run_cli("check", "rules.yaml", "-o", "here")
    assert done.code == 1
    assert "1 of 16 heads drifted: 3.2 " in done.err
    drifts = rows(Path("here/check-drifts.csv").read_text())
    assert {(row["layer"], row["head"]) for row in drifts} == {("3", "2")}
    assert "entropy" in {row["metric"] for row in drifts}
    assert not {"sink_position", "diagonal_offset"} & {row["metric"] for row in drifts}
    before = {(head["layer"], head["head"]): head for head in json.loads(own_model.read_text())["heads"]}
    for row in drifts:
        was = before[int(row["layer"]), int(row["head"])][row["metric"]]
        assert float(row["baseline"]) == pytest.approx(was, rel=6e-6, abs=1e-6)
        assert (
            abs(float(row["now"]) - was)
            > float(row["tolerance"])
            == pytest.approx(max(0.02, 0.05 * abs(was)), rel=6e-6, abs=1e-6)
        )
    assert "rule-01-encoder-L03-H02.png" in names()
    again = run_cli("check", "rules.yaml", "--record", "-o", "second")
    assert (again.code, again.err) == (0, "")
    assert run_cli("check", "rules.yaml", "-o", "here").code == 0


@pytest.mark.usefixtures("without_pictures")
def test_tolerances_decide(run_cli: RunCli, own_model: Path) -> None:
    perturb(head=2, layer=3)
    text = Path("rules.yaml").read_text()
    assert run_cli("check", wrote(text.replace("0.02", "100")), "-o", "wide").code == 0
    Path("rules.yaml").write_text(text.replace("0.02", "100, metrics: {entropy: {absolute: 0, relative: 0}}"))
    assert run_cli("check", "rules.yaml", "-o", "narrow").code == 1
    assert {row["metric"] for row in rows(Path("narrow/check-drifts.csv").read_text())} == {"entropy"}


def test_a_checkpoint_in_another_folder_is_held_against_an_earlier_one(run_cli: RunCli, own_model: Path) -> None:
    shutil.copytree("model", "later")
    done = run_cli("check", "rules.yaml", "-m", "later", "-o", "here")
    assert (done.code, done.err) == (0, "")


@pytest.mark.parametrize(
    ("change", "args", "said"),
    [
        (("", ""), ["-m", "demo:decoder"], "is of another model, model, and this is demo:decoder"),
        (("The cat", "A cat"), [], "is of other texts than those of this file"),
        (("baseline:", "words: true\nbaseline:"), [], "was recorded with words False, and this is True"),
        (("baseline.json", "no.json"), [], "line 3, column 18: there is no baseline numbers/no.json: record one with"),
        (("absolute: 0.02", "absolute: -0.02"), [], "column 51: expected 'absolute' to be at least 0.0, got '-0.02'"),
        (("file: numbers/baseline.json, ", ""), [], "no file of the baseline is named"),
        (("texts:", "#"), [], "there is no text"),
        (("", ""), ["--baseline", "rules.yaml"], "rules.yaml is not JSON"),
    ],
)
def test_baselines_of_something_else_are_refused(
    change: tuple[str, str], args: list[str], said: str, run_cli: RunCli, own_model: Path
) -> None:
    text = Path("rules.yaml").read_text()
    done = run_cli("check", wrote(text.replace(*change), "other.yaml"), *args, "-o", "here")
    assert (done.code, done.out) == (2, "")
    assert re.fullmatch(r"error: [^\n]+\n", done.err)
    assert said in done.err
    assert not Path("here").exists()


def test_another_hub_name_is_another_model(run_cli: RunCli) -> None:
    wrote(f"texts: {{a: '{MAT}'}}\nrules: [sink < 2]\n")
    assert run_cli("check", "rules.yaml", "--record", "--baseline", "b.json", "-q").code == 0
    document = json.loads(Path("b.json").read_text())
    document["run"]["model"] = "someone/else"
    Path("b.json").write_text(json.dumps(document))
    done = run_cli("check", "rules.yaml", "--baseline", "b.json")
    assert done.code == 2
    assert "b.json is of another model, someone/else, and this is demo:encoder" in done.err


def test_only_baselines_are_recorded_over(run_cli: RunCli) -> None:
    wrote(f"texts: {{a: '{MAT}'}}\nrules: [sink < 2]\n")
    done = run_cli("check", "rules.yaml", "--record", "--baseline", "rules.yaml")
    assert done.code == 4
    assert "rules.yaml exists and is not a baseline: name another file, or overwrite it with --force" in done.err
    assert "sink < 2" in Path("rules.yaml").read_text()
    assert run_cli("check", "rules.yaml", "--record").err.count("no file of the baseline is named") == 1


# ------------------------------------------------------------------------------------------- bad input

BAD = [
    ("", "rules.yaml is empty: expected keys and values"),
    ("rules: []", "there is nothing to check"),
    (
        "rules: [{text: The cat sat., from: dog, to: cat, min: 0}]",
        "line 1, column 36: 'dog' does not occur in the text",
    ),
    (
        "rules: [{text: The cat sat., from: cta, to: cat, min: 0}]",
        "column 36: 'cta' does not occur in the text: did you mean",
    ),
    (
        "rules: [{text: The cat the dog., from: the, to: cat, min: 0}]",
        "must match once in the text, it has 2: ",
    ),
    ("rules: [{text: The cat sat., from: cat, to: 99, min: 0}]", "the word of 'to' 99 is outside the text"),
    ("rules: [{text: The cat sat., from: cat, to: ' ', min: 0}]", "the word of 'to' is empty"),
    ("rules: [{text: The cat sat., from: cat, to: sat#2, min: 0}]", "so there is no sat#2"),
    ("rules: [{text: The cat., from: cat, to: the, than: 1, min: 0}]", "are the same tokens: name another word"),
    (
        "rules: [{text: a cat, from: cat, to: a, min: 0, heads: 9.1}]",
        "head 9.1 does not exist: encoder has layers 0-3, heads 0-3",
    ),
    ("texts: {a: a cat}\nrules: [head 0.7 is local]", "line 2, column 9: head 0.7 does not exist"),
    ("texts: {a: a cat}\nrules: [sink < 1 in layer 2-9]", "layer 2-9 does not exist: encoder has layers 0-3"),
    ("texts: {a: a cat}\nrules: [sink < 1 in layer 3-1]", "ends before it begins"),
    ("texts: {a: a cat}\nrules: [cross sink < 1]", "demo:encoder has no cross attention; it has: encoder"),
    ("texts: {a: a cat}\nrules: [alignment_distance < 1]", "alignment_distance is undefined for these heads and texts"),
    ("rules: [sink < 1]", "there is no text"),
    ("model: nowhere\nrules: [{text: a b, from: a, to: b, min: 0}]", "'nowhere' could not be loaded"),
    ("suites: [{file: nowhere.jsonl, min-rate: 1}]", "line 1, column 17: no such file: nowhere.jsonl"),
    (f"texts: {{a: {'word ' * 600}}}\nrules: [sink < 1]", "the model reads at most 512"),
    (
        "model: demo:decoder\nrules: [{text: a cat sat, from: cat, to: sat, min: 0}]",
        "comes after 'cat', which a decoder masks",
    ),
    (
        "model: demo:seq2seq\nrules: [{text: {text: a cat, target: a tac}, from: a, to: a, min: 0}]",
        "line 2, column 9: the key 'kind' is missing: demo:seq2seq has encoder, decoder, cross attention",
    ),
    ("rules: " + "[" * 30, "rules.yaml"),
    ("x" * 300_000, "is larger than 256 kB"),
]


@pytest.mark.parametrize(("text", "said"), BAD, ids=[said[:40] for _, said in BAD])
def test_bad_files_are_one_line_and_leave_nothing(text: str, said: str, run_cli: RunCli) -> None:
    done = run_cli("check", wrote(text), "--junit", "junit.xml")
    assert (done.code, done.out) == (3 if "could not be loaded" in said else 2, "")
    assert re.fullmatch(r"error: [^\n]+\n", done.err)
    assert said in done.err
    assert names(".") == ["rules.yaml"]


def test_a_file_must_be_named_and_be_there(run_cli: RunCli) -> None:
    assert "which rules? give their file" in run_cli("check").err
    done = run_cli("check", "nowhere.yaml")
    assert (done.code, done.err) == (2, "error: no such file: nowhere.yaml\n")
    assert "unknown --format 'pgn': did you mean 'png'?" in run_cli("check", wrote(HOLDS), "--format", "pgn").err


def test_rules_come_from_stdin_and_variables_from_the_environment(
    run_cli: RunCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIMIT", "0.5")
    text = f"texts: {{a: '{MAT}'}}\nrules:\n- sink < ${{LIMIT}}\n- sink < ${{OTHER:-2}}"
    done = run_cli("check", "-", "-o", "here", stdin=text)
    assert [row["holds"] for row in rows(done.out)] == ["False", "True"]


@pytest.mark.usefixtures("without_pictures")
def test_what_is_typed_goes_before_the_file_and_the_file_before_defaults(run_cli: RunCli) -> None:
    wrote("model: demo:decoder\ncapture: eager\nwords: true\n" + HOLDS.replace("0.2", "0.1"))
    for args, model in (([], "demo:decoder"), (["-m", "demo:encoder"], "demo:encoder")):
        document = json.loads(run_cli("check", "rules.yaml", *args, "--json").out)
        assert (document["run"]["model"], document["run"]["resolved"]["words"]) == (model, True)
        assert document["run"]["resolved"]["capture"] == "eager"


# --------------------------------------------------------------------------------- the reference, the files


def test_the_reference_is_a_file_that_is_right(run_cli: RunCli, minilm: Path) -> None:
    page = run_cli("explain", "rules").out
    example = page[page.index("\nmodel: ") + 1 : page.index("\n\nModel ")]
    suites = Path(__file__).parents[2] / "configs" / "coreference.jsonl"
    shutil.copy(suites, "coreference.jsonl")
    example = example.replace("sentence-transformers/all-MiniLM-L6-v2", str(minilm))
    recorded = run_cli("check", wrote(example), "--record", "-o", "first", "--json")
    assert (recorded.code, recorded.err) == (0, "")
    done = run_cli("check", "rules.yaml", "-o", "here", "--json")
    assert (done.code, done.err) == (0, "")
    assert {rule["sort"] for rule in json.loads(done.out)["rules"]} == {
        "attention",
        "budget",
        "class",
        "suite",
        "baseline",
    }
    schema = json.loads(run_cli("explain", "rules", "--json").out)
    validator = jsonschema.Draft202012Validator(schema)
    validator.validate(yaml.safe_load(example))
    trends = Path(__file__).parents[2] / "configs" / "trends.yaml"
    validator.validate(yaml.safe_load(trends.read_text(encoding="utf-8")))
    for wrong in ({"rules": [{"entropi": {"max": 1}}]}, {"rules": [{"trend": 1}]}, {"tolerance": -1}, {"tolerance": 1}):
        assert not validator.is_valid(wrong)
    default = schema["properties"]["tolerance"]["default"]
    assert default == TOLERANCE
    assert f"(default: {default:.5f})" in page


def test_the_page_of_the_files_names_every_column(run_cli: RunCli) -> None:
    page = " ".join(run_cli("explain", "check.json").out.split())
    done = run_cli("check", suite("min-rate: 0"), "-q", "-o", "here")
    for table in (done.out, *(Path(f"here/check-{name}.csv").read_text() for name in ("cases", "heads"))):
        assert ", ".join(rows(table)[0]) in page.replace(
            "sort (attention, budget, class, suite, baseline, trend)", "sort"
        )
    assert "kind, layer, head, metric, baseline, now, tolerance" in page


@pytest.mark.parametrize("name", ["coreference", "agreement", "translation"])
def test_the_files_that_come_with_attncli_hold(
    name: str, run_cli: RunCli, minilm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATTNCLI_MODEL", str(minilm))
    path = Path(__file__).parents[2] / "configs" / f"{name}.yaml"
    done = run_cli("check", path, "-o", "here", "--json")
    assert (done.code, done.err) == (0, "")
    found: dict[str, Any] = json.loads(done.out)
    assert found["holds"] is True
    (measured,) = [rule for rule in found["rules"] if rule["sort"] == "suite"]
    assert measured["p"] <= 0.01
    assert found["run"]["seed"] == 0
    assert measured["position_rate"] < measured["low"]
    assert {case["half"] for case in found["cases"]} == {"choose", "score"}
    schema = json.loads(run_cli("explain", "rules", "--json").out)
    jsonschema.Draft202012Validator(schema).validate(yaml.safe_load(path.read_text()))


# ------------------------------------------------------------------------------ repeated random tokens


def test_a_rule_says_which_head_finds_an_earlier_copy(run_cli: RunCli) -> None:
    text = "rules: [head 1.3 is induction, head 0.1 is induction, duplicate < 0.1]\n"
    done = run_cli("check", wrote(text), "-m", "demo:decoder", "-o", "here")
    found = rows(done.out)
    assert (done.code, [row["holds"] for row in found]) == (1, ["True", "False", "True"])
    scores = attncli.load("demo:decoder").probe_repeated().to_frame().set_index(["layer", "head"])
    expected = [scores.loc[1, 3].induction, scores.loc[0, 1].induction, scores.duplicate.max()]
    assert [float(row["found"]) for row in found] == [pytest.approx(value, abs=1e-6) for value in expected]
    assert names() == ["check.csv", "check.json", "manifest.json"]  # there is no text to draw
    manifest = json.loads(Path("here/manifest.json").read_text())
    assert manifest["run"]["seed"] == 0


@pytest.mark.usefixtures("without_pictures")
def test_a_baseline_holds_the_scores_of_the_probe(run_cli: RunCli) -> None:
    file = wrote(
        "texts: {a: the cat sat on the mat}\nbaseline: {file: base.json, metrics: {induction: {absolute: 0}}}\n"
    )
    assert run_cli("check", file, "-m", "demo:decoder", "--record").code == 0
    document = json.loads(Path("base.json").read_text())
    row = next(row for row in document["heads"] if (row["layer"], row["head"]) == (1, 3))
    assert {"previous", "duplicate", "induction", "entropy"} <= row.keys()
    assert run_cli("check", file, "-m", "demo:decoder").code == 0
    row["induction"] -= 0.1
    Path("base.json").write_text(json.dumps(document))
    drift = json.loads(run_cli("check", file, "-m", "demo:decoder", "--json").out)["drifts"]
    assert [(entry["layer"], entry["head"], entry["metric"]) for entry in drift] == [(1, 3, "induction")]


def test_a_baseline_of_a_model_without_such_scores_says_so(run_cli: RunCli) -> None:
    file = wrote("texts: {a: one two}\nbaseline: {file: base.json}\n")
    done = run_cli("check", file, "-m", "demo:seq2seq", "--record")
    assert "note: the baseline holds no scores on repeated random tokens: the probe of repeated tokens is" in done.err
    assert "induction" not in json.loads(Path("base.json").read_text())["heads"][0]
    assert run_cli("check", file, "-m", "demo:seq2seq").code == 0
    refused = run_cli("check", wrote("rules: [head 0.1 is induction]"), "-m", "demo:seq2seq")
    assert (refused.code, refused.err.count("encoder-decoder: give another model")) == (2, 1)
