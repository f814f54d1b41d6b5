"""The softmax of a block with the sums of its rows, of which `torch.compile` makes one fused loop."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec

import torch

from attncli.capturing.attention_call import LEAST_SCORE
from attncli.capturing.masks import MASKED_SCORE
from attncli.models.load_errors import first_line

Tensor = torch.Tensor
Sums = tuple[Tensor, Tensor, Tensor, Tensor]
KEYS = 4096
"""Most keys of a call of compiled code: for more, torch compiles sums that are exact but slow."""
_COMPILERS = (os.environ.get("CXX", "g++"), "clang++")
ABSENT_SCORE = -1e4
"""Takes the place of scores below `LEAST_SCORE`: its exponential is 0, and 0 times it too."""


def exp_sums(scores: Tensor, largest: Tensor, queries: Tensor, keys: Tensor) -> Sums:
    """Replace scores by raw weights r in place, and return sums over the keys of each row.

    scores         [row, key] with masked ones at `MASKED_SCORE`; the rows of all heads and texts follow each other
    largest        [row] the largest score of each row
    queries, keys  [row] and [key] positions, in the dtype of the scores
    Return Σ r, Σ r ln r, Σ r (j-i), and Σ r |j-i|: [row] each.
    """
    # a row without visible keys gets no weight
    relative = scores - largest.clamp_min(MASKED_SCORE / 10)[:, None]
    relative = torch.where(relative < LEAST_SCORE, ABSENT_SCORE, relative)
    raw, offset = torch.exp(relative), keys - queries[:, None]
    terms = raw, raw * relative, raw * offset, raw * offset.abs()
    total, log, offset_sum, distance = (term.sum(-1) for term in terms)
    scores.copy_(raw)
    return total, log, offset_sum, distance


@cache
def compiled_exp_sums() -> Callable[[Tensor, Tensor, Tensor, Tensor], Sums]:
    """Return the compiled `exp_sums`, one for 2 to `KEYS` keys and any number of rows above 1.

    Compiled code asks for the number of threads when it runs, so that one kept on disk serves any number.
    """
    compiled: Callable[[Tensor, Tensor, Tensor, Tensor], Sums] = torch.compile(
        exp_sums, dynamic=True, fullgraph=True, options={"cpp.dynamic_threads": True, "compile_threads": 1}
    )
    return compiled


def compiled_softmax(scores: Tensor, queries: Tensor, keys: Tensor) -> tuple[Tensor, ...]:
    """Replace scores by raw weights in place, and return the largest score and the sums of each row, as `exp_sums`.

    Sums over more than `KEYS` keys are added up from those of equal parts, which is also more exact.
    """
    largest, compute, count = scores.amax(-1), compiled_exp_sums(), scores.shape[1]
    step = -(-count // -(-count // KEYS))
    parts = [compute(scores[:, at : at + step], largest, queries, keys[at : at + step]) for at in range(0, count, step)]
    if len(parts) == 1:
        return largest, *parts[0]
    return largest, *(torch.stack(sums).sum(0) for sums in zip(*parts, strict=True))


@cache
def compiler_problem(device: torch.device) -> str:
    """Return why blocks cannot be compiled for a device, in one line; "" if they can.

    It compiles the function for a few numbers, unless its code is kept on disk.
    """
    if device.type == "cpu" and not any(map(shutil.which, _COMPILERS)):
        return "there is no C++ compiler, such as g++"
    if device.type == "cuda" and find_spec("triton") is None:
        return "Triton is not installed: pip install triton"
    try:
        with torch.inference_mode():
            scores = torch.linspace(-3, 3, 45, device=device).view(5, 9)[:, :7]  # as parts of more keys
            weights, queries, keys = scores.softmax(-1), scores.new_zeros(5), scores.new_zeros(7)
            _, total, *_ = compiled_softmax(scores, queries, keys)
            right = torch.allclose(scores / total[:, None], weights, atol=1e-6)
            return "" if right else "compiled code gives other numbers"
    except Exception as error:  # compilers fail in any way
        return f"the compiler failed ({first_line(error)[:160]})"
