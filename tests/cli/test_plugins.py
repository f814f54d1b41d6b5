"""Packages that add metrics and studies: good ones get everything that ours have, broken ones only a warning."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from forking import ForkServer

METRIC = '''
"""A metric of another package."""

from attncli import Metric


def {name}(rows):
    """How much attention goes to the second key?

    Formula   A_i,1
    """
    weights = rows.weights
    return weights[..., 1].double() if weights.shape[-1] > 1 else weights[..., 0].double().fill_(float("nan"))


METRIC = Metric({name}, "row", "1", (0.0, 1.0), "nobody", ("encoder", "decoder", "cross"))
'''
STUDIES = '''
"""Studies that cannot be used."""

from dataclasses import dataclass
from typing import Annotated

from attncli.engine.study import Study
from attncli.options import option


@dataclass(frozen=True)
class Options:
    """No options."""


@dataclass(frozen=True)
class Clash:
    """An option that all studies have."""

    layers: str | None = option("Mine", "which layer", "--layer")


@dataclass(frozen=True)
class Unfinished(Study):
    """A study without methods."""

    name = "unfinished"
    group = Options


@dataclass(frozen=True)
class Complete(Study):
    """A study with methods."""

    options: object = Options()
    name = "other-name"
    group = Options

    def run(self, execution):
        raise NotImplementedError

    def report(self, result, run):
        raise NotImplementedError


@dataclass(frozen=True)
class Failing(Complete):
    """A study that fails."""

    name = "failing"


@dataclass(frozen=True)
class Clashing(Complete):
    """A study with an option of another group."""

    name = "clashing"
    group = Clash


@dataclass(frozen=True)
class Undocumented(Complete):
    name = "undocumented"


@dataclass(frozen=True)
class Heads(Complete):
    """A study that is called like one of ours."""

    name = "heads"
'''
FAILING_METRICS = '''
"""Metrics that fail on texts of fewer than 6 tokens."""

import types

from attncli import Metric


def fragile(rows):
    """How much attention goes to the sixth key?"""
    return rows.weights[..., 5].double()


def averaged(rows):
    """How large is a weight?"""
    weights = rows.weights.double().mean(-1)
    return weights if rows.weights.shape[-1] > 5 else weights.numpy()


def crowded(columns):
    """How much attention is there?"""
    mass = columns.mass.mean(-1)
    return mass if columns.mass.shape[-1] > 5 else mass[..., None, None]


FRAGILE, AVERAGED, CROWDED = (types.ModuleType(name) for name in ("fragile", "averaged", "crowded"))
FRAGILE.METRIC, AVERAGED.METRIC = Metric(fragile, "row"), Metric(averaged, "row")
CROWDED.METRIC = Metric(crowded, "column")
'''
FAILURES = {
    "fragile": "IndexError: index 5 is out of bounds",
    "averaged": "TypeError: expected a torch.Tensor, got ndarray",
    "crowded": "RuntimeError: expand",
}
BROKEN_METRICS = {
    "absent": ("no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
    "raising": ("raises", "ZeroDivisionError: division by zero"),
    "exiting": ("exits", "SystemExit: 1"),
    "bare": ("bare", "expected METRIC in bare to be an attncli.Metric, got NoneType"),
    "number": ("bare:NUMBER", "expected a module, got int"),
    "renamed": ("renamed", "expected the metric to be called 'renamed' as its entry point is, got 'other'"),
    "sink": ("second_key", "attncli has a metric of the same name"),
    "two words": ("second_key", "expected a name of letters, digits and _"),
}
BROKEN_STUDIES = {
    "gone": ("broken_studies:Gone", "AttributeError: module 'broken_studies' has no attribute 'Gone'"),
    "unfinished": ("broken_studies:Unfinished", "expected Unfinished to have the methods report, run"),
    "nameless": ("broken_studies:Complete", "expected Complete.name to be 'nameless' as the entry point is called"),
    "options": ("broken_studies:Options", "expected a subclass of attncli.engine.study.Study, got <class"),
    "clashing": ("broken_studies:Clashing", "expected options that no other option group has, got --layer twice"),
    "undocumented": ("broken_studies:Undocumented", "to have a docstring, which is the help of its command"),
    "heads": ("broken_studies:Heads", "attncli has a command of the same name"),
}


def unpack(site: Path, package: str, modules: dict[str, str], points: dict[str, dict[str, str]]) -> None:
    """Write what an installed package has: its modules, and its entry points by group as metadata."""
    metadata = site / f"{package}-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n", encoding="utf-8")
    text = ""
    for group, entries in points.items():
        text += "\n".join([f"[attncli.{group}]", *(f"{point} = {target}" for point, target in entries.items()), ""])
    (metadata / "entry_points.txt").write_text(text, encoding="utf-8")
    for module, source in modules.items():
        (site / f"{module}.py").write_text(source, encoding="utf-8")


@pytest.fixture(scope="module")
def good(repo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example of this repository, installed by pip, and a metric."""
    folder = tmp_path_factory.mktemp("good")
    example = shutil.copytree(repo / "examples" / "attncli-previous-word", folder / "example")
    options = ("--no-index", "--no-build-isolation", "--no-deps", "--quiet", "--target", folder / "site")
    command = [sys.executable, "-m", "pip", "install", *options, example]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    metric = {"second_key": METRIC.format(name="second_key")}
    unpack(folder / "site", "a-metric", metric, {"metrics": {"second_key": "second_key"}})
    return folder / "site"


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good metric and everything that can be wrong with a plugin, installed."""
    site = tmp_path_factory.mktemp("broken")
    modules = {
        "second_key": METRIC.format(name="second_key"),
        "renamed": METRIC.format(name="other"),
        "bare": "NUMBER = 1\nprint('printed while a plugin is loaded')\n",
        "raises": "1 / 0\n",
        "exits": "raise SystemExit(1)\n",
        "broken_studies": STUDIES,
        "failing": FAILING_METRICS,
    }
    metrics = {"second_key": "second_key", **{name: f"failing:{name.upper()}" for name in FAILURES}}
    metrics |= {**{name: target for name, (target, _) in BROKEN_METRICS.items()}}
    studies = {name: target for name, (target, _) in BROKEN_STUDIES.items()}
    studies["failing"] = "broken_studies:Failing"
    unpack(site, "trouble", modules, {"metrics": metrics, "studies": studies})
    return site


ONE_BY_ONE = """
import contextlib, io, json, sys
from attncli.cli import main
outputs = []
for args in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert main(args) == 0, args
    outputs.append(out.getvalue())
