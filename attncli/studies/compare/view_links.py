"""Commands and pages that show the texts that differ most: with `attncli view`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import numpy as np

from attncli.data import Array, Text
from attncli.engine.execution import Execution
from attncli.engine.request import Request
from attncli.shell import shell_line
from attncli.studies.view.options import ViewOptions
from attncli.studies.view.study import ViewStudy

if TYPE_CHECKING:
    from attncli.engine.runner import Runner

_LONGEST_TEXT = 100_000
"""Bytes of an argument that Linux accepts, with room for quotes."""
_NAMES = {
    "name": ("model", None),
    "revision": ("revision", None),
    "tokenizer": ("tokenizer", None),
    "target_tokenizer": ("target-tokenizer", None),
    "head": ("model-head", "auto"),
    "device": ("device", "auto"),
    "dtype": ("dtype", "auto"),
}
"""Options by argument of `load_runner`, with the value that needs no option."""


def view_command(arguments: Mapping[str, Any], request: Request, text: str, head: Sequence[Any]) -> str:
    """Return the command that shows a text with a model, opened at one head; it is safe to paste into bash or zsh.

    arguments  arguments of `load_runner`
    request    options of the pass that found the text
    head       kind, layer and head
    It is empty if a command line cannot carry the text or the model: there is a NUL character in it, half a surrogate,
    or too much text; the model is no name; or its edits take means over other texts.

    >>> print(view_command({"name": "demo:encoder"}, Request(), "it's $(here)", ("encoder", 1, 3)))
    attncli view --model=demo:encoder '--text=it'"'"'s $(here)' --kind=encoder --layer=1 --head=3
    """
    if not arguments.get("name") or "mean_texts" in arguments or not _fits(text):
        return ""
    parts = [
        f"--{name}={arguments[key]}" for key, (name, usual) in _NAMES.items() if arguments.get(key, usual) != usual
    ]
    parts += ["--trust-remote-code"] if arguments.get("trust_remote_code") else []
    parts += [f"--edit={line}" for line in arguments.get("edits", ())]
    parts += [f"--text={text}"]
    parts += [] if request.max_tokens is None else [f"--max-tokens={request.max_tokens}"]
    parts += ["--add-bos"] if request.add_bos else []
    kind, layer, number = head
    parts += [f"--kind={kind}"]
    parts += [] if isinstance(layer, str) else [f"--layer={layer}"]
    parts += [] if isinstance(number, str) else [f"--head={number}"]
    return shell_line(["attncli", "view", *parts])


def _fits(text: str) -> bool:
    try:
        return "\0" not in text and len(text.encode()) <= _LONGEST_TEXT
    except UnicodeEncodeError:
        return False


def with_commands(
    examples: Mapping[str, Array], sides: Mapping[str, Mapping[str, Any]], request: Request
) -> dict[str, Array]:
    """Return the table of texts with the commands that show them: `view` of its own side, or `view_a` and `view_b`.

    sides  arguments of `load_runner` of the models a and b
    """
    columns = dict(examples)
    readers = {f"view_{side}": [side] * len(examples["rank"]) for side in sides}
    if "side" in examples:
        readers = {"view": [side.lower() for side in examples["side"]]}
    for name, of_texts in readers.items():
        rows = zip(of_texts, examples["text"].tolist(), _heads(examples), strict=True)
        commands = [view_command(sides[side], request, text, head) for side, text, head in rows]
        columns[name] = np.array(commands, dtype=object)
    return columns


def with_pages(
    examples: Mapping[str, Array], runners: Mapping[str, Runner], request: Request, count: int
) -> tuple[dict[str, Array], dict[str, str]]:
    """Return the table of texts with links to the pages of the first of them, and these pages by file name.

    count  number of texts of each corpus that get a page, one for each model that reads them
    """
    links: dict[str, list[str]] = {}
    pages: dict[str, str] = {}
    two_corpora = "side" in examples
    for row, head in enumerate(_heads(examples)):
        sides = [examples["side"][row].lower()] if two_corpora else list(runners)
        for side in sides:
            rank, link = int(examples["rank"][row]), ""
            if rank <= count:
                name = f"views/{side}-{rank:02}" if two_corpora else f"views/{rank:02}-{side}"
                pages[name] = _page(runners[side], request, examples["text"][row])
                link = f"{name}.html#{_address(head)}"
            links.setdefault("page" if two_corpora else f"page_{side}", []).append(link)
    return {**examples, **{name: np.array(column, dtype=object) for name, column in links.items()}}, pages


def _page(runner: Runner, request: Request, text: str) -> str:
    """Return the page of one text."""
    study = ViewStudy(ViewOptions())
    wanted = replace(
        Request.of({**study.run_options()}),
        choice=request.choice,
        max_tokens=request.max_tokens,
        add_bos=request.add_bos,
        any_axes=True,
    )
    return study.run(Execution(wanted, (Text(text),), load=lambda: runner))[1].html


def _heads(examples: Mapping[str, Array]) -> Iterator[tuple[Any, ...]]:
    """Yield kind, layer and head of each text."""
    return zip(*(examples[name].tolist() for name in ("kind", "layer", "head")), strict=True)


def _address(head: Sequence[Any]) -> str:
    """Return the part of the address of a page that opens it at a head."""
    kind, layer, number = head
    numbers = {name: value for name, value in (("layer", layer), ("head", number)) if not isinstance(value, str)}
    return urlencode({"view": "head", "kind": kind, **numbers})
