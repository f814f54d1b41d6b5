"""A loaded model: the facts about it, and the ways to run it on text alone."""

import inspect
import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, PreTrainedConfig, PreTrainedModel

from attncli.data import Input, RunInfo
from attncli.data.cached import cached_property
from attncli.data.edits import Edit
from attncli.data.grouped_heads import GroupedHeads
from attncli.errors import ModelError
from attncli.models.checkpoint import weight_notes
from attncli.models.folders import SentenceModel
from attncli.models.gguf import GgufFile

_POSITIONS_AFTER_PADDING = re.compile(
    "roberta|xlm-roberta|xlm-roberta-xl|camembert|roberta-prelayernorm|xmod|longformer|mpnet|prophetnet|esm|ibert|"
    "data2vec-text|layoutlmv3|lilt|luke|mluke|altclip|ernie_m"
)
"""Model types that number positions from the padding index + 1: the first rows of their position table stay unused."""
_NO_TEXT = re.compile("audio|codec|image|protein|speech|vision|visual")
_version = cache(version)  # reads a file of 30 kB


@dataclass(frozen=True, eq=False)
class Loaded:
    """A model in eval mode with its tokenizers.

    tokenizer         None only for a model that the user passed without one
    target_tokenizer  the tokenizer of decoder texts
    name              hub id, folder, demo:NAME or class name
    class_reason      why the class that Transformers prefers for the model was not used; "" if it was
    initialised       weights that the checkpoint lacks: attention does not depend on them, other outputs do
    unused            weights of the checkpoint that belong to this stack, but that it does not use
    sentence          what sentence-transformers stores about it; the defaults for other models
    generation        the settings of its generation_config.json, as stored; None without one
    gguf              the GGUF file that it was loaded from, if any
    edits             changes of its attention, which every pass applies; the modules themselves are unchanged
    writer            a function of a text: its context gives the modules that generate after the text; None for `model`
    """

    model: PreTrainedModel
    tokenizer: Any
    target_tokenizer: Any
    name: str
    revision: str | None = None
    class_reason: str = ""
    initialised: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    sentence: SentenceModel = field(default_factory=SentenceModel)
    generation: Mapping[str, Any] | None = None
    gguf: GgufFile | None = None
    edits: tuple[Edit, ...] = ()
    writer: Callable[[Input], AbstractContextManager[Any]] | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know about the weights."""
        stored = self.gguf.notes(self.dtype) if self.gguf else ()
        return (*stored, *weight_notes(self.model, self.initialised, self.unused))

    @property
    def resolved_edits(self) -> dict[str, list[str]]:
        """What the results of a run record about its edits, a line for each; empty without edits."""
        return {"edits": [edit.spec for edit in self.edits]} if self.edits else {}

    @property
    def is_encoder_decoder(self) -> bool:
        """Whether the model has a decoder that reads text (those of MusicGen and Dia read audio codes)."""
        config = self.model.config
        reads_ids = "decoder_input_ids" in inspect.signature(self.model.forward).parameters
        decoders = [getattr(config, name, None) for name in ("decoder", "decoder_config", "text_config")]
        reads_codes = any(hasattr(part, "num_codebooks") or hasattr(part, "num_channels") for part in decoders)
        return bool(getattr(config, "is_encoder_decoder", False)) and reads_ids and not reads_codes

    @property
    def reads_both_ways(self) -> bool:
        """Whether the model is an encoder such as BERT: its tokens see those after them, so it cannot write text."""
        masked = type(self.model.config) in AutoModelForMaskedLM._model_mapping
        return masked and getattr(self.model.config, "is_decoder", None) is False and not self.is_encoder_decoder

    @property
    def has_writing_class(self) -> bool:
        """Whether the architecture has a class that continues texts, other than the class of this model."""
        return type(self.model.config) in AutoModelForCausalLM._model_mapping and not self.model.can_generate()

    @property
    def architecture(self) -> str:
        """The model type of the configuration, such as bert."""
        return str(self.model.config.model_type)

    @property
    def class_name(self) -> str:
        """The name of the class of the model."""
        return type(self.model).__name__

    @property
    def dtype(self) -> str:
        """The precision of the weights, such as float32."""
        return str(self.model.dtype).removeprefix("torch.")

    @property
    def device(self) -> torch.device:
        """The device of the embeddings, where inputs go; `device_map` may put later layers on other devices.

        Offloaded embeddings are on the device meta until they run: then the device where they run.
        """
        try:
            embeddings = self.model.get_input_embeddings()
            device = next(embeddings.parameters()).device
        except (NotImplementedError, AttributeError, StopIteration):
            embeddings, device = self.model, torch.device(self.model.device)
        return _execution_device(embeddings) or device if device.type == "meta" else device

    @property
    def max_positions(self) -> int | None:
        """The most tokens that the model can read, by its position table; None if its configuration sets no limit."""
        config = _text_config(self.model.config)
        if _has_no_limit(config):
            return None
        names = ("max_position_embeddings", "n_positions", "max_source_positions", "n_ctx", "max_seq_len")
        limits = [value for name in names if isinstance(value := getattr(config, name, None), int) and value > 0]
        if not limits:
            return None
        unused = (config.pad_token_id or 0) + 1 if _POSITIONS_AFTER_PADDING.fullmatch(config.model_type) else 0
        if getattr(config, "ngram", None):  # the n-gram streams of ProphetNet are one position ahead
            unused += 1
        # the lengths that rotary positions reach after scaling
        scaled = [
            int((rotary.get("original_max_position_embeddings") or 0) * (rotary.get("factor") or 0))
            for rotary in _rotary_parameters(config)
        ]
        return max([limits[0] - unused, *scaled])

    @cached_property
    def callers(self) -> list[tuple[str, Callable[..., Any]]]:
        """The ways to run the model on text alone, as (name, callable), the preferred one first.

        After the whole model come its parts that read token ids of text, but never a decoder without its encoder.
        """
        model: Any = self.model
        callers = [("forward", model)]
        if hasattr(model, "get_text_features"):
            callers.append(("get_text_features", model.get_text_features))
        two_stacks = bool(getattr(model.config, "is_encoder_decoder", False))
        for name, module in model.named_modules():
            is_text_model = name and isinstance(module, PreTrainedModel) and not _NO_TEXT.search(name)
            if is_text_model and _reads_ids(module) and not (two_stacks and "decoder" in name):
                callers.append((name, module))
        return callers

    def run_info(self, capture: str = "", grouped: GroupedHeads | None = None) -> RunInfo:
        """Return what the results of a run record about the model: the route of its capture, and its grouped heads."""
        names = ("attncli", "transformers", "torch", "tokenizers")
        return RunInfo(
            model=self.name,
            revision=self.revision,
            cls=self.class_name,
            architecture=self.architecture,
            dtype=self.dtype,
            device=str(self.device),
            capture=capture,
            tokenizer=type(self.tokenizer).__name__ if self.tokenizer is not None else "",
            versions={name: _version(name) for name in names},
            grouped_heads=grouped.entries if grouped else [],
        )


def _execution_device(module: torch.nn.Module) -> torch.device | None:
    """Return where accelerate runs a module whose weights it stores on a CPU or a disk; None if it does not."""
    hook = getattr(module, "_hf_hook", None)
    for part in (hook, *getattr(hook, "hooks", ())):
        if (device := getattr(part, "execution_device", None)) is not None:
            return torch.device(device)
    return None


def _text_config(config: PreTrainedConfig) -> PreTrainedConfig:
    """Return the part of the configuration that describes the reader of text; raise ModelError if it is none."""
    try:
        part: Any = config.get_text_config()
    except ValueError:  # two text configurations (MusicGen): the encoder reads the text
        part = config.get_text_config(encoder=True)
    if not isinstance(part, PreTrainedConfig):
        raise ModelError(f"config.json is wrong: its text part is {part!r:.60}, expected the configuration of a model")
    return part


def _has_no_limit(config: PreTrainedConfig) -> bool:
    """Return whether positions may exceed the configuration: they are distances, or rotary angles that adapt."""
    # the configurations of T5 state the length of their training texts; buckets of distances have no limit
    if getattr(config, "relative_attention_num_buckets", None) and not hasattr(config, "max_position_embeddings"):
        return True
    nested = getattr(config, "attn_config", None)
    alibi = getattr(config, "alibi", False) or getattr(nested, "alibi", False) or config.model_type == "bloom"
    return bool(alibi) or any(rotary.get("rope_type") == "dynamic" for rotary in _rotary_parameters(config))


def _rotary_parameters(config: PreTrainedConfig) -> list[Mapping[str, Any]]:
    """Return the parameters of rotary positions, one entry for each type of layer if they differ."""
    parameters = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    return [value for value in parameters.values() if isinstance(value, Mapping)] or [parameters]


def _reads_ids(module: PreTrainedModel) -> bool:
    if "input_ids" not in inspect.signature(module.forward).parameters:
        return False
    try:
        return isinstance(module.get_input_embeddings(), torch.nn.Module)
    except NotImplementedError:
        return any(isinstance(child, torch.nn.Embedding) for child in module.children())
