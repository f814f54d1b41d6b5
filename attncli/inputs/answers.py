"""A given answer: tokens that are appended to a text as if the model had written them."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from attncli.data.segments import GENERATED
from attncli.errors import UsageError
from attncli.inputs.batches import Batch
from attncli.inputs.partitions import PROMPT
from attncli.inputs.targets import ASSISTANT, append_tokens, check_length
from attncli.inputs.token_reader import TokenReader
from attncli.models import Loaded

_BEFORE = "a"
"""A word of one token, after which the tokens of an answer are those of a new word."""


def answer_ids(tokenizer: Any, answer: str, after_space: bool = False) -> list[int]:
    """Return the ids of an answer as the next word of a text, without special tokens.

    after_space  whether the text before it ends with a space: then it is not written with one of its own
    """

    def ids_of(text: str) -> list[int]:
        ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    if after_space or not answer[:1].isalnum():
        return ids_of(answer)
    before, both = ids_of(_BEFORE), ids_of(f"{_BEFORE} {answer}")
    return both[len(before) :] if both[: len(before)] == before else ids_of(answer)


def with_answer(loaded: Loaded, batch: Batch, answer: str) -> Batch:
    """Return a batch of one text with an answer after it, in the segment `generated`, for a decoder-only model.

    Raise UsageError if the model cannot read as many tokens, or if the text has generated tokens already.
    """
    (text,) = batch.inputs
    source = text.source
    if GENERATED in source.segments:
        raise UsageError("an answer takes the place of what the model writes: leave --generate out")
    messages = text.text.messages
    opens_turn = bool(messages) and messages[-1]["role"] != ASSISTANT
    after_space = opens_turn or source.text[-1:].isspace()
    ids = answer_ids(loaded.tokenizer, answer, after_space)
    if not ids:
        raise UsageError("--explain answer:TEXT has no tokens for this tokenizer; give another text")
    check_length(text.index, len(source) + len(ids), loaded.max_positions, what="with its answer ")
    tokens = TokenReader(loaded.tokenizer).tokens(ids)
    prompt = source.segments if any(source.segments) else (PROMPT,) * len(source)
    both = append_tokens(replace(source, segments=prompt), replace(tokens, segments=(GENERATED,) * len(tokens)))
    tensors = {
        name: torch.cat([values, values[:, -1:].expand(-1, len(ids))], 1) for name, values in batch.tensors.items()
    }
    tensors["input_ids"] = torch.from_numpy(np.array(both.ids)[None]).to(batch.tensors["input_ids"])
    mask = torch.ones_like(tensors["input_ids"], dtype=torch.bool)
    return replace(batch, inputs=(replace(text, source=both),), tensors=tensors, source_mask=mask)
