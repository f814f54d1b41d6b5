"""One forward pass that several commands over the same texts share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from attncli.data import RunInfo, Text
from attncli.engine.invocation import SharedPass
from attncli.engine.progress import Track, untracked
from attncli.engine.request import Request
from attncli.engine.runner import Runner

_NAMES = ("model", "revision", "cls", "architecture", "dtype", "device", "capture", "tokenizer")


def share_pass(runner: Runner, texts: Sequence[Text], request: Request, track: Track = untracked) -> SharedPass:
    """Return one forward pass over texts with the maps that a request selects; without maps if they do not fit."""
    prepared = runner.prepare(texts, request, track)
    info = runner.info_of(prepared, texts)
    if problem := prepared.excess(at_once=True):
        info = replace(info, notes=(*info.notes, f"{problem}: each step reads the texts again"))
        return SharedPass(runner, tuple(texts), info)
    return SharedPass(runner, tuple(texts), info, runner.finish(prepared, texts, track))


def merge_infos(infos: Sequence[RunInfo]) -> RunInfo:
    """Return where the results of several runs come from; differing values are joined with commas."""
    names: dict[str, Any] = {}
    for name in _NAMES:
        values = list(dict.fromkeys(getattr(info, name) for info in infos))
        names[name] = values[0] if len(values) == 1 else ", ".join(str(value or "default") for value in values)
    return replace(infos[0], **names, notes=tuple(dict.fromkeys(note for info in infos for note in info.notes)))
