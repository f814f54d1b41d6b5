"""The package keeps the rules of docs/architecture.md; each rule is shown to fail on a breach."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import rules
from forking import ForkServer
from rules import Package

PACKAGE = Path(__file__).parent.parent / "attncli"
# Studies do not import each other, but for check, which uses the classes of patterns and the probe of repeated,
# prune, which uses the effects of importance, attribute, which uses rollout and writes coloured text as highlight, and
# faithfulness and view, which test and show what attribute computes; faithfulness blocks attention as knockout does.
USED_BY_CHECK = ("patterns", "repeated")
USED_BY_PRUNE = ("importance",)
USED_BY_ATTRIBUTE = ("flow", "highlight")
USED_BY_FAITHFULNESS = ("attribute", "knockout")
USED_BY_LOG = ("heads",)
USED = (*USED_BY_CHECK, *USED_BY_LOG, *USED_BY_PRUNE, *USED_BY_ATTRIBUTE, *USED_BY_FAITHFULNESS)
OTHER_STUDIES = sorted(
    path.parent.name
    for path in PACKAGE.glob("studies/*/__init__.py")
    if path.parent.name not in (*USED, "check", "faithfulness", "prune", "view")
)
# From the bottom up. A new package gets a layer here, or the first test fails.
LAYERS = (
    ("vocabulary",),
    ("wording", "shell"),
    ("errors", "process"),
    ("arguments", "layer_arguments", "options", "paths"),
    ("keras", "nn"),
    ("data",),
    ("registry", "corpus_options", "edit_options", "explain_options", "module_options", "saved_options"),
    ("models",),
    ("inputs",),
    ("store", "terminal", "plotting", "page", "stream"),
    ("metrics",),
    ("capturing",),
    ("engine",),
    ("studies",),
    tuple(f"studies.{name}" for name in USED_BY_CHECK),
    ("studies.check",),
    tuple(f"studies.{name}" for name in USED_BY_PRUNE),
    ("studies.prune",),
    tuple(f"studies.{name}" for name in USED_BY_ATTRIBUTE),
    tuple(f"studies.{name}" for name in USED_BY_FAITHFULNESS),
    ("studies.faithfulness", "studies.view"),
    tuple(f"studies.{name}" for name in USED_BY_LOG),
    tuple(f"studies.{name}" for name in OTHER_STUDIES),
    ("api",),
    ("integrations",),
    ("cli",),
    ("__init__", "__main__"),
)
KNOWN_ONLY_IN = {
    "transformers": ("models", "inputs", "capturing", "integrations"),
    "tensorboard": ("store",),
    "tokenizers": ("models", "inputs"),
    "huggingface_hub": ("models",),
    "accelerate": ("models",),
    "matplotlib": ("plotting", "studies.*.figures"),
    "seaborn": ("plotting", "studies.*.figures"),
    "safetensors": ("store", "models"),
    "jinja2": ("studies.*.html",),
    "yaml": ("inputs",),
    "peft": ("models",),
    "keras": ("keras",),
    "ray": ("engine.ray_cluster",),
    "typer": ("cli",),
    "click": ("cli",),
    "rich": ("cli", "terminal", "studies.*.terminal"),
}
NEVER_IN = (
    ("torch", "plotting"),
    ("torch", "page"),
    ("torch", "store"),
    ("torch", "studies.*.figures"),
    ("transformers", "metrics"),
    ("transformers", "stream"),
)
MAY_PRINT = ("cli", "__main__")
MAY_WRITE = ("store", "engine.publish", "plotting.render")
HEAVY_AT_START = (
    "torch",
    "transformers",
    "numpy",
    "pandas",
    "matplotlib",
    "seaborn",
    "pyarrow",
    "scipy",
    "sklearn",
    "captum",
    "keras",
    "pydantic",
    "tensorboard",
    "yaml",
)

LAYERS_OF_LIBRARIES = ("keras", "nn")
"""Packages with the same layer for several libraries, under the same name."""

NOT_IN_NAMES = (
    *("asked", "beside", "catch", "done", "even", "fold", "folded", "found", "grouping", "held", "job", "likeness"),
    *(
        "looked",
        "looking",
        "painted",
        "place",
        "places",
        "said",
        "say",
        "sight",
        "take",
        "taker",
        "talk",
        "there",
        "told",
    ),
)
"""Words that docs/glossary.md replaces by others, in names of modules and classes."""

Rule = Callable[[Package], list[str]]
RULES: dict[str, Rule] = {
    "imports point to lower layers": lambda p: rules.one_way(p, LAYERS),
    "no import cycles": rules.no_cycles,
    "only heavy packages are imported late": rules.late_only_if_heavy,
    "only cli prints": lambda p: rules.prints_only_in(p, MAY_PRINT),
    "only store writes files": lambda p: rules.writes_only_in(p, MAY_WRITE),
    "no work on import": rules.no_work_on_import,
    "names keep to the vocabulary": lambda p: rules.plain_names(p, NOT_IN_NAMES),
    "a name has one meaning": lambda p: rules.names_used_once(p, LAYERS_OF_LIBRARIES),
    "files have at most 300 lines": lambda p: rules.small_files(p, 300),
    "functions have at most 60 lines": lambda p: rules.small_functions(p, 60),
    **{
        f"{library} only in {', '.join(names)}": lambda p, library=library, names=names: rules.known_only_in(
            p, library, names
        )
        for library, names in KNOWN_ONLY_IN.items()
    },
    **{
        f"{name} never sees {library}": lambda p, library=library, name=name: rules.never_in(p, library, name)
        for library, name in NEVER_IN
    },
}


@pytest.fixture(scope="module")
def attncli_package() -> Package:
    return Package(PACKAGE)


@pytest.mark.parametrize("rule", RULES)
def test_the_package_keeps_the_rule(rule: str, attncli_package: Package) -> None:
    breaches = RULES[rule](attncli_package)
    assert not breaches, "\n".join(breaches)


def test_every_layer_has_modules(attncli_package: Package) -> None:
    packages = {attncli_package.layer_package(name, LAYERS) for name in attncli_package.modules}
    assert {name for layer in LAYERS for name in layer} == packages


def lines(count: int, indent: str = "") -> str:
    return "".join(f"{indent}x{number} = {number}\n" for number in range(count))


def module_path(name: str) -> str:
    return f"{name.replace('*', 'heads').replace('.', '/')}/x.py"


BROKEN: list[tuple[str, dict[str, str], str]] = [
    ("imports point to lower layers", {"attic.py": ""}, "attncli.attic has no layer"),
    ("imports point to lower layers", {"cli/__init__.py": "", "data.py": "import attncli.cli"}, "not below"),
    ("imports point to lower layers", {"data.py": "", "errors.py": "from . import data"}, "not below"),
    (
        "imports point to lower layers",
        {"plotting/grid.py": "def f():\n  from ..store import x", "store.py": ""},
        "attncli.plotting.grid:2 imports attncli.store",
    ),
    (
        "no import cycles",
        {"a.py": "from attncli import b", "b.py": "from attncli import a"},
        "attncli.a imports itself",
    ),
    ("no import cycles", {"a.py": "import attncli.b", "b.py": "def f():\n  import attncli.a"}, "attncli.b imports"),
    ("only heavy packages are imported late", {"a.py": "def f():\n  import json"}, "attncli.a:2 imports json"),
    (
        "only heavy packages are imported late",
        {"a.py": "class A:\n  def f(s):\n    import attncli.b", "b.py": ""},
        ":3",
    ),
    ("only cli prints", {"data.py": "def f():\n  print(1)"}, "attncli.data:2 prints (print)"),
    ("only cli prints", {"engine.py": "import sys\nf = sys.stdout.write"}, "sys.stdout"),
    ("only cli prints", {"clinic.py": "def f():\n  print(1)"}, "attncli.clinic:2"),
    ("only store writes files", {"data.py": "def f(p):\n  return open(p, 'w')"}, "open"),
    ("only store writes files", {"data.py": "def f(p, m):\n  return open(p, mode=m)"}, "open"),
    ("only store writes files", {"data.py": "def f(p):\n  return p.open('ab')"}, "p.open"),
    ("only store writes files", {"data.py": "def f(p):\n  p.write_text('')"}, "p.write_text"),
    ("only store writes files", {"data.py": "import os\ndef f(p):\n  os.replace(p, p)"}, "os.replace"),
    ("only store writes files", {"plotting/grid.py": "def f(fig):\n  fig.savefig('x')"}, "fig.savefig"),
    ("no work on import", {"data.py": "import os\nos.environ['A'] = '1'"}, "attncli.data:2"),
    ("no work on import", {"data.py": "import logging\nlogging.basicConfig()"}, "logging.basicConfig()"),
    ("no work on import", {"data.py": "for x in 'ab':\n  pass"}, "for x in"),
    ("names keep to the vocabulary", {"data.py": "class HeadLikeness:\n  pass"}, "'likeness' in 'HeadLikeness'"),
    ("names keep to the vocabulary", {"looking.py": ""}, "attncli.looking uses the word 'looking'"),
    ("a name has one meaning", {"a.py": "class A:\n  pass", "b.py": "class A:\n  pass"}, "attncli.a:1 and attncli.b:1"),
    ("a name has one meaning", {"nn/a.py": "class A:\n  pass", "nn/b.py": "class A:\n  pass"}, "attncli.nn.a:1 and"),
    ("files have at most 300 lines", {"data.py": lines(301)}, "attncli.data has 301 lines"),
    ("functions have at most 60 lines", {"data.py": "def f():\n" + lines(60, " ")}, "f has 61 lines"),
    ("functions have at most 60 lines", {"data.py": "class A:\n def f(s):\n" + lines(60, "  ")}, "f has 61 lines"),
    *(
        (f"{library} only in {', '.join(names)}", {"data.py": f"def f():\n  import {library}.x"}, "attncli.data:2")
        for library, names in KNOWN_ONLY_IN.items()
    ),
    *(
        (
            f"{name} never sees {library}",
            {f"{name.replace('*', 'heads').replace('.', '/')}/x.py": f"if TYPE_CHECKING:\n  import {library}"},
            f"{name.replace('*', 'heads')}.x:2",
        )
        for library, name in NEVER_IN
    ),
]


@pytest.mark.parametrize(("rule", "files", "said"), BROKEN)
def test_a_breach_is_found(rule: str, files: dict[str, str], said: str, tmp_path: Path) -> None:
    breaches = RULES[rule](write_package(tmp_path, files))
    assert any(said in breach for breach in breaches), breaches


def test_every_rule_is_shown_to_fail() -> None:
    assert {rule for rule, _, _ in BROKEN} == set(RULES)


KEPT = {
    "errors.py": '"""Doc."""\nfrom __future__ import annotations\nclass E(Exception):\n    """E."""\n',
    "data.py": "from typing import TYPE_CHECKING\nfrom attncli.errors import E\n"
    "if TYPE_CHECKING:\n    import torch\nSIZE: int = 3\nSIZE += 1\n"
    "def f():\n    import torch\n    return open('x').read() + open('y', 'rb').read()\n",
    "store.py": "def f(p):\n    p.write_text('')\n",
    "plotting/render.py": "import matplotlib\ndef f(fig):\n    fig.savefig('x')\n",
    "models.py": "import transformers\n",
    "engine.py": "import numpy\nfrom attncli import store, models\n",
    "cli/stats.py": "def f():\n    from attncli.engine import run\n    print(run)\n    os.open(os.devnull, 1)\n",
}


@pytest.mark.parametrize("rule", RULES)
def test_a_package_without_breaches_passes(rule: str, tmp_path: Path) -> None:
    assert RULES[rule](write_package(tmp_path, KEPT)) == []


def write_package(folder: Path, files: dict[str, str]) -> Package:
    for name, source in files.items():
        path = folder / "attncli" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source, encoding="utf-8")
    return Package(folder / "attncli")


# ------------------------------------------------------------------------------------------------ at run time


def python(code: str, *args: str, command: str = sys.executable) -> str:
    done = subprocess.run([command, "-c", code, *args], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


LOADED = """
import json, sys
{}
print("\\n" + json.dumps(sorted({{name.partition(".")[0] for name in sys.modules}})))
"""
HELP = """
import contextlib, io
from attncli.cli import main
with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.suppress(SystemExit):
    main(["--help"])
