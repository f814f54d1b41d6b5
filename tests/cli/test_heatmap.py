"""`attncli heatmap`: which pictures come, what they are called, and what a script reads."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

import attncli

if TYPE_CHECKING:
    from conftest import RunCli

TEXT = "The cat sat on the mat."


def drawn(out: str) -> list[str]:
    """Names of the pictures whose paths were printed; each is really there."""
    paths = [Path(line) for line in out.splitlines()]
    assert all(path.is_file() for path in paths)
    return [path.name for path in paths]


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ("", ["encoder-grid.png"]),
        ("-l 1", ["encoder-L01-grid.png", "encoder-L01-mean.png"]),
        ("-l 1 -H 2", ["encoder-L01-H02.png"]),
        ("--layer -1 --head 0,2-3", ["encoder-L03-H00.png", "encoder-L03-H02.png", "encoder-L03-H03.png"]),
        ("-H 1", ["encoder-grid.png"]),
        ("-l 1,2 --grid", ["encoder-grid.png"]),
        ("-l 1 -H 0,1 --grid", ["encoder-L01-grid.png"]),
        ("-l 0 --each", [f"encoder-L00-H{head:02}.png" for head in range(4)]),
        ("-l 2 --aggregate mean", ["encoder-L02-mean.png"]),
        ("-l 2 --aggregate max", ["encoder-L02-max.png"]),
        ("--aggregate mean", ["encoder-grid.png"]),
        ("--aggregate-layers mean -l all -H 1", ["encoder-Lmean-H01.png"]),
        ("--aggregate mean --aggregate-layers mean --each", ["encoder-Lmean-mean.png"]),
        ("-l 0 -H 0 --words --special drop --log", ["encoder-L00-H00.png"]),
        ("-l 0 -H 0 --format png,svg --format pdf", [f"encoder-L00-H00.{end}" for end in ("png", "svg", "pdf")]),
        ("-l 0 -H 0 --linear --scale panel", ["encoder-L00-H00.png"]),
        ("-l 0-1 -H 0 --grid --scale panel", ["encoder-grid.png"]),
    ],
)
def test_selection_decides_on_pictures(options: str, names: list[str], run_cli: RunCli) -> None:
    done = run_cli("heatmap", "-t", "A cat.", *options.split())
    assert (done.code, drawn(done.out)) == (0, names), done.err


def test_an_encoder_decoder_has_three_kinds(run_cli: RunCli) -> None:
    done = run_cli("heatmap", "-m", "demo:seq2seq", "-t", "one two", "--target", "owt eno", "-H", "0")
    assert (done.code, done.err) == (0, "")
    assert drawn(done.out) == ["encoder-grid.png", "decoder-grid.png", "cross-grid.png"]
    done = run_cli("heatmap", "-m", "demo:seq2seq", "-t", "one two", "--kind", "cross", "--kind", "decoder", "-l", "0")
    assert sorted(drawn(done.out)) == [
        *("cross-L00-grid.png", "cross-L00-mean.png", "decoder-L00-grid.png", "decoder-L00-mean.png"),
    ]
    assert "no target given" in done.err


def test_pictures_come_in_the_order_of_the_texts_whatever_their_lengths(run_cli: RunCli) -> None:
    texts = [argument for text in ("a cat", "a very big cat", "a dog") for argument in ("-t", text)]
    done = run_cli("heatmap", *texts, "-l", "0", "-H", "1")
    assert drawn(done.out) == [f"T{text:03}-encoder-L00-H01.png" for text in range(3)]


def test_the_folder_is_named_by_what_was_asked_for_and_the_bytes_are_the_same(run_cli: RunCli) -> None:
    def once(*options: str) -> tuple[Path, bytes]:
        path = Path(run_cli("heatmap", "-t", TEXT, "-l", "0", "-H", "0", *options).out.strip())
        return path.parent, path.read_bytes()

    first, again = once(), once()
    assert first == again
    assert first[0].parts[:3] == ("outputs", "heatmap", "demo-encoder")
    assert once("--log")[0] != first[0]
    assert once("--out", "elsewhere") == (Path("elsewhere"), first[1])


def test_the_manifest_lists_every_file(run_cli: RunCli) -> None:
    done = run_cli("heatmap", "-t", TEXT, "-l", "0", "--out", "here", "--json", "--save-maps")
    manifest = json.loads(done.out)
    assert manifest == json.loads(Path("here/manifest.json").read_text())
    assert (manifest["schema"], manifest["command"], manifest["complete"]) == ("attncli.run/1", "heatmap", True)
    assert manifest["run"]["given"] == {"text": [TEXT], "layer": "0", "out": "here", "save-maps": True}
    assert manifest["run"]["resolved"]["layers"] == [[0, 0]]
    files = {entry["name"]: entry for entry in manifest["files"]}
    assert set(files) == {"encoder-L00-grid.png", "encoder-L00-mean.png", "maps.safetensors", "run.json"}
    for name, entry in files.items():
        data = Path("here", name).read_bytes()
        assert (entry["size"], entry["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())


def test_another_run_is_replaced_by_force_only(run_cli: RunCli) -> None:
    one = ("-l", "0", "-H", "0")
    assert run_cli("heatmap", "-t", TEXT, *one, "--out", "here").code == 0
    before = Path("here/encoder-L00-H00.png").read_bytes()
    refused = run_cli("heatmap", "-t", "Another text.", *one, "--out", "here")
    assert refused.code == 4
    assert refused.err.startswith("error: here contains another run (heatmap ")
    assert Path("here/encoder-L00-H00.png").read_bytes() == before
    assert run_cli("heatmap", "-t", TEXT, *one, "--out", "here").code == 0
    assert run_cli("heatmap", "-t", "Another text.", *one, "--out", "here", "--force").code == 0
    assert Path("here/encoder-L00-H00.png").read_bytes() != before


def size_of(picture: str) -> tuple[int, int]:
    width, height = struct.unpack(">II", Path(picture).read_bytes()[16:24])
    return width, height


# ---------------------------------------------------------------------------------------- long texts

LONG = " ".join(f"Animal {number} crossed the street." for number in range(45))
DECODER = ("-m", "demo:decoder", "-t", LONG)


def test_a_long_text_is_pooled_and_a_sentence_is_as_ever(run_cli: RunCli) -> None:
    done = run_cli("heatmap", *DECODER, "--resolution", "128", "-o", "long", "--max-memory", "2MB")
    assert (done.code, drawn(done.out), done.err) == (0, ["decoder-grid.png"], "")
    assert max(size_of("long/decoder-grid.png")) < 2500
    for place, options in (("plain", []), ("fits", ["--resolution", "20"]), ("smaller", ["--resolution", "3"])):
        assert run_cli("heatmap", "-t", "The cat sat on.", "-l", "0", "-H", "0", "-o", place, *options).code == 0
    plain, fits, smaller = (Path(place, "encoder-L00-H00.png") for place in ("plain", "fits", "smaller"))
    assert plain.read_bytes() == fits.read_bytes() != smaller.read_bytes()


@pytest.mark.parametrize(
    "options",
    [
        *(
            "-l 1 -H 0,1 --pool max --resolution 100",
            "-l 0 -H 3 --rows 200-300 --keys 0-150",
            "--rows 0-9 -l 0 -H 0,1 --grid",
        ),
        *(
            "-l 0 -H 0 --keys -1",
            "-l 0 -H 0 --rows -50--1 --linear",
            "-l 0-1 -H 0 --words --special drop --resolution 20",
        ),
        *("--aggregate mean --aggregate-layers mean --each --resolution 300", "-l 0 -H 0,1 --words --rows 20-40"),
    ],
)
def test_options_of_long_texts(options: str, run_cli: RunCli) -> None:
    done = run_cli("heatmap", *DECODER, *options.split(), "-o", "here", "--json")
    assert done.code == 0, done.err
    resolved = json.loads(done.out)["run"]["resolved"]
    assert {"rows", "keys", "resolution", "pool"} <= set(resolved)
    assert drawn("\n".join(f"here/{entry['name']}" for entry in json.loads(done.out)["files"]))


@pytest.mark.parametrize(
    "options",
    ["--resolution 32 -l 1 -H 2", "--rows 100-130 --keys 0-30 -l 1 -H 2", "-l 0 -H 0 --resolution 16 --pool max"],
)
def test_kept_maps_are_drawn_as_the_stream_is(options: str, run_cli: RunCli) -> None:
    text = ("-m", "demo:decoder", "-t", LONG)
    assert run_cli("heatmap", *text, *options.split(), "-o", "now").code == 0
    assert run_cli("heatmap", *text, *options.split(), "-o", "run", "--save-maps").code == 0
    assert attncli.open("run").attention().whole
    assert run_cli("heatmap", "--from", "run", *options.split(), "-o", "again").code == 0
    for path in Path("now").glob("*.png"):
        pictures = [np.asarray(Image.open(Path(place, path.name)), int) for place in ("now", "run", "again")]
        assert all(np.abs(picture - pictures[0]).max() <= 4 for picture in pictures)


def test_a_window_of_cross_attention_counts_targets_as_rows(run_cli: RunCli) -> None:
    words = ("-m", "demo:seq2seq", "-t", "one two three four", "--target", "eno owt", "--kind", "cross")
    assert run_cli("heatmap", *words, "--rows", "0-1", "--keys", "2-4", "-o", "here").code == 0
    assert "it has" in run_cli("heatmap", *words, "--rows", "40").err


# --------------------------------------------------------------------------------------------- again


def test_a_saved_run_is_drawn_again_to_the_byte(run_cli: RunCli) -> None:
    assert run_cli("heatmap", "-t", TEXT, "--save-maps", "--out", "run", "-l", "1", "-H", "2").code == 0
    done = run_cli("heatmap", "--from", "run", "-l", "1", "-H", "2", "--out", "again")
    assert (done.code, done.out) == (0, "again/encoder-L01-H02.png\n")
    assert Path("again/encoder-L01-H02.png").read_bytes() == Path("run/encoder-L01-H02.png").read_bytes()


@pytest.mark.parametrize("options", ["--maps-format npz", "--layout query,key,head", ""])
def test_kept_maps_hold_only_the_selection(options: str, run_cli: RunCli) -> None:
    assert (
        run_cli("heatmap", "-t", TEXT, "--save-maps", "-o", "run", "-l", "1,3", "-H", "2", *options.split()).code == 0
    )
    assert drawn(run_cli("heatmap", "--from", "run", "-l", "-1", "-H", "all").out) == ["encoder-L03-H02.png"]
    missing = run_cli("heatmap", "--from", "run", "-l", "2")
    assert missing.code == 2
    assert missing.err == "error: layer 2 does not exist: encoder has layers 1, 3\n"


def test_kept_maps_are_combined_and_read_by_words_later(run_cli: RunCli) -> None:
    assert run_cli("heatmap", "-t", "Unbelievable stories.", "-l", "0", "--save-maps", "--out", "run").code == 0
    now = run_cli("heatmap", "-t", "Unbelievable stories.", "-l", "0", "--words", "--aggregate", "mean", "-o", "now")
    then = run_cli("heatmap", "--from", "run", "-l", "0", "--words", "--aggregate", "mean", "-o", "then")
    assert (now.code, then.code) == (0, 0)
    assert size_of("now/encoder-L00-mean.png") == size_of("then/encoder-L00-mean.png")
    assert size_of("now/encoder-L00-mean.png") != (0, 0)


def test_combined_maps_can_not_be_unfolded(run_cli: RunCli) -> None:
    assert run_cli("heatmap", "-t", TEXT, "--save-maps", "-o", "run", "-l", "1", "--aggregate", "mean").code == 0
    assert drawn(run_cli("heatmap", "--from", "run", "-l", "1").out) == ["encoder-L01-mean.png"]
    refused = run_cli("heatmap", "--from", "run", "-H", "1")
    assert refused.err == (
        "error: --head cannot choose from the run of demo:encoder: it keeps only maps combined over heads\n"
    )
    assert run_cli("heatmap", "--from", "run", "--aggregate", "max").err == (
        "error: these maps are already the mean over heads, not the max\n"
    )


def test_maps_from_elsewhere_are_drawn(run_cli: RunCli) -> None:
    rng = np.random.default_rng(0)
    weights = rng.dirichlet(np.ones(3), size=(2, 4, 3)).astype(np.float32)
    np.savez("maps.npz", attention=weights)
    Path("tokens.txt").write_text("age\nheight\n$\\foo$\n", encoding="utf-8")
    axes = ("--axes", "layer,head,query,key")
    done = run_cli(
        "heatmap", "--from", "maps.npz", "--labels", "tokens.txt", *axes, "-l", "1", "-H", "3", "--kind", "decoder"
    )
    assert (done.code, drawn(done.out)) == (0, ["decoder-L01-H03.png"]), done.err
    wide = rng.dirichlet(np.ones(4), size=2).astype(np.float32)
    np.savez("wide.npz", one=wide, other=wide)
    for name, size in (("q", 2), ("k", 4)):
        Path(f"{name}.json").write_text(json.dumps([f"{name}{at}" for at in range(size)]))
    labels = ("--labels", "q.json", "--key-labels", "k.json")
    done = run_cli("heatmap", "--from", "wide.npz", *labels, "--array", "other")
    assert (done.code, drawn(done.out)) == (0, ["cross-grid.png"]), done.err
    assert run_cli("heatmap", "--from", "wide.npz", *labels).code == 2


def test_a_saved_run_is_drawn_without_torch_and_other_commands(run_cli: RunCli, tmp_path: Path) -> None:
    import subprocess
    import sys

    assert run_cli("heatmap", "-t", TEXT, "-l", "0", "-H", "0", "--save-maps", "--out", "run").code == 0
    code = "import sys; from attncli.cli import main; main(['heatmap', '--from', 'run']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    loaded = {*done.stdout.splitlines()[-1].split()}
    assert "torch" not in loaded
    assert {name for name in loaded if name.startswith("attncli.cli.commands.")} == {"attncli.cli.commands.heatmap"}


def test_generate_loads_the_head_that_writes_and_reads_prompt_and_answer_together(run_cli: RunCli) -> None:
    generated = ("-m", "demo:decoder", "-t", "The animal", "--generate", "4")
    done = run_cli("heatmap", *generated, "-l", "0", "-H", "0", "--save-maps", "--out", "here")
    assert (done.code, done.err) == (0, "note: text 0: the model generated: 's of the b'\n")
    run = attncli.open("here")
    assert run.info.cls == "LlamaForCausalLM"
    assert run.inputs[0].source.segments[-5:] == ("prompt", *["generated"] * 4)
