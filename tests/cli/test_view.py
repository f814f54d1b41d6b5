"""`attncli view`: one file, the same each time, as large as it may be."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hostile import HOSTILE
from page import Read

import attncli

if TYPE_CHECKING:
    from conftest import RunCli
    from forking import ForkServer

TEXT = "The cat sat on the mat."


def page_at(out: str) -> Read:
    """The page whose path was printed."""
    (line,) = out.splitlines()
    assert Path(line).name == "view.html"
    return Read(Path(line).read_text(encoding="utf-8"))


def viewed(run_cli: RunCli, *args: object) -> Read:
    done = run_cli("view", *args)
    assert done.code == 0, done.err
    return page_at(done.out)


def test_a_pipe_gets_the_path_and_the_folder_says_what_is_there(run_cli: RunCli) -> None:
    done = run_cli("view", "-t", TEXT)
    assert (done.code, done.err) == (0, "")
    page_at(done.out)
    folder = Path(done.out.strip()).parent
    assert folder.parent == Path("outputs/view/demo-encoder")
    manifest = json.loads((folder / "manifest.json").read_text())
    assert [each["name"] for each in manifest["files"]] == ["view.html"]
    assert manifest["complete"] is True
    assert json.loads(run_cli("view", "-t", TEXT, "--json").out)["digest"] == manifest["digest"]


def test_the_same_command_gives_the_same_bytes(run_cli: RunCli) -> None:
    sums = {
        hashlib.sha256(Path(run_cli("view", "-t", TEXT, "-o", name).out.strip()).read_bytes()).hexdigest()
        for name in ("a", "b")
    }
    assert len(sums) == 1


@pytest.mark.parametrize(
    "options",
    [
        "",
        "-m demo:decoder",
        "-m demo:seq2seq --target mat",
        "-l 1 -H 0,2",
        "--words --special drop",
        "--aggregate mean",
        "--aggregate max --aggregate-layers mean",
        "--rows 1-3 --keys 0-4",
        "--save-maps",
        "--capture eager",
        "--pair dog",
    ],
)
def test_every_selection_has_a_page(options: str, run_cli: RunCli) -> None:
    read = viewed(run_cli, "-t", TEXT, *shlex.split(options))
    (first, *_) = read.document["maps"]
    assert first["name"] == TEXT
    assert read.weights(first, first["layers"][0]).max() <= 1
    assert (read.document["stats"] is None) == ("max" in options)


def test_several_texts_share_the_page(run_tables: RunCli) -> None:
    Path("texts.txt").write_text("One.\nOne and two.\n")
    read = viewed(run_tables, "-f", "texts.txt")
    assert [(found["text"], found["name"]) for found in read.document["maps"]] == [(0, "One."), (1, "One and two.")]
    assert {row["texts"] for row in read.document["stats"]["heads"]} == {2}


def test_a_saved_run_is_viewed_without_the_model(run_cli: RunCli) -> None:
    assert run_cli("heatmap", "-t", TEXT, "-m", "demo:decoder", "--save-maps", "-o", "run").code == 0
    fresh = viewed(run_cli, "-t", TEXT, "-m", "demo:decoder", "-o", "fresh")
    again = viewed(run_cli, "--from", "run", "-o", "again")
    assert again.document["neurons"] == fresh.document["neurons"]
    assert shlex.split(again.document["neurons"]) == [
        *("attncli", "view", "--model", "demo:decoder", "--text", TEXT, "--neurons")
    ]
    ours, theirs = (json.loads(json.dumps(read.document)) for read in (fresh, again))
    assert ours["maps"] == theirs["maps"]
    assert fresh.blobs == again.blobs
    for one, other in zip(ours["stats"]["heads"], theirs["stats"]["heads"], strict=True):
        assert one == pytest.approx(other, abs=1e-6)


def test_maps_from_elsewhere(run_tables: RunCli) -> None:
    np.save("maps.npy", np.full((1, 2, 3, 3), 1 / 3, np.float32))
    Path("labels.txt").write_text("a\n</script>\n$x$\n")
    read = viewed(run_tables, "--from", "maps.npy", "--labels", "labels.txt")
    assert read.document["sides"][0]["pieces"] == ["a", "</script>", "$x$"]
    assert read.document["sides"][0]["surface"] == ["a", "</script>", "$x$"]
    assert read.document["neurons"] == "attncli view --model MODEL --text TEXT --neurons"
    assert read.document["stats"]["heads"][1]["entropy"] == pytest.approx(np.log(3))


def test_one_token(run_cli: RunCli) -> None:
    np.save("maps.npy", np.ones((1, 1), np.float32))
    read = viewed(run_cli, "--from", "maps.npy")
    (found,) = read.document["maps"]
    assert read.weights(found, found["layers"][0]).tolist() == [[[1.0]]]


def test_hostile_texts(run_cli: RunCli) -> None:
    text = " ".join(text for text in HOSTILE if text.strip() and text.isprintable())
    for model in ("demo:encoder", "demo:decoder"):
        read = viewed(run_cli, "-t", text, "-m", model, "-l", "0", "-H", "0")
        (side,) = read.document["sides"]
        told = "".join(a + b for a, b in zip(side["before"], side["surface"], strict=True)) + side["after"]
        assert told == text


def test_vectors_travel_with_the_page_and_with_saved_maps(run_cli: RunCli) -> None:
    read = viewed(run_cli, "-t", TEXT, "-m", "demo:decoder", "--neurons", "--save-maps", "-o", "run")
    assert read.document["neurons"] == ""
    assert len(read.document["vectors"]) == 3
    for vectors in read.document["vectors"]:
        (found,) = read.document["maps"]
        (layer,) = (layer for layer in found["layers"] if layer["layer"] == vectors["layer"])
        rebuilt = np.where(read.visible(found, layer), read.rebuilt(vectors, found), 0)
        assert np.allclose(rebuilt, read.weights(found, layer), atol=1 / 500)
    again = viewed(run_cli, "--from", "run", "-o", "again")
    assert (again.document["vectors"], again.blobs) == (read.document["vectors"], read.blobs)
    part = viewed(run_cli, "--from", "run", "-o", "part", "-l", "1", "-H", "5")
    assert [(one["layer"], one["heads"], one["key_heads"]) for one in part.document["vectors"]] == [(1, [5], [0])]
    words = viewed(run_cli, "--from", "run", "-o", "words", "--words").document
    assert words["vectors"] == []
    assert words["neurons"].endswith(f"{shlex.quote(TEXT)} --neurons")


def test_the_memory_and_the_page_that_vectors_take_are_foretold(run_cli: RunCli) -> None:
    for option, said in (("--max-memory", "this run would keep"), ("--max-page", "the page would take at least")):
        assert run_cli("view", "-t", TEXT, option, "12kB", "-o", option[6:]).code == 0
        done = run_cli("view", "-t", TEXT, option, "12kB", "--neurons")
        assert done.code == 2
        assert done.err.startswith(f"error: {said}")


def test_a_saved_run_without_vectors_says_how_to_get_them(run_cli: RunCli) -> None:
    assert run_cli("view", "-t", TEXT, "--save-maps", "-o", "run").code == 0
    done = run_cli("view", "--from", "run", "--neurons")
    command = f"attncli view --text '{TEXT}' --neurons"
    assert done.code == 2
    assert done.err == f"error: only the model gives query and key vectors, this run has none: {command}\n"
    assert run_cli(*shlex.split(command)[1:]).code == 0


# --------------------------------------------------------------------------------------------- how large


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory, demo_dirs: dict[str, Path]) -> dict[tuple[int, int], Path]:
    """GPT-2's attention with random weights: 12 x 12 heads, and 2 x 12 for long texts; narrow, to be quick."""
    import torch
    from transformers import AutoTokenizer, GPT2Config, GPT2Model

    tokenizer: Any = AutoTokenizer.from_pretrained(demo_dirs["decoder"])
    tokenizer.model_max_length = 8192
    made = {}
    for layers in (12, 2):
        torch.manual_seed(0)
        ids = {"vocab_size": len(tokenizer), "bos_token_id": 1, "eos_token_id": 2}
        config = GPT2Config(n_positions=8192, n_layer=layers, n_head=12, n_embd=96, initializer_range=0.4, **ids)
        made[layers, 12] = tmp_path_factory.mktemp(f"gpt2-{layers}")
        GPT2Model(config).save_pretrained(made[layers, 12])
        tokenizer.save_pretrained(made[layers, 12])
    return made


