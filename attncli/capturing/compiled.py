"""The softmax of a block with the sums of its rows as one function, which `torch.compile` makes fused loops of."""

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
Sums = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
_COMPILERS = (os.environ.get("CXX", "g++"), "clang++")
ABSENT_SCORE = -1e4
"""Takes the place of scores below `LEAST_SCORE`: its exponential is 0, and 0 times it too."""


def softmax_sums(scores: Tensor, queries: Tensor, keys: Tensor) -> Sums:
    """Replace scores by raw weights r in place, and return the sums of each row.

    scores         [row, key] with masked ones at `MASKED_SCORE`; the rows of all heads and texts follow each other
    queries, keys  [row] and [key] positions, in the dtype of the scores
    Return the largest score of each row, Σ r, Σ r ln r, Σ r (j-i), and Σ r |j-i|: [row] each.
    """
    largest = scores.amax(-1)
    # a row without visible keys gets no weight
    relative = scores - largest.clamp_min(MASKED_SCORE / 10)[:, None]
    relative = torch.where(relative < LEAST_SCORE, ABSENT_SCORE, relative)
    raw, offset = torch.exp(relative), keys - queries[:, None]
    terms = raw, raw * relative, raw * offset, raw * offset.abs()
    total, log, offset_sum, distance = (term.sum(-1) for term in terms)
    scores.copy_(raw)
    return largest, total, log, offset_sum, distance


@cache
def compiled_softmax_sums() -> Callable[[Tensor, Tensor, Tensor], Sums]:
    """Return the compiled `softmax_sums`, one for numbers of rows and keys above 1.

    Compiled code asks for the number of threads when it runs, so that one kept on disk serves any number.
    """
    compiled: Callable[[Tensor, Tensor, Tensor], Sums] = torch.compile(
        softmax_sums, dynamic=True, fullgraph=True, options={"cpp.dynamic_threads": True, "compile_threads": 1}
    )
    return compiled


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
            scores = torch.linspace(-3, 3, 35, device=device).view(5, 7)
            weights, queries, keys = scores.softmax(-1), scores.new_zeros(5), scores.new_zeros(7)
            _, total, *_ = compiled_softmax_sums()(scores, queries, keys)
            right = torch.allclose(scores / total[:, None], weights, atol=1e-6)
            return "" if right else "compiled code gives other numbers"
    except Exception as error:  # compilers fail in any way
        return f"the compiler failed ({first_line(error)[:160]})"
