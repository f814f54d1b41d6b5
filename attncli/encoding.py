"""From texts to what a model reads: token ids in batches of equal length, and what stands at each position."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from attncli.data import Input, Scheme, Text, Tokens
from attncli.errors import ModelError, UsageError
from attncli.models import Loaded

TOKENS_PER_BATCH = 4096
GENERATED_TARGET = 64
"""How many tokens a decoder may write itself where no target and no --generate is given."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Some texts as the model gets them.

    tensors      what the forward pass takes, on the model's device
    source_mask  [batch, source] bool: real tokens
    target_mask  [batch, target] bool, None for models of one stack
    notes        what the user should know, such as a target that the model wrote itself
    """

    inputs: tuple[Input, ...]
    tensors: Mapping[str, torch.Tensor]
    source_mask: torch.Tensor
    target_mask: torch.Tensor | None = None
    notes: tuple[str, ...] = ()

    @property
    def lengths(self) -> tuple[int, int | None]:
        """Padded source and target tokens."""
        return self.source_mask.shape[1], None if self.target_mask is None else self.target_mask.shape[1]


@dataclass(frozen=True, eq=False)
class _Encoded:
    input: Input
    tensors: dict[str, list[int]]
    notes: tuple[str, ...] = ()


def encode(
    loaded: Loaded, texts: Sequence[Text], *, max_tokens: int | None = None, generate: int = 0
) -> Iterator[Batch]:
    """Batches of texts with equally many tokens: no padding, so that each text gives exactly what it gives alone.

    Every text is checked before the first batch is made. Raises `UsageError` for empty and over-long texts.
    """
    if loaded.tokenizer is None:
        raise UsageError("this model was given without a tokenizer: pass one, or encoded inputs")
    encoded = [_encode_one(loaded, index, text, max_tokens, generate) for index, text in enumerate(texts)]
    groups: dict[tuple[int, ...], list[_Encoded]] = {}
    for one in encoded:
        groups.setdefault(tuple(len(ids) for ids in one.tensors.values()), []).append(one)
    for lengths, members in groups.items():
        step = max(1, TOKENS_PER_BATCH // max(lengths))
        for start in range(0, len(members), step):
            yield _collate(loaded, members[start : start + step])


def batch_of(loaded: Loaded, inputs: Mapping[str, Any]) -> Batch:
    """A batch from encoded inputs that the user holds: `input_ids`, and what else the forward pass takes."""
    if "input_ids" not in inputs:
        raise UsageError(f"expected encoded inputs with input_ids, got: {', '.join(map(str, inputs)) or 'nothing'}")
    tensors = {name: torch.as_tensor(value, device=loaded.device) for name, value in inputs.items()}
    ids = tensors["input_ids"]
    if ids.dim() != 2 or 0 in ids.shape:
        raise UsageError(f"expected input_ids of shape [batch, token], got {list(ids.shape)}")
    source_mask = _mask(tensors, "attention_mask", ids)
    target_mask = None
    if loaded.is_encoder_decoder:
        if "decoder_input_ids" not in tensors:
            raise UsageError("an encoder-decoder also needs decoder_input_ids in the encoded inputs")
        target_mask = _mask(tensors, "decoder_attention_mask", tensors["decoder_input_ids"])
    made = []
    for at in range(len(ids)):
        source = _bare_tokens(loaded.tokenizer, ids[at][source_mask[at]])
        target = None
        if target_mask is not None:
            target = _bare_tokens(loaded.target_tokenizer, tensors["decoder_input_ids"][at][target_mask[at]])
        made.append(Input(at, Text(source.text), source, target))
    return Batch(tuple(made), tensors, source_mask, target_mask)


def unpadded(batch: Batch) -> Iterator[Batch]:
    """The same texts without padding, those of equal length together.

    A model may number padded positions, or put weight on them; so padding never reaches it, and each text gives
    exactly what it gives alone.
    """
    masks = [mask for mask in (batch.source_mask, batch.target_mask) if mask is not None]
    if all(bool(mask.all()) for mask in masks):
        yield batch
        return
    groups: dict[tuple[int, ...], list[int]] = {}
    for row in range(len(batch.inputs)):
        groups.setdefault(tuple(_real_tokens(mask[row], row) for mask in masks), []).append(row)
    for lengths, rows in groups.items():
        sides = [torch.ones(len(rows), length, dtype=torch.bool, device=masks[0].device) for length in lengths]
        yield replace(
            batch,
            inputs=tuple(batch.inputs[row] for row in rows),
            tensors={name: _without_padding(name, tensor, batch, rows) for name, tensor in batch.tensors.items()},
            source_mask=sides[0],
            target_mask=sides[1] if len(sides) > 1 else None,
        )


def _real_tokens(mask: torch.Tensor, row: int) -> int:
    at = mask.nonzero().flatten().tolist()
    if not at or at[-1] - at[0] + 1 != len(at):
        what = "has no token" if not at else "leaves out tokens between others"
        raise UsageError(f"the attention mask of text {row} {what}; expected padding on the left or the right only")
    return len(at)


def _without_padding(name: str, tensor: torch.Tensor, batch: Batch, rows: list[int]) -> torch.Tensor:
    mask = batch.target_mask if name.startswith("decoder_") else batch.source_mask
    assert mask is not None
    if tensor.shape[:2] == mask.shape:
        return torch.stack([tensor[row][mask[row]] for row in rows])
    if tensor.dim() and len(tensor) == len(batch.inputs) and mask.shape[1] not in tensor.shape[1:]:
        return tensor[rows]
    raise UsageError(f"the padding cannot be taken out of {name} {list(tensor.shape)}; pass texts of equal length")


def _mask(tensors: Mapping[str, torch.Tensor], name: str, ids: torch.Tensor) -> torch.Tensor:
    mask = tensors.get(name)
    if mask is None:
        return torch.ones_like(ids, dtype=torch.bool)
    if mask.shape != ids.shape:
        raise UsageError(f"expected {name} of shape {list(ids.shape)} like the ids, got {list(mask.shape)}")
    return mask.bool()


def _bare_tokens(tokenizer: Any, ids: torch.Tensor) -> Tokens:
    numbers = ids.tolist()
    if tokenizer is None:
        return replace(Tokens.plain([str(number) for number in numbers]), ids=np.asarray(numbers))
    return _tokens(tokenizer, numbers, text=tokenizer.decode(numbers, skip_special_tokens=True))


# ------------------------------------------------------------------------------------------- one text


def _encode_one(loaded: Loaded, index: int, text: Text, max_tokens: int | None, generate: int) -> _Encoded:
    tensors, source = _encode_source(loaded, index, text, max_tokens)
    _check_length(loaded, index, len(source), max_tokens)
    if loaded.is_encoder_decoder:
        target, notes = _encode_target(loaded, index, text, tensors, max_tokens, generate)
        _check_length(loaded, index, len(target), max_tokens)
        tensors["decoder_input_ids"] = target.ids.tolist()
        return _Encoded(Input(index, text, source, target), tensors, notes)
    if generate:
        tensors, source = _append_generated(loaded, tensors, source, generate)
        _check_length(loaded, index, len(source), None)
    return _Encoded(Input(index, text, source), tensors)


def _encode_source(
    loaded: Loaded, index: int, text: Text, max_tokens: int | None
) -> tuple[dict[str, list[int]], Tokens]:
    tokenizer = loaded.tokenizer
    string, add_special = text.text, True
    if text.messages:
        string, add_special = _render_chat(tokenizer, text), False
    if not string.strip():
        raise UsageError(f"text {index} is empty; give at least one word")
    options: dict[str, Any] = {"add_special_tokens": add_special, "return_attention_mask": True}
    if getattr(tokenizer, "is_fast", False):
        options["return_offsets_mapping"] = True
    if max_tokens is not None:
        options |= {"truncation": True, "max_length": max_tokens}
    found = tokenizer(string, text.pair, **options) if text.pair is not None else tokenizer(string, **options)
    if not found["input_ids"]:
        raise UsageError(f"text {index} has no tokens for this tokenizer; give another text")
    tokens = _tokens(tokenizer, found["input_ids"], found, string)
    if text.messages:
        tokens = replace(tokens, segments=_chat_segments(tokenizer, text, string, tokens))
    tensors = {name: list(found[name]) for name in ("input_ids", "attention_mask", "token_type_ids") if name in found}
    return tensors, tokens


def _encode_target(
    loaded: Loaded,
    index: int,
    text: Text,
    tensors: dict[str, list[int]],
    max_tokens: int | None,
    generate: int,
) -> tuple[Tokens, tuple[str, ...]]:
    tokenizer = loaded.target_tokenizer
    if text.target is None:
        ids = _generate(loaded, tensors, generate or GENERATED_TARGET, option="--target")
        target = _tokens(tokenizer, ids, text=tokenizer.decode(ids, skip_special_tokens=True))
        return target, (f"text {index}: no target given, the model generated: {target.text!r}",)
    if not text.target.strip():
        raise UsageError(f"the target of text {index} is empty; leave --target out to let the model write one")
    options: dict[str, Any] = {} if max_tokens is None else {"truncation": True, "max_length": max_tokens}
    labels = list(tokenizer(text_target=text.target, **options)["input_ids"])
    ids = _shift_right(loaded, labels)
    return _tokens(tokenizer, ids, text=text.target), ()


def _shift_right(loaded: Loaded, labels: list[int]) -> list[int]:
    """What the decoder reads while it is taught these labels: a start token, then all but the last label."""
    shift = getattr(loaded.model, "prepare_decoder_input_ids_from_labels", None)
    try:
        if shift is not None:
            return list(shift(labels=torch.tensor([labels], device=loaded.device))[0].tolist())
    except (AttributeError, TypeError, ValueError):
        pass  # a configuration that names no start or padding token
    return [_start_token(loaded), *labels[:-1]]


def _start_token(loaded: Loaded) -> int:
    sources = (loaded.model.config, getattr(loaded.model, "generation_config", None), loaded.target_tokenizer)
    for name in ("decoder_start_token_id", "bos_token_id", "pad_token_id", "eos_token_id"):
        for source in sources:
            value = getattr(source, name, None)
            if isinstance(value, int):
                return value
    raise ModelError(f"model '{loaded.name}' names no token for its decoder to start with")


def _append_generated(
    loaded: Loaded, tensors: dict[str, list[int]], source: Tokens, count: int
) -> tuple[dict[str, list[int]], Tokens]:
    ids = _generate(loaded, tensors, count, option="--head causal-lm")
    new = len(ids) - len(source)
    tail = _tokens(loaded.tokenizer, ids[len(source) :])
    words = np.where(tail.words >= 0, tail.words + source.words.max(initial=-1) + 1, -1)
    prompt = source.segments if any(source.segments) else ("prompt",) * len(source)
    both = Tokens(
        pieces=source.pieces + tail.pieces,
        ids=np.concatenate([source.ids, tail.ids]),
        special=np.concatenate([source.special, tail.special]),
        offsets=np.concatenate([source.offsets, tail.offsets]),
        words=np.concatenate([source.words, words]),
        segments=prompt + ("generated",) * new,
        text=source.text,
        scheme=source.scheme,
    )
    more = {name: [*values, *([values[-1]] * new)] for name, values in tensors.items()}
    return {**more, "input_ids": ids}, both


def _generate(loaded: Loaded, tensors: dict[str, list[int]], count: int, option: str) -> list[int]:
    """Greedy continuation; for an encoder-decoder what its decoder read while writing (start token, no end token)."""
    model: Any = loaded.model
    if not model.can_generate():
        raise ModelError(f"{type(model).__name__} cannot generate text; give {option}")
    given = {name: torch.tensor([values], device=loaded.device) for name, values in accepted(model, tensors).items()}
    limit = loaded.max_positions
    room = count if limit is None else max(1, min(count, limit - 1))
    with torch.inference_mode():
        ids: list[int] = model.generate(**given, max_new_tokens=room, do_sample=False, num_beams=1)[0].tolist()
    ends = model.generation_config.eos_token_id
    if loaded.is_encoder_decoder and len(ids) > 1 and ids[-1] in (ends if isinstance(ends, list) else [ends]):
        ids = ids[:-1]
    return ids


def accepted(caller: Any, tensors: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs that a forward pass names; others would vanish in its keyword arguments or be refused."""
    named = inspect.signature(getattr(caller, "forward", caller)).parameters
    return {name: value for name, value in tensors.items() if name in named}