WORDS = "the cat sat on a mat and looked at it "


@pytest.mark.parametrize(("tokens", "most"), [(64, 1_000_000), (256, 13_000_000)])
def test_twelve_by_twelve_heads_are_small(
    tokens: int, most: int, gpt2: dict[tuple[int, int], Path], run_cli: RunCli
) -> None:
    done = run_cli("view", "-m", gpt2[12, 12], "-t", WORDS * 40, "--max-tokens", tokens)
    assert done.err == ""
    (found,) = page_at(done.out).document["maps"]
    assert (found["form"], len(found["layers"])) == ("whole", 12)
    assert Path(done.out.strip()).stat().st_size < most


def test_thousands_of_tokens_show_their_strongest_weights(
    gpt2: dict[tuple[int, int], Path], run_tables: RunCli
) -> None:
    done = run_tables("view", "-m", gpt2[2, 12], "-t", WORDS * 450, "--max-tokens", "2500", "--max-page", "15MB")
    note = "2,500 tokens: each row shows its 43 strongest weights, the map is pooled 10 x 10"
    cost = "view takes about 2 to 5 times as long as a forward pass on a text of this length, besides its files"
    assert done.err == f"note: {cost}\nnote: {note}; give --rows and --keys for a part of it, or --max-page for more\n"
    read = page_at(done.out)
    (found,) = read.document["maps"]
    keys, weights = read.edges(found, found["layers"][1])
    assert keys.shape == (12, 2500, 43)
    assert (np.diff(weights, axis=-1) <= 1e-6).all()
    assert read.weights(found, found["layers"][0]).shape == (12, 250, 250)
    assert len(read.document["stats"]["heads"]) == 24
    assert Path(done.out.strip()).stat().st_size < 15_000_000