assert "heatmap" in said.getvalue()
"""


TOOLS = ("dev", "docs")
"""Extras of programs that the package does not import."""


def test_all_imports_are_dependencies_and_the_reverse(repo: Path, attncli_package: Package) -> None:
    project = tomllib.loads((repo / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    optional = project["optional-dependencies"]
    extras = [need for name, needs in optional.items() if name not in TOOLS for need in needs]
    declared = {re.split(r"[>=<!~\[; ]", need)[0] for need in [*project["dependencies"], *extras]}
    modules = attncli_package.modules.values()
    imported = {statement.target.partition(".")[0] for module in modules for statement in module.imports}
    called = {"sklearn": "scikit-learn", "umap": "umap-learn", "yaml": "pyyaml"}
    foreign = {called.get(name, name) for name in imported - sys.stdlib_module_names - {"attncli"}}
    assert declared - foreign == {"attncli"}  # the extra `all` is made of the other extras
    assert foreign - declared == {"tokenizers", "xarray"}  # a type that Transformers brings; `to_xarray`, which says so


@pytest.mark.parametrize("code", ["import attncli", HELP], ids=["import", "--help"])
def test_starting_loads_nothing_heavy(code: str) -> None:
    loaded = json.loads(python(LOADED.format(code)).splitlines()[-1])
    assert "attncli" in loaded
    assert set(HEAVY_AT_START) & set(loaded) == set()


# Third-party packages come first: what they change on import is theirs.
UNCHANGED = """
import importlib, json, logging, os, signal, sys, threading, warnings
import matplotlib, numpy, torch, transformers, transformers.modeling_utils, typer, rich
def state():
    return {
        "environment": dict(os.environ),
        "handlers": [repr(handler) for handler in logging.getLogger().handlers],
        "levels": {name: logging.getLogger(name).level for name in ("attncli", "transformers", "")},
        "warnings": [repr(entry) for entry in warnings.filters],
        "signals": {str(number): repr(signal.getsignal(number)) for number in signal.valid_signals()},
        "hooks": [repr(sys.excepthook), repr(sys.stdout), repr(sys.stderr), repr(sys.displayhook)],
        "style": {name: repr(value) for name, value in matplotlib.rcParams.items()},
        "torch": [torch.get_num_threads(), str(torch.get_default_dtype()), torch.is_grad_enabled()],
        "working folder": os.getcwd(),
        "threads": threading.active_count(),
    }