def _check_length(loaded: Loaded, index: int, tokens: int, max_tokens: int | None) -> None:
    limit = loaded.max_positions
    if limit is not None and tokens > limit and (max_tokens is None or max_tokens > limit):
        raise UsageError(
            f"text {index} has {tokens} tokens, the model reads at most {limit}; "
            f"shorten it or pass --max-tokens {limit}"
        )


# --------------------------------------------------------------------------------------------- tokens


def _tokens(tokenizer: Any, ids: Sequence[int], found: Any = None, text: str = "") -> Tokens:
    """What is known of each position; `found` is the tokenizer's own answer where there is one."""
    pieces = [str(piece) for piece in tokenizer.convert_ids_to_tokens(list(ids))]
    scheme = piece_scheme(tokenizer)
    special = np.isin(np.asarray(ids), list(tokenizer.all_special_ids))
    if getattr(tokenizer, "unk_token_id", None) is not None:
        special &= np.asarray(ids) != tokenizer.unk_token_id
    fast = found is not None and getattr(found, "encodings", None)
    offsets = found["offset_mapping"] if fast else [(-1, -1)] * len(pieces)
    sequence = found.sequence_ids() if fast else [None] * len(pieces)
    pair = 1 in sequence
    return Tokens(
        pieces=tuple(pieces),
        ids=np.asarray(ids),
        special=special,
        offsets=np.where(special[:, None], -1, np.asarray(offsets, dtype=np.int64).reshape(-1, 2)),
        words=_words(pieces, special, scheme, found if fast else None),
        segments=tuple("ab"[number] if pair and number is not None else "" for number in sequence),
        text=text,
        scheme=scheme,
    )