def test_the_stream_and_kept_maps_give_the_same_page(run_cli: RunCli) -> None:
    text = ("-m", "demo:seq2seq", "-t", "the cat sat on the mat " * 12, "--target", "a dog")
    assert run_cli("view", *text, "--save-maps", "-o", "run").code == 0
    streamed = viewed(run_cli, *text, "--max-page", "350kB", "-o", "streamed")
    kept = viewed(run_cli, "--from", "run", "--max-page", "350kB", "-o", "kept")
    assert any(found["form"] == "strongest" for found in streamed.document["maps"])
    for one, other in zip(streamed.document["maps"], kept.document["maps"], strict=True):
        assert one["form"] == other["form"]
        for ours, theirs in zip(one["layers"], other["layers"], strict=True):
            assert ours["per_row"] == theirs["per_row"]
            combined = ["mean", "max"] if one["form"] == "strongest" else []
            assert [*ours["combined"]] == [*theirs["combined"]] == combined
            for left, right in (
                (ours, theirs),
                *((ours["combined"][how], theirs["combined"][how]) for how in combined),
            ):
                assert np.allclose(streamed.weights(one, left), kept.weights(other, right), atol=1e-4)
                assert (streamed.visible(one, left) == kept.visible(other, right)).all()
                if left["edges"] is not None:
                    assert np.allclose(streamed.edges(one, left)[1], kept.edges(other, right)[1], atol=1 / 255)
    assert any("strongest weights" in note for note in streamed.document["notes"])


def test_long_and_short_texts_get_one_note(run_cli: RunCli) -> None:
    Path("texts.txt").write_text("".join(f"{'the cat sat ' * count}\n" for count in (1, 20, 30)))
    done = run_cli("view", "-f", "texts.txt", "--max-page", "180kB")
    (note,) = done.err.splitlines()
    assert note.startswith("note: up to 122 tokens: each row shows its ")
    assert ", the map is pooled up to 4 x 4; give --rows" in note
    assert [found["form"] for found in page_at(done.out).document["maps"]] == ["whole", "strongest", "strongest"]


def test_whole_maps_never_exist_where_the_page_is_too_large(
    gpt2: dict[tuple[int, int], Path], run_tables: RunCli
) -> None:
    args = ("-m", gpt2[2, 12], "-t", WORDS * 100, "--max-tokens", "600", "--max-memory", "20MB")
    assert viewed(run_tables, *args, "--max-page", "5MB").document["maps"][0]["form"] == "strongest"
    done = run_tables("view", *args, "--max-page", "1GB")
    assert done.code == 2
    assert "this run would keep 35 MB of attention maps" in done.err


# ---------------------------------------------------------------------------------------------- bad input


REFUSED: list[tuple[list[str], str]] = [
    (["-t", TEXT, "--max-page", "much"], "expected --max-page like 500MB, 4GB or 1.5GiB, got 'much'"),
    (["-t", TEXT, "--max-page", "0"], "expected --max-page like 500MB, 4GB or 1.5GiB, got '0'"),
    (
        ["-t", TEXT, "--max-page", "1kB"],
        "the page would take at least 3.5 kB (longest text: 11 tokens), allowed are 1 kB; show less with --layer 0, "
        "--head 0, --max-tokens 512, or allow more with --max-page",
    ),
    (
        ["-t", TEXT, "--rows", "0-8", "--max-page", "1kB"],
        "the page would take 2.9 kB, allowed are 1 kB: give smaller --rows and --keys, or allow more with --max-page",
    ),
    (["-t", TEXT, "--rows", "7-20"], "--rows 7-20 is outside the text: it has 11 query tokens, 0-10"),
    (["-t", TEXT, "--format", "png"], "unknown --format 'png': known are: html"),
]


