"""Print the figures of the structure that docs/architecture.md names: `make metrics`."""

from __future__ import annotations

import ast
import io
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import FrameType

PACKAGE = Path(__file__).parents[2] / "attncli"
INNER = ("capturing", "data", "inputs", "metrics", "models", "stream")
"""Packages that compute attention and measures, and that a trace of the way to stats.json leaves out."""


def python_files() -> list[Path]:
    """Return all modules of the package."""
    return sorted(PACKAGE.rglob("*.py"))


def any_count() -> int:
    """Return how many annotations of the package say `Any`."""
    trees = (ast.parse(path.read_text(encoding="utf-8")) for path in python_files())
    return sum(isinstance(node, ast.Name) and node.id == "Any" for tree in trees for node in ast.walk(tree))


def files_per_study() -> dict[str, int]:
    """Return the number of files of each study: its folder, its command and its tests."""
    tests = PACKAGE.parent / "tests"
    counts = {}
    for folder in sorted(path.parent for path in PACKAGE.glob("studies/*/__init__.py")):
        own = [path for path in folder.rglob("*") if path.suffix in (".py", ".md", ".html", ".css")]
        command = list((PACKAGE / "cli" / "commands").glob(f"{folder.name}.py"))
        own_tests = [*(tests / "studies" / folder.name).rglob("test_*.py"), *tests.glob(f"*/test_{folder.name}.py")]
        counts[folder.name] = len([path for path in own if path.stat().st_size]) + len(command) + len(own_tests)
    return counts


class Trace:
    """A profiler that records the functions of the package that run on the way to a file."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.functions: Counter[str] = Counter()
        self.stack: list[str] = []

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        """Note a call; the stack is kept when the target is written."""
        if event != "call" or not (name := _function(frame)):
            return
        self.functions[name] += 1
        if name.endswith("write_bytes") and self.target in map(str, frame.f_locals.values()):
            self.stack = [*reversed(list(_functions_on_stack(frame)))]


def _function(frame: FrameType) -> str | None:
    """Return `package.module:function` of a frame outside the inner packages, None for all others."""
    path = Path(frame.f_code.co_filename)
    if not path.is_relative_to(PACKAGE) or path.relative_to(PACKAGE).parts[0] in INNER:
        return None
    if frame.f_code.co_name.startswith("<"):  # comprehensions, lambdas and class bodies
        return None
    return f"{'.'.join(path.relative_to(PACKAGE).with_suffix('').parts)}:{frame.f_code.co_name}"


def _functions_on_stack(frame: FrameType | None) -> Iterator[str]:
    while frame is not None:
        if name := _function(frame):
            yield name
        frame = frame.f_back


def trace_stats() -> Trace:
    """Return the trace of `attncli stats --text` to stats.json on the bundled encoder."""
    from attncli.cli import main

    run: Callable[[list[str]], int] = main
    here, trace = Path.cwd(), Trace("stats.json")
    arguments = ["stats", "--text", "The cat sat on the mat."]
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        os.chdir(folder)
        try:
            run(arguments)  # a first time, so that imports do not count
            sys.setprofile(trace)
            run([*arguments, "--out", "again"])
        finally:
            sys.setprofile(None)
            os.chdir(here)
    return trace


def main() -> None:
    """Print all figures."""
    files = python_files()
    sizes = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    largest = max(files, key=sizes.__getitem__)
    print(f"lines    {sum(sizes.values())}")
    print(f"modules  {len(files)}, the largest {largest.relative_to(PACKAGE.parent)} with {sizes[largest]} lines")
    print(f"Any      {any_count()}")
    trace = trace_stats()
    print(f"stats    {len(trace.stack)} functions from the command to stats.json: {' > '.join(trace.stack)}")
    print(f"         {len(trace.functions)} functions run outside {', '.join(INNER)}")
    for study, count in files_per_study().items():
        print(f"files    {count:3} {study}")


if __name__ == "__main__":
    main()