print(json.dumps(outputs))
"""


class Shell:
    """Runs attncli in processes that see the packages of a folder."""

    def __init__(self, site: Path, folder: Path, forks: ForkServer) -> None:
        path = os.pathsep.join(map(str, [site, Path(__file__).parents[2]]))
        self.environment = {**os.environ, "PYTHONPATH": path}
        self.folder, self.forks = folder, forks

    def python(self, *args: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Return how Python with these arguments ended; its exit code is 0."""
        done = subprocess.run(
            [self.forks.python, *args],
            env={**self.environment, **environment},
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done

    def __call__(self, *args: str) -> subprocess.CompletedProcess[str]:
        """Return how `attncli ARGS…` ended."""
        return self.python("-m", "attncli", *args)

    def outputs(self, *commands: tuple[str, ...]) -> list[str]:
        """Return what each of several commands prints on stdout; they run in one process and print nothing else."""
        done = self.python("-c", ONE_BY_ONE, json.dumps(commands))
        assert done.stderr == ""
        outputs: list[str] = json.loads(done.stdout)
        return outputs

    def completed(self, words: str) -> list[str]:
        """Return what the shell offers for the last of some words, without a message of any kind."""
        position = str(len(words.split()) - 1)
        variables = {"_ATTNCLI_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": position}
        done = self.python("-m", "attncli", **variables)
        assert done.stderr == ""
        return done.stdout.split()


TEXT = ("-t", "The cat sat on the mat.")
QUICK = ("-l", "0", "--format", "csv")


# ------------------------------------------------------------------------------------------------- good


def test_a_study_of_another_package_is_a_command_with_help_and_pages(
    good: Path, tmp_path: Path, forks: ForkServer
) -> None:
    attncli = Shell(good, tmp_path, forks)
    top, options, names, file_page, command_page = attncli.outputs(
        ("--help",),
        ("previous-word", "--help"),
        ("explain",),
        ("explain", "previous-word.json"),
        ("explain", "previous-word"),
    )
    assert "─ Plugins ─" in top
    assert "previous-word  Measure how much attention goes to the word before." in top
    assert all(option in options for option in ("--back", "--layer", "--from"))
    assert all(f"\n  {name} " in names for name in ("previous-word", "previous-word.json", "second_key"))
    assert "a baseline: the same under uniform attention" in file_page
    assert "Example: attncli previous-word" in command_page
    assert attncli.completed("attncli prev") == ["previous-word"]


def test_a_study_of_another_package_runs_alone_and_as_a_step(good: Path, tmp_path: Path, forks: ForkServer) -> None:
    (tmp_path / "plan.yaml").write_text(f"text: {TEXT[1]}\nsteps: [previous-word: {{back: 2, format: json}}]\n")
    printed, table, _, schema = Shell(good, tmp_path, forks).outputs(
        ("previous-word", *TEXT, "--back", "2", "--save-maps", "-o", "alone", "--json"),
        ("previous-word", "--from", "alone", "--back", "2", "--format", "parquet"),
        ("run", "plan.yaml", "-o", "plan"),
        ("explain", "config", "--json"),
    )
    document = json.loads(printed)
    assert document["schema"] == "attncli.previous-word/1"
    assert document["run"]["resolved"]["back"] == 2
    files = {path.name for path in (tmp_path / "alone").iterdir()}
    assert {"manifest.json", "previous-word.json", "previous-word.csv", "previous-word.png"} <= files
    assert [float(row["mass"]) for row in csv.DictReader(io.StringIO(table))] == pytest.approx(
        [head["mass"] for head in document["heads"]], rel=6e-6
    )
    step = json.loads((tmp_path / "plan/demo-encoder/000/previous-word/previous-word.json").read_text())
    assert [head["mass"] for head in step["heads"]] == pytest.approx([head["mass"] for head in document["heads"]])
    assert "how many words back" in schema


def test_a_metric_of_another_package_is_measured_and_explained(good: Path, tmp_path: Path, forks: ForkServer) -> None:
    attncli = Shell(good, tmp_path, forks)
    printed, page = attncli.outputs(("stats", *TEXT, *QUICK, "--json"), ("explain", "second_key"))
    document = json.loads(printed)
    assert document["metrics"]["second_key"]["question"] == "How much attention goes to the second key?"
    assert all(0 <= head["second_key"] <= 1 for head in document["heads"])
    assert "Formula   A_i,1" in page
    assert attncli.completed("attncli stats --metric second") == ["second_key"]


# ----------------------------------------------------------------------------------------------- broken


def warnings_of(stderr: str) -> dict[str, str]:
    """Return the warnings about plugins by name, each of which comes once."""
    lines = [line for line in stderr.splitlines() if line.startswith("warning: plugin ")]
    named = {line.split("'")[1]: line for line in lines}
    assert len(named) == len(lines)
    return named


@pytest.mark.parametrize(
    "args",
    [("--help",), ("explain",), ("stats", *TEXT, *QUICK), ("patterns", *TEXT, *QUICK)],
    ids=["help", "explain", "stats", "patterns"],
)
def test_broken_plugins_are_left_out_with_one_warning_each(
    args: tuple[str, ...], broken: Path, tmp_path: Path, forks: ForkServer
) -> None:
    done = Shell(broken, tmp_path, forks)(*args)
    warnings = warnings_of(done.stderr)
    expected = {f"attncli.studies {name}": reason for name, (_, reason) in BROKEN_STUDIES.items()}
    if args[0] in ("explain", "stats"):
        expected |= {f"attncli.metrics {name}": reason for name, (_, reason) in BROKEN_METRICS.items()}
    assert warnings.keys() == {place.partition(" ")[2] for place in expected}
    for place, reason in expected.items():
        group, _, name = place.partition(" ")
        assert f"plugin '{name}' of {group} (package trouble) is left out: " in warnings[name]
        assert reason in warnings[name]
    left_out = {*BROKEN_METRICS, *BROKEN_STUDIES} - {"sink", "heads", "number", "options"}
    assert [name for name in left_out if name in done.stdout.replace("(default", "")] == []
    assert "printed while" not in done.stdout
    assert ("second_key" in done.stdout) == (args[0] in ("explain", "stats"))


def test_broken_plugins_are_not_completed_and_quiet_is_quiet(broken: Path, tmp_path: Path, forks: ForkServer) -> None:
    attncli = Shell(broken, tmp_path, forks)
    assert attncli.completed("attncli stats --metric s") == [
        *("self_mass", "sink", "sink_position", "special_mass", "second_key")
    ]
    assert attncli.completed("attncli un") == []
    assert attncli.completed("attncli explain b") == ["block"]
    done = attncli("explain", "entropy", "--quiet")
    assert done.stdout.startswith("entropy\n")
    assert done.stderr.replace("printed while a plugin is loaded\n", "") == ""


def test_the_python_library_leaves_broken_metrics_out(broken: Path, tmp_path: Path, forks: ForkServer) -> None:
    code = "import attncli; run = attncli.load().run('The cat sat.'); print(*run.stats().heads)"
    done = Shell(broken, tmp_path, forks).python("-c", code)
    assert done.stdout.split()[-1] == "second_key"
    assert done.stderr.count("is left out") == len(BROKEN_METRICS)


FAILING = """
import json, sys
from attncli.cli import main
for name in json.loads(sys.argv[1]):
    assert main(["stats", "-t", "a cat", "--metric", name]) == 2
"""


def test_a_metric_that_fails_is_named_with_its_package(broken: Path, tmp_path: Path, forks: ForkServer) -> None:
    done = Shell(broken, tmp_path, forks).python("-c", FAILING, json.dumps(list(FAILURES)))
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == len(FAILURES)
    for line, (name, reason) in zip(lines, FAILURES.items(), strict=True):
        assert line.startswith(f"error: metric '{name}' of package trouble failed with {reason}")
        assert line.endswith("; choose other metrics, or repair the package")
    assert not Path(tmp_path, "outputs").exists()


def test_a_study_that_fails_is_named_with_its_package(broken: Path, tmp_path: Path, forks: ForkServer) -> None:
    run = "from attncli.cli import main; assert main(['failing', '-t', 'a cat']) == 2"
    done = Shell(broken, tmp_path, forks).python("-c", run)
    assert "error: study 'failing' of package trouble failed with NotImplementedError; repair the pack" in done.stderr