@pytest.mark.parametrize(
    ("args", "said"), REFUSED, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_bad_input_is_refused_in_one_line(args: list[str], said: str, run_cli: RunCli) -> None:
    done = run_cli("view", *args)
    assert (done.code, done.out, done.err) == (2, "", f"error: {said}\n")
    assert list(Path().iterdir()) == []


def test_a_run_that_kept_no_maps(run_cli: RunCli) -> None:
    assert run_cli("stats", "-t", TEXT, "--metric", "sink", "-o", "bare").code == 0
    done = run_cli("view", "--from", "bare")
    assert done.code == 2
    assert "has no maps: run 'stats' again with --save-maps" in done.err


def test_pooled_maps_that_were_saved(run_cli: RunCli) -> None:
    attncli.load().run(TEXT, resolution=4, top_k=2).save("pooled")
    done = run_cli("view", "--from", "pooled")
    assert done.code == 2
    assert "needs the strongest weights of each row" in done.err


def opened_in(browser: str, forks: ForkServer, *options: str) -> str:
    """What a process of its own says on stderr, as each remembers which browsers there are."""
    command = [forks.folder / "attncli", "view", "-t", TEXT, "-o", "here", *options]
    bare = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    environment = {**bare, "PATH": "nowhere", "BROWSER": browser, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "here/view.html\n"), done.stderr
    return done.stderr


def test_the_page_is_opened_where_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forks: ForkServer
) -> None:
    monkeypatch.chdir(tmp_path)
    # a browser that writes down what it was given
    Path("browser.py").write_text("import pathlib, sys; pathlib.Path('opened').write_text(sys.argv[1])")
    browser = f"{shlex.quote(sys.executable)} browser.py %s"
    assert opened_in(browser, forks) == ""
    assert not Path("opened").exists()
    assert opened_in(browser, forks, "--open") == ""
    assert Path("opened").read_text() == Path("here/view.html").resolve().as_uri()


def test_where_there_is_no_browser_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forks: ForkServer
) -> None:
    monkeypatch.chdir(tmp_path)
    assert opened_in("nothing-of-the-kind", forks, "--open") == "note: no browser was found: open the page yourself\n"


def test_attributions_are_those_of_attribute_for_the_same_text(run_cli: RunCli) -> None:
    options = ("-m", "demo:decoder", "-t", "Good lord, good", "--explain", "answer:lord look", "-l", "0", "-H", "0,1")
    read = viewed(run_cli, *options, "--attribute", "occlusion,attention")
    attribution = read.document["attribution"]
    table = json.loads(run_cli("attribute", *options, "--method", "occlusion,attention", "--no-pictures", "--json").out)
    (side,) = attribution["sides"]
    tokens = read.document["sides"][side["side"]]["texts"]
    assert tokens[-2:] == ["lord", "look"]  # the page shows the text with the answer
    assert read.document["maps"][0]["keys"] == side["side"]
    shares = np.frombuffer(read.blobs[attribution["shares"]], "<f4").reshape(2, len(tokens))
    # the last token predicts nothing
    assert np.isnan(shares[:, -1]).all()
    np.testing.assert_allclose(shares[:, :-1].reshape(-1), [row["share"] for row in table["tokens"]], atol=1e-6)
    (output,) = attribution["outputs"]
    assert output["rows"]["decoder"] == [len(tokens) - 3, len(tokens) - 2]
    assert (output["name"], output["score"]) == ("lord look", table["outputs"][0]["score"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--attribute", "oclusion"), "did you mean 'occlusion'"),
        (("--attribute", "occlusion", "--words"), "leave out --words"),
        (("--attribute", "occlusion", "--rows", "0-2"), "leave out --rows and --keys"),
        (("--attribute", "occlusion", "-t", "a dog"), "explains one text, got 2"),
        (("--explain", "generated"), "give --attribute METHODS"),
    ],
)
def test_attributions_of_a_part_are_refused(options: tuple[str, ...], message: str, run_cli: RunCli) -> None:
    done = run_cli("view", "-t", "a [MASK]", *options)
    assert (done.code, done.out) == (2, "")
    assert message in done.err


def test_a_page_takes_attributions_of_its_own_tokens() -> None:
    model = attncli.load("demo:encoder", head="masked-lm")
    run, result = model.run("the [MASK] sat"), model.attribute("a [MASK] sat here", "attention")
    with pytest.raises(attncli.UsageError, match="give one of the same text, by token"):
        run.view(attribution=result)
