"""Messages name options as flags in a command, and as arguments of the Python API in Python."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import attncli
from attncli import UsageError
from attncli.engine.request import RunOptions
from attncli.options import OutputOptions
from attncli.wording import as_arguments, named_as_flags

ONLY_IN_COMMANDS = {
    "--address",
    "--edit",
    "--engine",
    "--gpus-per-worker",
    "--threads",
    "--workers",
    "--edit-b",
    "--grid",
    "--module",
    "--inputs",
    "--each",
    "--no-pictures",
    "--record",
    "--tensorboard",
    "--logdir",
    "--baseline",
    "--probe",
    "--column",
    "--dataset",
    "--file",
    "--on-error",
    "--split",
    "--format",
    "--from",
    "--text-file",
}
"""Options in messages of studies that only a command reaches."""


def messages(folder: Path) -> Iterator[str]:
    """The texts in the code of the library that name an option; what is filled in is an ellipsis."""
    for path in sorted(folder.rglob("*.py")):
        if path.relative_to(folder).parts[0] == "cli" or path.name.endswith(("options.py", "wording.py")):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
        parts |= {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                yield "".join(part.value if isinstance(part, ast.Constant) else "…" for part in node.values)  # type: ignore[misc]
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
                yield node.value


def python_names() -> set[str]:
    """All arguments of public functions, and the fields of options."""
    functions = [attncli.load, attncli.open, attncli.capture, attncli.compare, attncli.log, attncli.mean]
    functions += [
        value for cls in (attncli.Model, attncli.Run) for _, value in inspect.getmembers(cls, inspect.isfunction)
    ]
    names = {name for function in functions for name in inspect.signature(function).parameters}
    options = (attncli.Thresholds, attncli.HeadsOptions, attncli.FlowOptions, attncli.Text, OutputOptions)
    names |= {field.name for cls in options for field in dataclasses.fields(cls)}
    return names | set(RunOptions.__annotations__) | set(attncli.PictureArguments.__annotations__)


def test_every_option_in_a_message_is_an_argument_in_python(repo: Path) -> None:
    known = python_names() | {"a saved run", "max_page", "aggregate…"}
    found = 0
    for message in messages(repo / "attncli"):
        flags = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", message))
        if not flags or flags <= ONLY_IN_COMMANDS or message.startswith((":root", "<!", "attncli ", "\n")):
            continue
        found += 1
        said = as_arguments(message)
        assert "--" not in said.replace("--…", ""), message
        for flag in flags - ONLY_IN_COMMANDS - {"--out", "--segments", "--save-maps", "--no-residual"}:
            (name,) = {re.sub("=.*", "", as_arguments(flag))}
            assert name in known, (flag, message)
    assert found > 80


@pytest.mark.parametrize(
    ("flags", "arguments"),
    [
        ("shorten it or pass --max-tokens 10 or a smaller --generate", "pass max_tokens=10 or a smaller generate"),
        ("--rows 5-8000 is outside the text", 'rows="5-8000" is outside the text'),
        ("unknown --by 'paragraf': did you mean 'paragraph'?", "unknown by 'paragraf': did you mean 'paragraph'?"),
        ("'it' is shown: --focus 'it#2' shows one", "focus='it#2' shows one"),
        ("leave out --words and --special drop", 'leave out words and special="drop"'),
        ("add --per-query", "add per_query=True"),
        ("expected --reach from 0 to 8 tokens", "expected reach from 0 to 8 tokens"),
        ("name a tokenizer with --tokenizer", "name a tokenizer with tokenizer=…"),
        ("run again with --by norm --save-maps", 'run again with by="norm" keep_maps=True'),
        ("--device cuda:3: there are only 2 CUDA devices", 'device="cuda:3": there are only 2 CUDA devices'),
        (
            "choose another folder with --out, or replace it with --force",
            "another folder, or replace it with force=True",
        ),
        ("the folder org--name has no config.json", "the folder org--name has no config.json"),
    ],
)
def test_a_message_of_a_command_is_advice_in_python(flags: str, arguments: str) -> None:
    said = as_arguments(flags)
    assert said.endswith(arguments)
    assert as_arguments(said) == said


def refused(call: Callable[[], Any]) -> str:
    with pytest.raises(UsageError) as error:
        call()
    return str(error.value)


def test_errors_and_notes_of_python_name_arguments_and_those_of_a_command_flags(run_cli: Any) -> None:
    model = attncli.load("demo:encoder")
    limit = "the model reads at most 512; shorten it or pass"
    assert refused(lambda: model.run("a " * 600)).endswith(f"{limit} max_tokens=512")
    assert f"{limit} --max-tokens 512" in run_cli("stats", "-t", "a " * 600).err
    memory = refused(lambda: model.run("a " * 200, max_memory="1kB").maps)
    assert memory.endswith(
        'keep less with layer=0, head=0, aggregate="mean", max_tokens=512, or allow more with max_memory=…'
    )
    (note,) = model.run("a cat", top_k=50).info.notes
    assert note.startswith("top_k=50 is more than the")
    error = UsageError("use --words")
    with named_as_flags():
        assert str(error) == "use --words"
    assert str(error) == "use words=True"
