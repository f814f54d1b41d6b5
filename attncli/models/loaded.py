"""A loaded model: what it says of itself, and the ways to run it from text alone."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from typing import Any

import torch
from transformers import PreTrainedModel

from attncli.data import RunInfo

_PADDED_POSITIONS = frozenset(
    [
        "roberta",
        "xlm-roberta",
        "xlm-roberta-xl",
        "camembert",
        "roberta-prelayernorm",
        "xmod",
        "longformer",
        "mpnet",
        "prophetnet",
        "esm",
        "ibert",
        "data2vec-text",
        "layoutlmv3",
        "lilt",
        "luke",
        "mluke",
        "altclip",
        "ernie_m",
    ]
)


@dataclass(frozen=True, eq=False)
class Loaded:
    """A model in eval mode with the tokenizers that make and name its tokens.

    tokenizer is None only for a model that its user handed over without one.
    """

    model: PreTrainedModel
    tokenizer: Any
    target_tokenizer: Any
    name: str
    revision: str | None = None

    @property
    def is_encoder_decoder(self) -> bool:
        """Whether a decoder of its own reads text too (MusicGen's and Dia's read codes of sound)."""
        config = self.model.config
        reads_ids = "decoder_input_ids" in inspect.signature(self.model.forward).parameters
        decoders = [getattr(config, name, None) for name in ("decoder", "decoder_config", "text_config")]
        codes = any(hasattr(one, "num_codebooks") or hasattr(one, "num_channels") for one in decoders)
        return bool(getattr(config, "is_encoder_decoder", False)) and reads_ids and not codes

    @property
    def architecture(self) -> str:
        return str(self.model.config.model_type)

    @property
    def device(self) -> torch.device:
        """Where inputs go: with the embeddings, which may lie elsewhere than the last layers (`device_map`)."""
        try:
            embeddings = self.model.get_input_embeddings()
            return next(embeddings.parameters()).device
        except (NotImplementedError, AttributeError, StopIteration):
            return torch.device(self.model.device)

    @property
    def max_positions(self) -> int | None:
        """How many tokens the model can read, None where its configuration sets no end."""
        return max_positions(self.model)

    @cached_property
    def callers(self) -> list[tuple[str, Callable[..., Any]]]:
        """The ways to run the model from text alone, in order of preference."""
        return list(_callers(self.model))

    def run_info(self, capture: str = "") -> RunInfo:
        """Where the results of a run of this model come from."""
        names = ("attncli", "transformers", "torch", "tokenizers")
        return RunInfo(
            model=self.name,
            revision=self.revision,
            cls=type(self.model).__name__,
            architecture=self.architecture,
            dtype=str(self.model.dtype).removeprefix("torch."),
            device=str(self.device),
            capture=capture,
            tokenizer=type(self.tokenizer).__name__ if self.tokenizer is not None else "",
            versions={name: version(name) for name in names},
        )


def max_positions(model: PreTrainedModel) -> int | None:
    """The longest input: rows of a learned position table, else what the configuration says; None for no end."""
    try:
        config = model.config.get_text_config()
    except ValueError:  # two text towers (MusicGen): the encoder is the one that reads the text
        config = model.config.get_text_config(encoder=True)
    if _without_end(config):
        return None
    names = ("max_position_embeddings", "n_positions", "max_source_positions", "n_ctx", "max_seq_len")
    limits = [value for name in names if isinstance(value := getattr(config, name, None), int) and value > 0]
    if not limits:
        return None
    # RoBERTa and its kin start counting behind the padding index, so that many rows of the table are never reached
    padded = config.model_type in _PADDED_POSITIONS
    ahead = 1 if getattr(config, "ngram", None) else 0  # ProphetNet's foretelling streams stand one place further
    limit = limits[0] - ahead - ((config.pad_token_id or 0) + 1 if padded else 0)
    return max([limit, *(_stretched(rotary) for rotary in _rotary(config))])


def _without_end(config: Any) -> bool:
    """Whether positions go on past any number that the configuration states: distances, or angles that adapt."""
    # T5's checkpoints state the length that they were taught with; their buckets of distances have no end
    if getattr(config, "relative_attention_num_buckets", None) and not hasattr(config, "max_position_embeddings"):
        return True
    own = getattr(config, "attn_config", None)
    alibi = getattr(config, "alibi", False) or getattr(own, "alibi", False) or config.model_type == "bloom"
    return bool(alibi) or any(rotary.get("rope_type") == "dynamic" for rotary in _rotary(config))


def _rotary(config: Any) -> list[Mapping[str, Any]]:
    """The parameters of rotary positions, of each type of layer where they differ."""
    found = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    nested = [value for value in found.values() if isinstance(value, Mapping)]
    return nested or [found]


def _stretched(rotary: Mapping[str, Any]) -> int:
    """How far rotary positions reach that were taught on shorter texts and stretched; 0 where nothing says so."""
    original, factor = rotary.get("original_max_position_embeddings"), rotary.get("factor")
    return int(original * factor) if original and factor else 0


_NO_TEXT = re.compile("audio|codec|image|protein|speech|vision|visual")


def _callers(model: PreTrainedModel) -> Iterator[tuple[str, Any]]:
    """The whole model, then its parts that read token ids of text; no decoder without its encoder."""
    yield "forward", model
    if hasattr(model, "get_text_features"):
        yield "get_text_features", model.get_text_features
    two_stacks = bool(getattr(model.config, "is_encoder_decoder", False))
    for name, module in model.named_modules():
        if not name or not isinstance(module, PreTrainedModel) or _NO_TEXT.search(name):
            continue
        if _reads_ids(module) and not (two_stacks and "decoder" in name):
            yield name, module


def _reads_ids(module: PreTrainedModel) -> bool:
    if "input_ids" not in inspect.signature(module.forward).parameters:
        return False
    try:
        return isinstance(module.get_input_embeddings(), torch.nn.Module)
    except NotImplementedError:
        return any(isinstance(child, torch.nn.Embedding) for child in module.children())