before = state()
for name in sys.argv[1:]:
    importlib.import_module(name)
after = state()
print(json.dumps([key for key in before if before[key] != after[key]]))
"""


def test_importing_every_module_changes_nothing_outside(attncli_package: Package, forks: ForkServer) -> None:
    # Keras reads and changes settings of its own when it is imported, and so does the layer that is one of its classes
    left_out = {"attncli.__main__", "attncli.keras.layer"}
    names = [name for name in attncli_package.modules if name not in left_out]
    assert json.loads(python(UNCHANGED, *names, command=forks.python).splitlines()[-1]) == []


# ------------------------------------------------------------------------------------------------ the repository

MACHINE_PATH = re.compile(r"(?<![\w.~}-])/(?:root/\w|(?:home/(?!me/)\w+|Users/\w+|tmp/\w+)/)")


def machine_paths(root: Path, files: list[str]) -> list[str]:
    """Lines of text files that name a path of somebody's machine."""
    return [
        f"{name}:{number} {line.strip()[:80]}"
        for name in files
        if b"\0" not in (raw := (root / name).read_bytes())
        for number, line in enumerate(raw.decode("utf-8", "replace").splitlines(), 1)
        if MACHINE_PATH.search(line)
    ]


def test_nothing_tracked_names_a_path_of_a_machine(repo: Path) -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=repo, capture_output=True, text=True, check=True)
    files = [name for name in listed.stdout.split("\0") if name and (repo / name).is_file()]
    assert "pyproject.toml" in files
    assert machine_paths(repo, files) == []


def test_a_path_of_a_machine_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text(f"see {os.sep}root/x and https://example.org/home/x/ or ../root/x\n")
    (tmp_path / "b.md").write_text("see https://example.org/home/x/ or ../root/x or src/root/x\n")
    assert machine_paths(tmp_path, ["a.md", "b.md"]) == [
        f"a.md:1 see {os.sep}root/x and https://example.org/home/x/ or ../root/x"
    ]
