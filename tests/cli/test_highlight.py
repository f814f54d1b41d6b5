"""`attncli highlight`: which pages come, what a person sees on a terminal, what a script reads."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from cli.test_streams import on_terminal
from highlights import Read
from hostile import HOSTILE

if TYPE_CHECKING:
    from conftest import RunCli

    from attncli.data import Array

TEXT = "The cat sat on the mat because it was warm."
ANIMAL = "The animal didn't cross the street because it was too tired."
IT = ("--focus", "it")


def drawn(out: str) -> list[str]:
    """Names of the files whose paths were printed; each is really there."""
    paths = [Path(line) for line in out.splitlines()]
    assert all(path.is_file() for path in paths)
    return [path.name for path in paths]


def weights(html: str | Path) -> list[tuple[str, float]]:
    """The tokens of a page with the weights in their tooltips."""
    text = html.read_text(encoding="utf-8") if isinstance(html, Path) else html
    return [(text, float(says.split(" ")[0])) for text, _, says in Read.page(text).tokens]


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ("-l 1 -H 0", ["encoder-L01-H00-it"]),
        ("-l 1", ["encoder-L01-it"]),
        ("-H 0", ["encoder-H00-it"]),
        ("-l all -H all", ["encoder-it"]),
        ("-l 1 --aggregate mean", ["encoder-L01-mean-it"]),
        ("-l 1 --aggregate max", ["encoder-L01-max-it"]),
        ("--aggregate mean", ["encoder-mean-it"]),
        ("--aggregate-layers mean", ["encoder-Lmean-it"]),
        ("", ["encoder-Lmean-mean-it"]),
        ("-l 1 -H 0 --direction to", ["encoder-L01-H00-to-it"]),
        ("-l 1 -H 0 --words --special drop", ["encoder-L01-H00-it"]),
    ],
)
def test_selection_decides_on_pages(options: str, names: list[str], run_cli: RunCli) -> None:
    done = run_cli("highlight", "-t", "Now it ran.", *IT, *options.split())
    assert (done.code, drawn(done.out)) == (0, [f"{name}.{end}" for name in names for end in ("html", "svg")]), done.err


@pytest.mark.parametrize(
    ("focus", "name"),
    [
        ("it", "it"),
        ("-1", "34"),
        ("-3--1", "32-34"),
        ("special", "special"),
        ("the#2", "the-2"),
        ("[CLS]", "CLS"),
        ("3", "3"),
        ("all", "all"),
        ("../../etc", "etc"),
        ("a/b\\c", "a-b-c"),
        ("注意", "注意"),
        ("?!", "focus"),
    ],
)
def test_files_are_named_after_the_focus(focus: str, name: str, run_cli: RunCli) -> None:
    text = f"{TEXT} The ../../etc a/b\\c 注意 ?!"
    done = run_cli("highlight", "-t", text, "--focus", focus, "-l", "0", "-H", "0", "--format", "html")
    assert (done.code, drawn(done.out)) == (0, [f"encoder-L00-H00-{name}.html"]), done.err


def test_the_page_and_the_picture_of_minilm_show_that_it_is_the_animal(minilm: Path, run_cli: RunCli) -> None:
    options = ("-l", "3", "-H", "1", "-o", "here")
    done = run_cli("highlight", "-m", minilm, "-t", ANIMAL, *IT, *options)
    assert (done.code, done.err) == (0, "")
    found = dict(weights(Path("here/encoder-L03-H01-it.html")))
    assert found["animal"] == 0.677
    assert abs(sum(found.values()) - 1) < 0.01
    svg = Path("here/encoder-L03-H01-it.svg").read_text(encoding="utf-8")
    assert ">strongest:   animal 0.677   [CLS] 0.102" in svg
    assert ">animal</text>" in svg


def test_a_person_sees_the_text_in_colour(minilm: Path, tmp_path: Path) -> None:
    args = ("highlight", "-m", str(minilm), "-t", ANIMAL, *IT, "-l", "3", "-H", "1", "-o", "here")
    seen = on_terminal(tmp_path, *args, COLORTERM="truecolor")
    plain = re.sub(r"\x1b\[[0-9;]*m", "", seen)
    assert "[CLS] The animal didn't cross the street because it was too tired. [SEP]" in plain
    assert "encoder self-attention · layer 3 · head 1" in plain
    assert re.search(r"^0 +0\.677  attention weight from the underlined word \(fraction\)$", plain, re.MULTILINE)
    assert "strongest:   animal 0.677   [CLS] 0.102" in plain
    assert plain.endswith("Wrote here/encoder-L03-H01-it.html\nWrote here/encoder-L03-H01-it.svg\n")
    assert re.search(r"\x1b\[[0-9;]*48;2;255;240;194manimal\x1b", seen)
    assert re.search(r"\x1b\[1;4;[0-9;]*mit\x1b", seen)
    quiet = on_terminal(tmp_path, *args[:-1], "there", "--quiet")
    assert quiet == ""


def test_hostile_text_steers_no_terminal(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(" ".join(HOSTILE).replace("\0", "\x01").replace("\n", " ").replace("\r", " "))
    seen = on_terminal(tmp_path, "highlight", "-f", "text.txt", "--focus", "null", "-l", "0", "-H", "0", "-o", "here")
    plain = re.sub(r"\x1b\[[0-9;]*m", "", seen)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", plain)
    assert "[/INST]" in plain
    assert "[bold red]" in plain


def test_all_is_a_line_for_each_token_in_one_file(run_cli: RunCli) -> None:
    done = run_cli("highlight", "-t", "It was warm.", "--focus", "all", "-l", "0", "-H", "0", "-o", "here")
    assert (done.code, done.err) == (0, "")
    read = Read.page(Path("here/encoder-L00-H00-all.html").read_text(encoding="utf-8"))
    assert read.texts == ["[CLS] It was warm. [SEP]"] * 7


def test_a_word_in_several_places_is_shown_in_all_and_how_to_choose_is_said(run_cli: RunCli) -> None:
    text = "It was warm, so it ran."
    done = run_cli("highlight", "-t", text, *IT, "-l", "0", "-H", "0", "-o", "here", "--format", "html")
    assert done.err == (
        "note: 'it' is shown at all its occurrences, it has 2: It#1 is token 1, it#2 is token 7: "
        "--focus 'it#2' shows one\n"
    )
    both = weights(Path("here/encoder-L00-H00-it.html"))
    done = run_cli("highlight", "-t", text, "--focus", "it#2", "-l", "0", "-H", "0", "-o", "one", "--format", "html")
    assert done.err == ""
    assert both[-len(both) // 2 :] == weights(Path("one/encoder-L00-H00-it-2.html"))


def test_a_page_of_several_texts_has_the_number_that_its_file_has(run_cli: RunCli) -> None:
    options = ("-l", "0", "-H", "0", "-o", "here", "--format", "html")
    run_cli("highlight", "-t", "It ran.", "-t", "So it was.", *IT, *options)
    assert "text 1 (of 0-1)" in Path("here/T001-encoder-L00-H00-it.html").read_text(encoding="utf-8")


def test_texts_without_the_word_are_left_out(run_cli: RunCli) -> None:
    texts = ("-t", "It ran.", "-t", "A cat.", "-t", "So it was.")
    done = run_cli("highlight", *texts, *IT, "-l", "0", "-H", "0", "--format", "svg")
    assert drawn(done.out) == ["T000-encoder-L00-H00-it.svg", "T002-encoder-L00-H00-it.svg"]
    assert (
        "note: text 1, encoder is left out: 'it' does not occur in the text: there are [CLS], A, cat, ., [SEP]"
        in done.err
    )
    done = run_cli("highlight", *texts, "--focus", "dog")
    assert (done.code, done.out) == (2, "")


def test_kinds_with_the_word_on_their_side_are_shown(run_cli: RunCli) -> None:
    call = ("highlight", "-m", "demo:seq2seq", "-t", "one two", "--target", "owt eno", "-l", "0", "--format", "html")
    done = run_cli(*call, "--focus", "eno")
    assert drawn(done.out) == ["decoder-L00-eno.html", "cross-L00-eno.html"]
    assert "encoder is left out: 'eno' does not occur in the text" in done.err
    done = run_cli(*call, "--focus", "one", "--direction", "to")
    assert drawn(done.out) == ["encoder-L00-to-one.html", "cross-L00-to-one.html"]


def test_a_saved_run_gives_the_same_bytes_as_the_model(run_cli: RunCli) -> None:
    assert run_cli("heatmap", "-t", TEXT, "-l", "1", "-H", "2", "--save-maps", "-o", "saved").code == 0
    options = (*IT, "-l", "1", "-H", "2", "--words", "--special", "drop")
    assert run_cli("highlight", "-t", TEXT, *options, "-o", "model").code == 0
    assert run_cli("highlight", "-t", TEXT, *options, "-o", "again").code == 0
    assert run_cli("highlight", "--from", "saved", *options, "-o", "from").code == 0
    for name in ("encoder-L01-H02-it.html", "encoder-L01-H02-it.svg"):
        one = Path("model", name).read_bytes()
        assert one == Path("again", name).read_bytes() == Path("from", name).read_bytes()


def test_maps_may_be_kept_on_the_way(run_cli: RunCli) -> None:
    done = run_cli("highlight", "-t", TEXT, *IT, "-l", "1", "-o", "kept", "--save-maps", "--json")
    names = {entry["name"] for entry in json.loads(done.out)["files"]}
    assert names == {"encoder-L01-it.html", "encoder-L01-it.svg", "maps.safetensors", "run.json"}
    assert run_cli("highlight", "--from", "kept", "--focus", "cat", "-o", "again").code == 0
    assert run_cli("highlight", "-t", TEXT, *IT, "-l", "1", "-o", "plain").code == 0
    for suffix in ("html", "svg"):
        name = f"encoder-L01-it.{suffix}"
        assert Path("kept", name).read_bytes() == Path("plain", name).read_bytes()


def test_the_manifest_says_what_was_asked(run_cli: RunCli) -> None:
    done = run_cli("highlight", "-t", TEXT, *IT, "-o", "here", "--json", "--direction", "to")
    manifest = json.loads(done.out)
    assert manifest == json.loads(Path("here/manifest.json").read_text())
    assert manifest["run"]["given"] == {"text": [TEXT], "focus": "it", "direction": "to", "out": "here"}
    resolved = manifest["run"]["resolved"]
    assert (resolved["focus"], resolved["direction"], resolved["aggregate"]) == ("it", "to", "mean")
    assert resolved["format"] == ["html", "svg"]
    assert done.err == "note: this is the mean over all layers and heads: --layer and --head choose among them\n"


def test_a_text_of_one_token_and_a_long_one(run_cli: RunCli) -> None:
    from_elsewhere = ("--format", "html", "-H", "0", "-l", "0")
    assert run_cli("highlight", "-m", "demo:decoder", "-t", "a", "--focus", "-1", *from_elsewhere).code == 0
    long = " ".join(f"Animal {at} crossed." for at in range(160))
    done = run_cli(
        *("highlight", "-m", "demo:decoder", "-t", long, "--focus", "Animal#150", "--max-memory", "1MB"),
        *from_elsewhere,
    )
    assert (done.code, done.err) == (0, "")
    assert len(weights_or_none(Path(done.out.strip()))) > 900


def weights_or_none(html: Path) -> list[tuple[str, str, str]]:
    return Read.page(html.read_text(encoding="utf-8")).tokens


def test_the_focus_may_be_what_the_model_wrote(run_cli: RunCli) -> None:
    """The mean over the rows that predict the written tokens, or over their own; the page says which."""
    options = ("-m", "demo:decoder", "-t", "Once upon a time", "--generate", 4, "-l", 1, "-H", 0, "--format", "html")

    def page(*more: str) -> tuple[str, Array]:
        done = run_cli("highlight", *options, *more, "-o", "here", "--force")
        assert (done.code, done.err) == (0, "note: text 0: the model generated: ',\\nAnd in'\n")
        html = Path(done.out.strip()).read_text(encoding="utf-8")
        numbers = [says.split(" ")[0] for *_, says in Read.page(html).tokens]
        return html, np.array([0.0 if number in ("no", "undefined") else float(number) for number in numbers])

    rows = page("--focus", "all")[1].reshape(10, 10)
    for more, shown, says in (
        (("--focus", "generated"), rows[5:9], "rows as predicted"),
        (("--focus", "generated", "--rows-as", "input"), rows[6:], "rows as input"),
        (("--focus=-4--1",), rows[6:], "from tokens 6-9"),
        (("--focus=-4--1", "--rows-as", "predicted"), rows[5:9], "rows as predicted"),
    ):
        html, weights_of_focus = page(*more)
        assert says in html
        assert ("rows as" in html) == (says != "from tokens 6-9")
        assert weights_of_focus == pytest.approx(shown.mean(0), abs=1e-3)
    assert "from generated (tokens 6-9)" in page("--focus", "generated")[0]
    to_last_but_one = page("--focus", "8", "--direction", "to", "--rows-as", "predicted")[1]
    assert to_last_but_one == pytest.approx([0, *rows[:-1, 8]], abs=1e-3)