def piece_scheme(tokenizer: Any) -> Scheme:
    """How a tokenizer marks words and bytes in its pieces, read off its own parts."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    decoder = str(getattr(backend, "decoder", "")) + str(getattr(backend, "pre_tokenizer", ""))
    if "ByteLevel" in decoder:
        return "bytelevel"
    if "WordPiece" in decoder:
        return "wordpiece"
    if "Metaspace" in decoder or "▁" in decoder or hasattr(tokenizer, "sp_model"):
        return "metaspace"
    return "plain"


def _words(pieces: Sequence[str], special: np.ndarray[Any, Any], scheme: Scheme, found: Any) -> np.ndarray[Any, Any]:
    """Word numbers: the tokenizer's own, or by the marks in the pieces where it has none (sentencepiece)."""
    own = found.word_ids() if found is not None else [None] * len(pieces)
    if scheme != "metaspace" and any(number is not None for number in own):
        sides = found.sequence_ids()
        return _renumber([None if number is None else (side, number) for side, number in zip(sides, own, strict=True)])
    begins: Callable[[str], bool] = {
        "metaspace": lambda piece: piece.startswith("▁"),
        "bytelevel": lambda piece: piece.startswith(("Ġ", "Ċ")),
        "wordpiece": lambda piece: not piece.startswith("##"),
        "plain": lambda piece: True,
    }[scheme]
    numbers: list[Any] = []
    word, after_special = -1, True
    for piece, is_special in zip(pieces, special, strict=True):
        word += int(not is_special and (after_special or begins(piece)))
        numbers.append(None if is_special else word)
        after_special = bool(is_special)
    return _renumber(numbers)


