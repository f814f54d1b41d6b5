"""Several commands over the same texts: the model reads them once for all."""

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
    """One forward pass over texts, with the maps that the request chooses; without it where they would not fit."""
    prepared = runner.prepare(texts, request, track)
    info = runner.info_of(prepared, texts)
    if told := prepared.excess(at_once=True):
        info = replace(info, notes=(*info.notes, f"{told}: each step reads the texts anew"))
        return SharedPass(runner, tuple(texts), info)
    return SharedPass(runner, tuple(texts), info, runner.finish(prepared, texts, track))


def merge_infos(infos: Sequence[RunInfo]) -> RunInfo:
    """Where the results of several runs come from: where they differ, all of it."""
    names: dict[str, Any] = {}
    for name in _NAMES:
        values = list(dict.fromkeys(getattr(info, name) for info in infos))
        names[name] = values[0] if len(values) == 1 else ", ".join(str(value or "default") for value in values)
    return replace(infos[0], **names, notes=tuple(dict.fromkeys(note for info in infos for note in info.notes)))
