"""Whether blocks of attention are computed by compiled code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from attncli.data import Text
from attncli.engine.request import Request

LONG = 64_000
"""Characters of a text from which `auto` compiles: shorter texts are read before the compiler is done."""
CHARACTERS_OF_TOKEN = 4
"""How many characters count as a token where longer texts are cut."""
EDITED = "the attention of the model is edited"
OWN_ATTENTION = "the model computes its attention itself"


def with_compile(
    request: Request, texts: Sequence[Text], device: str, problem: str = "", uncompiled: str = ""
) -> Request:
    """Return the request with `compile` on or off, and a note if blocks that were to be compiled are not.

    `auto` depends on the texts and on the compiler, never on what was compiled before: the same command gives the same
    bytes.

    texts    the texts of a pass, if they are known
    device   where the model runs: auto, cpu, cuda, cuda:N or mps
    problem  why the attention of the model cannot be compiled
    uncompiled  passes of the study that are not compiled, for a note
    """
    if request.compile == "off":
        return request
    longest = max(map(_characters, texts), default=0)
    if request.max_tokens is not None:
        longest = min(longest, CHARACTERS_OF_TOKEN * request.max_tokens)
    if request.compile == "auto" and longest < LONG:
        return replace(request, compile="off")
    problem = problem or _compiler_problem(device)
    if not problem:
        notes = (f"{uncompiled} are not compiled",) if uncompiled else ()
        return replace(request, compile="on", compile_notes=(*request.compile_notes, *notes))
    note = f"attention is read without compiled code, which changes numbers by rounding only: {problem}"
    return replace(request, compile="off", compile_notes=(note,))


def _characters(text: Text) -> int:
    return len(text.text) + len(text.pair or "") + len(text.target or "")


def _compiler_problem(device: str) -> str:
    # imported here: the help of the command line needs no torch
    from attncli.capturing.compiled import compiler_problem
    from attncli.models.loading import device_named

    return compiler_problem(device_named(device))