def _renumber(keys: Sequence[Any]) -> np.ndarray[Any, Any]:
    numbers: dict[Any, int] = {}
    return np.asarray([-1 if key is None else numbers.setdefault(key, len(numbers)) for key in keys])


# ----------------------------------------------------------------------------------------------- chat


def _render_chat(tokenizer: Any, text: Text, turns: int | None = None) -> str:
    if not getattr(tokenizer, "chat_template", None):
        raise ModelError("this tokenizer has no chat template; give --text instead of --chat")
    messages = [dict(message) for message in text.messages[:turns]]
    try:
        return str(tokenizer.apply_chat_template(messages, tokenize=False))
    except Exception as error:  # templates are programs of the model's author and raise what they like
        raise UsageError(f"the model's chat template refuses these messages: {error}") from error


def _chat_segments(tokenizer: Any, text: Text, rendered: str, tokens: Tokens) -> tuple[str, ...]:
    """The role whose turn each piece belongs to, found by rendering the first 1, 2, … turns."""
    ends = []
    for turn in range(1, len(text.messages) + 1):
        try:
            part = _render_chat(tokenizer, text, turn)
        except UsageError:
            part = ""  # some templates accept no single turn: its pieces go to the next one that renders
        ends.append(_common_prefix(part, rendered))
    roles = [message["role"] for message in text.messages]
    return tuple(
        "" if start < 0 else next((role for role, end in zip(roles, ends, strict=True) if start < end), roles[-1])
        for start, _ in tokens.offsets.tolist()
    )


def _common_prefix(one: str, other: str) -> int:
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


# -------------------------------------------------------------------------------------------- batches


def _collate(loaded: Loaded, members: Sequence[_Encoded]) -> Batch:
    names = members[0].tensors
    tensors = {name: torch.tensor([one.tensors[name] for one in members], device=loaded.device) for name in names}
    target = tensors.get("decoder_input_ids")
    return Batch(
        inputs=tuple(one.input for one in members),
        tensors=tensors,
        source_mask=torch.ones_like(tensors["input_ids"], dtype=torch.bool),
        target_mask=None if target is None else torch.ones_like(target, dtype=torch.bool),
        notes=tuple(note for one in members for note in one.notes),
    )
