"""The start token (BOS) of texts, for models whose tokenizer adds none."""

from dataclasses import replace
from typing import Any

import numpy as np

from attncli.errors import UsageError
from attncli.inputs.targets import Encoded, append_tokens
from attncli.inputs.token_reader import TokenReader


def start_token(tokenizer: Any) -> int:
    """Return the id of the start token of a tokenizer; raise UsageError if it has none."""
    ids = (getattr(tokenizer, f"{role}_token_id", None) for role in ("bos", "cls"))
    number = next((number for number in ids if number is not None), None)
    if number is None:
        raise UsageError(
            f"--add-bos: {type(tokenizer).__name__} has no start token (bos_token, cls_token): leave it out, or write "
            "the token that the model expects at the beginning of the text"
        )
    return int(number)


def with_start(reader: TokenReader, start: int, item: Encoded) -> Encoded:
    """Return a text that begins with the start token; if it does so already, the text with a note."""
    source = item.input.source
    token = reader.tokens([start])
    if source.ids[0] == start:
        return replace(item, notes=(*item.notes, f"--add-bos: texts begin with {token.pieces[0]} already"))
    both = append_tokens(replace(token, text=source.text), source)
    # the start token has the mask and the segment of the first token
    tensors = {name: np.concatenate([values[:1], values]) for name, values in item.tensors.items()}
    tensors["input_ids"][0] = start
    return replace(item, input=replace(item.input, source=both), tensors=tensors)
