"""`attncli run`: each step of a file writes what its command alone would write, and all steps share one pass."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from attncli.cli.config.shape import config, steps

if TYPE_CHECKING:
    from conftest import RunCli

TEXT = "The cat sat on the mat because it was warm."
LINES = "The cat sat on the mat.\nIt was warm."
ENTROPY = "stats: {metric: entropy}"
"""A step with one panel: the picture of all metrics takes a second."""
TWO_HEADS = ("--head", "0,1")
ALL = r"""
model: demo:decoder
text: "The cat sat on the mat.\nIt was warm."
head: 0,1
steps:
  - heatmap
  - stats: {metric: [entropy, sink], per-query: true}
  - view: {neurons: true}
  - patterns
  - flow
  - segments: {divide: line}
  - highlight: {focus: it, layer: 1, head: 0}
  - find: {query: it, key: 2-3}
"""


def written(text: str, name: str = "plan.yaml") -> str:
    Path(name).write_text(text, encoding="utf-8")
    return name


def files(folder: str | Path) -> dict[str, bytes]:
    """Everything below a folder but the manifests, which have times."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file() and path.name != "manifest.json"
    }


@pytest.fixture
def passes(run_cli: RunCli, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The lengths of all texts that the bundled decoder reads from here on, pass by pass; its probe came before."""
    from transformers import LlamaModel

    assert run_cli("stats", "-m", "demo:decoder", "-t", "One.", "-l", "0", "-H", "0", "--metric", "sink").code == 0
    lengths: list[int] = []
    forward = LlamaModel.forward

    def counted(self: Any, input_ids: torch.Tensor | None = None, **more: Any) -> Any:
        lengths.append(0 if input_ids is None else input_ids.shape[-1])
        return forward(self, input_ids=input_ids, **more)

    monkeypatch.setattr(LlamaModel, "forward", counted)
    return lengths


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The path of a file with many steps."""
    return written(ALL, str(tmp_path_factory.mktemp("plan") / "plan.yaml"))


def test_each_step_writes_what_its_command_alone_writes(plan: str, run_once: RunCli, run_cli: RunCli) -> None:
    done = run_once("run", plan, "-o", "all")
    assert done.code == 0
    steps = done.folder / "all/demo-decoder/000"
    model = ("-m", "demo:decoder", "-t", LINES)
    alone = {
        "heatmap": (),
        "stats": ("--metric", "entropy", "--metric", "sink", "--per-query"),
        "view": ("--neurons",),
        "patterns": (),
        "flow": (),
        "segments": ("--divide", "line"),
        "highlight": ("--focus", "it", "--layer", "1", "--head", "0"),
        "find": ("--query", "it", "--key", "2-3"),
    }
    for command, options in alone.items():
        selection = () if command == "highlight" else TWO_HEADS
        assert run_cli(command, *model, *selection, *options, "-o", command).code == 0
        own, same = files(steps / command), files(command)
        assert own.keys() == same.keys()
        for name in own:
            if name.endswith(".csv"):
                # the last of the six digits may differ
                pd.testing.assert_frame_equal(
                    pd.read_csv(steps / command / name),
                    pd.read_csv(f"{command}/{name}"),
                    rtol=2e-5,
                    atol=1e-6,
                )
            elif name.endswith((".png", ".svg")) and command in ("heatmap", "highlight", "flow"):
                assert own[name] == same[name], name


def test_the_model_reads_a_text_once_for_all_steps(run_cli: RunCli, passes: list[int]) -> None:
    few = ALL.replace("  - patterns\n", "  - patterns: {shuffles: 0}\n")
    assert run_cli("run", written(few), "-o", "few").code == 0
    tokens = json.loads(Path("few/demo-decoder/000/stats/stats.json").read_text())["inputs"][0]["queries"]
    assert passes == [len(tokens)]
    others = "  - stats: {metric: sink, profile: true, top-k: 2}\n  - flow: {format: svg}\n"
    assert run_cli("run", written(few[: few.index("  - heatmap")] + others), "-o", "others").code == 0
    assert passes == [len(tokens)] * 2


def test_what_would_not_fit_is_read_once_a_step_with_the_same_numbers(run_cli: RunCli, passes: list[int]) -> None:
    text = f"model: demo:decoder\ntext: {TEXT}\nsteps: [{ENTROPY}, heatmap, patterns: {{shuffles: 0}}]\n"
    assert run_cli("run", written(text), "-o", "kept").code == 0
    kept = len(passes)
    done = run_cli("run", written(f"{text}max-memory: 2kB\n"), "-o", "streamed")
    assert done.code == 2  # the page of all heads does not fit either, and says so
    done = run_cli("run", written(text.replace("heatmap, ", "") + "max-memory: 2kB\n"), "-o", "streamed", "--force")
    assert "allowed are 2 kB (--max-memory): each step reads the texts again" in done.err
    assert len(passes) > 2 * kept
    one, other = (pd.read_csv(f"{name}/demo-decoder/000/stats/stats.csv") for name in ("kept", "streamed"))
    pd.testing.assert_frame_equal(one, other, rtol=1e-5, atol=1e-6)


def test_several_models_and_inputs_make_a_matrix(run_cli: RunCli) -> None:
    Path("texts").mkdir()
    Path("texts/two.txt").write_text("One two three.\nFour five.\n")
    text = """
models: [demo:encoder, {model: demo:decoder, name: dec}]
inputs: [The cat sat., {file: two.txt, name: two, max-tokens: 5}]
layer: 0
steps: [stats: {metric: sink}, {stats: {metric: entropy, layer: 1, head: [0, 2]}}]
"""
    done = run_cli("run", written(text, "texts/plan.yaml"))
    assert done.code == 0
    (folder,) = Path("outputs/run/plan").iterdir()
    made = sorted(str(path.parent.relative_to(folder)) for path in folder.rglob("stats.csv"))
    steps = [
        f"{model}/{place}/{name}"
        for model in ("dec", "demo-encoder")
        for place in ("000", "two")
        for name in ("stats", "stats-2")
    ]
    assert made == steps
    rows = {step: pd.read_csv(folder / step / "stats.csv") for step in steps}
    assert set(rows["dec/two/stats"]["layer"]) == {0}
    assert rows["dec/two/stats-2"][["layer", "head"]].values.tolist() == [[1, 0], [1, 2]]
    assert set(rows["demo-encoder/two/stats"]["texts"]) == {2}
    assert sorted(done.out.splitlines()) == sorted(str(folder / name) for name in files(folder))


def test_the_manifest_lists_every_file(run_cli: RunCli) -> None:
    text = f"text: {TEXT}\nhead: 0\nsteps: [{ENTROPY}, heatmap]\nmodels: [demo:encoder, demo:decoder]"
    done = run_cli("run", written(text), "-o", "here", "--json")
    manifest = json.loads(done.out)
    assert manifest == json.loads(Path("here/manifest.json").read_text())
    assert (manifest["command"], manifest["complete"]) == ("run", True)
    assert manifest["run"]["model"] == "demo:encoder, demo:decoder"
    hashes = {entry["name"]: entry["sha256"] for entry in manifest["files"]}
    assert hashes == {name: hashlib.sha256(data).hexdigest() for name, data in files("here").items()}


def test_the_same_file_gives_the_same_bytes(
    plan: str, run_once: RunCli, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = run_once("run", plan, "-o", "all")
    before = files(done.folder / "all")
    monkeypatch.chdir(done.folder)
    assert run_cli("run", plan, "-o", "all").code == 0  # its own files are its own to replace
    assert files("all") == before


def test_what_is_typed_goes_before_the_file(run_cli: RunCli) -> None:
    steps = "steps: [stats: {layer: 1, metric: sink}]\nout: there"
    text = f"models: [demo:encoder, demo:seq2seq]\nlayer: 0\ninputs: [One., Two.]\n{steps}"
    done = run_cli("run", written(text), "-m", "demo:decoder", "-t", TEXT, "--layer", "2", "-o", "here")
    assert done.code == 0
    found = json.loads(Path("here/demo-decoder/000/stats/stats.json").read_text())
    assert (found["run"]["model"], found["inputs"][0]["text"]) == ("demo:decoder", TEXT)
    assert {head["layer"] for head in found["heads"]} == {2}
    assert not Path("there").exists()


def test_the_file_goes_before_what_is_so_by_default(run_cli: RunCli) -> None:
    text = f"model: demo:seq2seq\nkind: cross\ntext: {TEXT}\nsteps: [stats: {{layer: 1, metric: sink}}]\nout: there"
    assert run_cli("run", written(text)).code == 0
    found = json.loads(Path("there/demo-seq2seq/000/stats/stats.json").read_text())
    assert {(head["kind"], head["layer"]) for head in found["heads"]} == {("cross", 1)}


def test_variables_of_the_environment_stand_in_values(run_cli: RunCli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORDS", "Four words: are here.")
    assert (
        run_cli(
            "run", written("text: ${WORDS}\nmodel: ${M:-demo:encoder}\nsteps: [" + ENTROPY + "]"), "-o", "here"
        ).code
        == 0
    )
    found = json.loads(Path("here/demo-encoder/000/stats/stats.json").read_text())
    assert found["inputs"][0]["text"] == "Four words: are here."


def test_a_dry_run_says_what_would_be_done_and_does_nothing(run_cli: RunCli) -> None:
    done = run_cli("run", written(ALL), "-o", "here", "--dry-run")
    assert done.out.splitlines()[:2] == ["heatmap\there/demo-decoder/000/heatmap", "stats\there/demo-decoder/000/stats"]
    assert (done.code, Path("here").exists()) == (0, False)


def test_a_file_may_come_by_stdin(run_cli: RunCli) -> None:
    done = run_cli("run", "-", "-o", "here", stdin=f"text: {TEXT}\nsteps: [{ENTROPY}]")
    assert (done.code, Path("here/demo-encoder/000/stats/stats.csv").exists()) == (0, True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("text: a\nsteps: [heatmpa]", "line 2, column 9: unknown key 'heatmpa': did you mean 'heatmap'?"),
        ("txt: a\nsteps: [heatmap]", "line 1, column 1: unknown key 'txt': did you mean 'text'?"),
        ("text: a\nsteps:\n- stats: {metrik: x}", "line 3, column 11: unknown key 'metrik': did you mean 'metric'?"),
        ("text: a\nsteps:\n- stats: {metric: entrpy}", "line 3, column 19: unknown metric 'entrpy': did you mean"),
        ("text: a\nsteps:\n- stats: {top-k: x}", "line 3, column 18: expected 'top-k' to be a whole number, got 'x'"),
        ("text: a\nsteps:\n- heatmap\n  stats: {}", "is not YAML (line 4, column 8)"),
        ("text: a\nsteps:\n- {heatmap: {}, stats: {}}", "line 3, column 3: expected one command, got 2"),
        ("text: a\nsteps: []", "line 2, column 1: there are no steps: give some of "),
        ("text: a", "line 1, column 1: the key 'steps' is missing"),
        (
            "steps: [stats]",
            "line 1, column 1: there is no text to read: give text, file, text-file, chat, dataset or",
        ),
        ("text: a\ninputs: [b]\nsteps: [stats]", "line 1, column 1: text and inputs exclude each other"),
        ("model: a\nmodels: [b]\ntext: a\nsteps: [stats]", "line 1, column 1: model and models exclude each other"),
        ("inputs: [{file: none.txt}]\nsteps: [stats]", "line 1, column 17: no such file: none.txt"),
        ("inputs: [{name: ../a, text: b}]\nsteps: [stats]", "line 1, column 10: expected a name of letters"),
        ("text: a\nsteps: [stats: {name: x}, view: {name: x}]", "two steps are called 'x': give this one another"),
        ("models: [demo:encoder, demo:encoder]\ntext: a\nsteps: [stats]", "two models are called 'demo-encoder'"),
        ("text: a\nsteps: [compare]", "line 2, column 9: unknown key 'compare'"),
        ("text: !!python/name:os.system\nsteps: [stats]", "line 1, column 7: expected plain values, got the tag"),
        ("text: ${NO_SUCH_THING}\nsteps: [stats]", "the environment has no variable NO_SUCH_THING"),
        ("text: a\nchat: plan.yaml\nsteps: [stats]", "--text and --chat exclude each other"),
        ("", "plan.yaml is empty"),
    ],
)
def test_a_file_that_is_wrong_is_refused_in_a_line_and_nothing_is_written(
    run_cli: RunCli, text: str, said: str
) -> None:
    done = run_cli("run", written(text), "-o", "here")
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert said in done.err
    assert sorted(path.name for path in Path().iterdir()) == ["plan.yaml"]


def test_an_error_says_at_which_step_and_what_was_written_stays(run_cli: RunCli) -> None:
    text = f"text: {TEXT}\nsteps: [{ENTROPY}, highlight: {{focus: dog}}, heatmap]"
    done = run_cli("run", written(text), "-o", "here")
    assert done.code == 2
    assert "error: at demo-encoder/000/highlight: 'dog' does not occur in the text" in done.err
    assert {name.split("/")[2] for name in files("here")} == {"stats"}
    again = run_cli("run", "plan.yaml", "-o", "here")
    assert (again.code, again.err) == (2, done.err)  # its folder is its own, though it is not whole
    assert json.loads(Path("here/manifest.json").read_text())["complete"] is False


def test_a_head_that_does_not_exist_is_refused_before_anything_is_written(run_cli: RunCli) -> None:
    done = run_cli("run", written(f"text: {TEXT}\nlayer: 7\nsteps: [stats, heatmap]"), "-o", "here")
    assert (done.code, Path("here").exists()) == (2, False)
    assert "at demo-encoder/000: " in done.err


def test_the_folder_of_another_file_is_left_alone(run_cli: RunCli) -> None:
    assert run_cli("run", written(f"text: {TEXT}\nsteps: [{ENTROPY}]"), "-o", "here").code == 0
    before = files("here")
    done = run_cli("run", written(f"text: Other.\nsteps: [{ENTROPY}]"), "-o", "here")
    assert (done.code, files("here")) == (4, before)
    assert run_cli("run", written(f"text: Other.\nsteps: [{ENTROPY}]"), "-o", "here", "--force").code == 0
    assert files("here") != before


def test_what_all_steps_have_to_say_is_said_once(run_cli: RunCli) -> None:
    done = run_cli(
        "run", written(f"model: demo:seq2seq\ntext: one two\nhead: 0\nsteps: [{ENTROPY}, heatmap, flow]"), "-o", "here"
    )
    assert done.err == "note: text 0: no target given, the model generated: 'eno owt'\n"


def test_the_probe_of_patterns_needs_no_text(run_cli: RunCli) -> None:
    text = f"model: demo:decoder\ntext: {TEXT}\nsteps: [patterns: {{probe: repeated, length: 8, seeds: 1}}]"
    assert run_cli("run", written(text), "-o", "here").code == 0
    assert Path("here/demo-decoder/000/patterns/repeated.csv").exists()


def test_the_schema_for_editors_takes_what_the_program_takes(run_cli: RunCli, repo: Path) -> None:
    schema = json.loads(run_cli("explain", "config", "--json").out)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    validator.validate(yaml.safe_load(ALL))
    for path in (repo / "configs").glob("*.yaml"):
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        if "steps" in values:
            validator.validate(values)
    for wrong in ({"text": "a"}, {"text": "a", "steps": ["heatmpa"]}, {"txt": "a", "steps": ["stats"]}):
        assert not validator.is_valid(wrong)


def test_the_page_has_every_key(run_cli: RunCli) -> None:
    page = run_cli("explain", "config").out
    sections = [config(), *steps().values()]
    keys = {field.alias or name for found in sections for name, field in found.model_fields.items()}
    assert {key for key in keys if f"\n{key} " not in page} == set()


@pytest.mark.real
def test_the_config_of_a_chat_runs(run_cli: RunCli, repo: Path) -> None:
    done = run_cli("run", repo / "configs/chat.yaml", "--head", "0,1", "-o", "here", "--quiet")
    assert (done.code, done.err) == (0, "")
    made = [Path(line) for line in done.out.splitlines()]
    assert made
    for path in made:
        assert path.stat().st_size > 0
        if path.name == "stats.csv":
            assert np.isfinite(pd.read_csv(path)["entropy_normalized"]).all()


@pytest.mark.real
def test_the_long_context_that_comes_along_is_streamed(run_cli: RunCli, repo: Path) -> None:
    fewer = ("--max-tokens", "1024", "--head", "0,1")
    done = run_cli("run", repo / "configs/long-context.yaml", *fewer, "-o", "here")
    assert done.code == 0
    assert "each step reads the texts again" in done.err
    found = json.loads(Path("here/demo-decoder/000/stats/stats.json").read_text())
    assert len(found["inputs"][0]["queries"]) == 1024
    assert all(Path(line).stat().st_size > 0 for line in done.out.splitlines())
