"""What tests of heads and tokens find in a real language model; the numbers are those of docs/how-to/real-model.md."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import readme
import torch

import attncli

if TYPE_CHECKING:
    from conftest import RunCli

    from attncli.studies.attribute.options import AttributionName

pytestmark = pytest.mark.real

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "real-model.md"
CONFIGS = PAGE.parents[2] / "configs"
FRANCE = "The capital of France is"
LAST_DIGIT = 0.011
"""Numbers of the page have two digits, and sums in other orders may round differently."""


def lines(name: str) -> list[str]:
    return (CONFIGS / name).read_text(encoding="utf-8").splitlines()


def table(column: str) -> dict[str, dict[str, str]]:
    """Return the table of the page whose first column has this name, its rows by their first cell."""
    found = re.search(rf"^\| {column} \|.*\n(?:\|.*\n)+", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None
    header, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in found[0].splitlines())
    return {row[0]: dict(zip(header, row, strict=True)) for row in rows}


def numbers(rows: dict[str, dict[str, str]], column: str) -> list[float]:
    return [float(row[column]) for row in rows.values()]


@pytest.fixture(scope="module")
def model(smollm2: Path) -> attncli.Model:
    return attncli.load(str(smollm2), head="causal-lm", dtype="float32", device="cpu")


def most_in_one_layer(result: attncli.Knockout, word: str) -> tuple[int, float, float]:
    """Return the layer whose block of a word costs most, what it costs, and the next largest cost."""
    layers, changes = result.grid("decoder", "ln_change")
    of_word = changes[:, result.of_kind("decoder")["name"].tolist().index(word)]
    first, second = np.argsort(of_word)[:2]
    return layers[first], of_word[first], of_word[second]


def test_the_country_is_read_in_one_layer(model: attncli.Model) -> None:
    result, rows = model.knockout(FRANCE, window_layers=1), table("blocked")
    of_tokens = result.to_frame().set_index("name")
    assert (result.prediction, [*of_tokens.index]) == ("Paris", [*rows])
    for column, name in {"attention": "attention", "probability": "probability", "ln p": "ln_change"}.items():
        assert of_tokens[name].tolist() == pytest.approx(numbers(rows, column), abs=LAST_DIGIT)
    words = of_tokens.drop(index="The")  # the first token is a sink, whatever it is
    assert words["ln_change"].idxmin() == "France"
    assert words["ln_change"].nsmallest(2).diff().iloc[1] > 3
    layer, cost, next_cost = most_in_one_layer(result, "France")
    assert (layer, cost) == (int(rows["France"]["most in layer"]), pytest.approx(-2.34, abs=LAST_DIGIT))
    assert next_cost == pytest.approx(-0.25, abs=LAST_DIGIT)


def test_methods_of_attribution_disagree_about_the_sink(model: attncli.Model) -> None:
    rows = table("method")
    blocked = np.abs(model.knockout(FRANCE, window_layers=1).to_frame()["ln_change"].to_numpy())
    methods: tuple[AttributionName, ...] = (
        "integrated-gradients",
        "occlusion",
        "shapley",
        "attention-x-gradient",
        "attention",
    )
    result = model.attribute(FRANCE, methods, steps=800)
    names = [unit.name for unit in result.units]
    shares = {f"`{method}`": result.shares(method) for method in methods} | {"knock-out": blocked / blocked.sum()}
    assert (result.outputs[0].name, [*shares]) == ("Paris", [*rows])
    assert result.methods[0].steps == (800,)
    for name, of_method in shares.items():
        assert of_method.tolist() == pytest.approx([float(rows[name][token]) for token in names], abs=LAST_DIGIT)
    first = {name: names[int(of_method.argmax())] for name, of_method in shares.items()}
    assert (first["`shapley`"], first["`occlusion`"]) == ("France", "capital")
    assert {
        first[name] for name in ("`integrated-gradients`", "`attention-x-gradient`", "`attention`", "knock-out")
    } == {"The"}
    assert names[1 + int(shares["knock-out"][1:].argmax())] == "France"


def test_one_head_reads_it(model: attncli.Model) -> None:
    alone, others = (model.knockout(FRANCE, layer=23, head=heads).to_frame() for heads in (4, "0-3,5-8"))
    alone, others = (frame.set_index("name").loc["France"] for frame in (alone, others))
    assert alone["attention"] == pytest.approx(0.90, abs=LAST_DIGIT)
    assert (alone["ln_change"], others["ln_change"]) == pytest.approx((-1.63, -0.04), abs=LAST_DIGIT)


def test_with_a_start_token_the_country_is_needed_most(model: attncli.Model) -> None:
    of_tokens = model.knockout(FRANCE, add_bos=True, layer="0-29").to_frame().set_index("name")
    assert of_tokens["ln_change"].idxmin() == "France"
    assert of_tokens.loc[["France", "The"], "ln_change"].tolist() == pytest.approx([-4.09, 0.17], abs=LAST_DIGIT)


def test_other_countries_are_read_there_too(model: attncli.Model) -> None:
    for country, row in table("country").items():
        result = model.knockout(f"The capital of {country} is", window_layers=1)
        change = result.to_frame().set_index("name")["ln_change"]
        layer, cost, next_cost = most_in_one_layer(result, country)
        assert (result.prediction, str(layer)) == (row["predicted"], row["most in layer"])
        measured = result.probability, change[country], cost
        assert measured == pytest.approx([float(row[n]) for n in ("probability", "ln p", "ln p there")], abs=LAST_DIGIT)
        assert cost < 5 * next_cost
        assert change.drop("The").idxmin() == country


def test_importance_finds_the_head_that_names_capitals(model: attncli.Model) -> None:
    result, rows = model.importance(lines("capitals.txt"), tokens="-1", layer="20-26"), table("head")
    assert result.names[:3] == [*rows]
    for column, name in {"loss": "loss", "low": "loss_low", "high": "loss_high"}.items():
        assert result.columns[name][:3].tolist() == pytest.approx(numbers(rows, column), abs=LAST_DIGIT)
    assert result.columns["p_adjusted"].min() > 0.1


def test_the_others_do_a_part_of_its_work(model: attncli.Model) -> None:
    (paris,) = model.loaded.tokenizer(" Paris")["input_ids"]
    for head, share, said in (("23.4", 0.15, " Paris"), ("23", 0.09, " New")):
        with model.edited(attncli.zero(head)) as edited:
            probabilities = torch.tensor(edited.logits(FRANCE)[-1]).softmax(-1)
        assert float(probabilities[paris]) == pytest.approx(share, abs=LAST_DIGIT)
        assert model.loaded.tokenizer.decode(int(probabilities.argmax())) == said


def test_the_answer_needs_its_document(model: attncli.Model) -> None:
    text = (CONFIGS / "two-documents.txt").read_text(encoding="utf-8")
    result, rows = model.knockout(text, divide="paragraph"), table("segment")
    segments = result.to_frame().set_index("name")
    assert (result.prediction, [*segments.index]) == ("Oslo", [*rows])
    names = {"change": "change", "ln p": "ln_change", "ln p if random": "random_ln_change", "attention": "attention"}
    for column, name in names.items():
        assert segments[name].tolist() == pytest.approx(numbers(rows, column), abs=LAST_DIGIT)
    assert segments["predicted"].tolist() == [row["then"] for row in rows.values()]
    assert segments["ln_change"].idxmin() == segments["attention"].idxmin() == "¶2"
    about_anna = text.replace("does Peter", "does Anna").replace("Answer: Peter", "Answer: Anna")
    other = model.knockout(about_anna, divide="paragraph")
    assert (other.prediction, other.to_frame().set_index("name")["ln_change"].idxmin()) == ("Oslo", "¶2")


def test_the_answer_in_a_chat_needs_the_message_with_the_facts(smollm2: Path, run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "configs").symlink_to(CONFIGS)
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "smollm2").symlink_to(smollm2)
    block = next(block for block in readme.blocks(PAGE.read_text(encoding="utf-8")) if "--chat" in block.code)
    (command,) = readme.calls(block, tmp_path)
    done = run_cli(*command)
    assert done.code == 0, done.err
    header, *rows = (line.split(",") for line in done.out.splitlines())
    segments: dict[str, dict[str, Any]] = {row[2]: dict(zip(header, row, strict=True)) for row in rows}
    changes = [float(segments[name]["ln_change"]) for name in ("system", "user")]
    assert [*changes, float(segments["system"]["random_ln_change"])] == pytest.approx([-4.76, -0.30, -3.43], abs=0.02)
    assert min(segments, key=lambda name: float(segments[name]["ln_change"])) == "system"


@pytest.fixture(scope="module")
def pruned(model: attncli.Model, tmp_path_factory: pytest.TempPathFactory) -> tuple[attncli.Pruning, Path]:
    """A fifth of the heads removed in the order of their gradients, and the folder of the model without them."""
    ranking = model.importance(lines("plain-rank.txt"), method="gradient")
    folder = tmp_path_factory.mktemp("pruned") / "zeroed"
    return model.prune(lines("plain-curve.txt"), importance=ranking, share=0.2, save=folder), folder


def test_the_order_of_importance_is_better_than_random_ones(pruned: tuple[attncli.Pruning, Path]) -> None:
    result, _ = pruned
    for removed, row in table("removed").items():
        count = int(removed)
        least, random, most = (result.at(order, count) for order in ("importance", "random", "reverse"))
        low, high = map(float, row["random"].split(" to "))
        expected = [float(row["least important first"]), low, high, float(row["most important first"])]
        assert [least[0], random.min(), random.max(), most[0]] == pytest.approx(expected, abs=LAST_DIGIT)
        assert len(random) == 5
        assert least[0] < random.min()
        assert most[0] > random.max()
    assert 5 * result.at("importance", 54)[0] < result.at("random", 54).min()


def test_the_saved_model_is_the_edited_one(model: attncli.Model, pruned: tuple[attncli.Pruning, Path]) -> None:
    result, folder = pruned
    names = result.names[: result.removed]
    saved = attncli.load(str(folder), head="causal-lm", dtype="float32", device="cpu")
    with model.edited(attncli.zero(names)) as edited:
        expected, written = edited.logits(FRANCE), edited.generate(FRANCE, 4)
        np.testing.assert_allclose(saved.logits(FRANCE), expected, atol=1e-3)
        assert saved.generate(FRANCE, 4) == written
    assert np.abs(model.logits(FRANCE) - expected).max() > 1


def test_cut_groups_compute_the_same(model: attncli.Model, tmp_path: Path) -> None:
    """Heads that share keys and values are cut out: a smaller model, which writes text."""
    ranking = model.importance(lines("plain-rank.txt"), method="gradient", unit="group")
    assert ranking.advice.startswith("90 groups of heads, mean over 12 texts")
    of_groups: Any = {"importance": ranking, "unit": "group", "share": 0.2}
    result = model.prune(lines("plain-curve.txt"), **of_groups, save=tmp_path / "cut", form="irregular")
    assert result.removed == 18
    least, random = result.at("importance", 18)[0], result.at("random", 18)
    assert [least, random.min(), random.max()] == pytest.approx([0.26, 0.45, 1.94], abs=LAST_DIGIT)
    before, after = result.saved["parameters"]
    assert 1 - after / before == pytest.approx(0.037, abs=0.001)
    cut = attncli.load(str(tmp_path / "cut"), head="causal-lm", dtype="float32", device="cpu")
    with model.edited(attncli.zero(result.names[:18])) as edited:
        np.testing.assert_allclose(cut.logits(FRANCE), edited.logits(FRANCE), atol=1e-3)
        assert cut.generate(FRANCE, 4) == edited.generate(FRANCE, 4) == " Paris.\n\n"


def test_the_page_names_options_that_exist(run_cli: RunCli) -> None:
    for block in readme.blocks(PAGE.read_text(encoding="utf-8")):
        for command, *arguments in readme.calls(block):
            known = set(re.findall(r"--[a-z-]+", run_cli(command, "--help").out))
            assert {argument for argument in arguments if argument.startswith("--")} <= known


def test_the_sink_and_the_rounding_are_noted(smollm2: Path, run_cli: RunCli) -> None:
    done = run_cli("knockout", "-m", smollm2, "-t", FRANCE, "--layer", "23", "--head", "4")
    assert done.code == 0, done.err
    assert "the model computes in bfloat16" in done.err
    assert "the first token gets" not in done.err  # this head reads the country
    done = run_cli("knockout", "-m", smollm2, "-t", FRANCE, "--dtype", "float32", "--layer", "23")
    assert re.search(r"the first token gets \d\d% of the decoder attention, as a sink \(--add-bos", done.err), done.err
