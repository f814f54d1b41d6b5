"""From option groups to an invocation: texts are read, options are checked, a saved run is opened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from attncli.cli.inputs import read_input
from attncli.errors import UsageError, did_you_mean
from attncli.options import (
    InputOptions,
    ModelOptions,
    OutputOptions,
    SavedRunOptions,
    SelectionOptions,
    typed,
)
from attncli.vocabulary import DEFAULT_MODEL, LAYOUTS, MAPS_FORMATS, MODEL_HEADS

if TYPE_CHECKING:
    from attncli.data import Text
    from attncli.engine.collected import Collected
    from attncli.engine.invocation import Invocation
    from attncli.engine.request import Request, RunOptions
    from attncli.engine.runner import SharedPass


@dataclass(frozen=True)
class SharedModel(ModelOptions):
    """Options of a model that is loaded already, with the texts and the pass that several steps share."""

    shared: SharedPass | None = field(default=None, compare=False)


@dataclass(frozen=True)
class CommonOptions:
    """The option groups that all studies share.

    given  the options that were typed, if a file sets some of the options too
    """

    model: ModelOptions
    texts: InputOptions
    selection: SelectionOptions
    output: OutputOptions
    saved: SavedRunOptions = field(default_factory=SavedRunOptions)
    given: Mapping[str, Any] | None = None

    @property
    def typed(self) -> dict[str, Any]:
        """Options that differ from their defaults, by the names that are typed."""
        if self.given is not None:
            return dict(self.given)
        return typed(self.model, self.texts, self.selection, self.output, self.saved)


def invocation_of(
    command: str,
    common: CommonOptions,
    own: Mapping[str, Any],
    resolved: Mapping[str, Any],
    run_options: RunOptions,
    texts: Sequence[Text] | None = None,
) -> Invocation:
    """Return the invocation that options mean, checked as far as that is possible without a model.

    own          options of the command alone as they were typed
    resolved     all options of the command that change its result
    run_options  options of the forward pass that the command needs, in addition to the selection
    texts        the texts if they need not be read; empty for a study that reads none
    Raise UsageError if options exclude each other or a text is wrong.
    """
    from attncli.engine.invocation import Invocation

    model, output, saved = common.model, common.output, common.saved
    head, model_head = split_heads(common.selection.head, model.model_head)
    request = request_of(common, head, run_options)
    _check_output(output)
    more: dict[str, Any] = {"output": output, "options": resolved, "typed": {**common.typed, **own}}
    if saved.from_ is not None:
        if extra := typed(model, common.texts):
            raise UsageError(f"--from takes the place of a model and a text: leave out --{next(iter(extra))}")
        return Invocation(command, _open_saved(saved, common.selection), request, **more)
    if extra := typed(saved):
        raise UsageError(f"--{next(iter(extra))} goes with --from, which is not given")
    source = load_arguments(model, model_head_for(model_head, common.texts))
    shared = model.shared if isinstance(model, SharedModel) else None
    if texts is None:
        texts = read_input(common.texts) if shared is None else shared.texts
    elif shared is not None:
        # the pass that the steps of a file share has read other texts
        shared = replace(shared, run=None)
    return Invocation(command, source, request, tuple(texts), shared=shared, **more)


def model_head_for(model_head: str, texts: InputOptions) -> str:
    """Return the head to load a model with, for texts that it may have to continue."""
    return "auto-lm" if texts.generate and model_head == "auto" else model_head


def load_arguments(model: ModelOptions, model_head: str = "auto") -> dict[str, Any]:
    """Return the arguments of `attncli.models.load`."""
    return {
        "name": DEFAULT_MODEL if model.model is None else model.model,
        "revision": model.revision,
        "tokenizer": model.tokenizer,
        "target_tokenizer": model.target_tokenizer,
        "head": model_head,
        "device": model.device,
        "dtype": model.dtype,
        "trust_remote_code": model.trust_remote_code,
    }


def request_of(common: CommonOptions, head: str | None, run_options: RunOptions) -> Request:
    """Return the checked options of the forward pass; `head`: the chosen head numbers."""
    from attncli.engine.request import Request

    model, texts, selection = common.model, common.texts, common.selection
    options: dict[str, Any] = {
        "kind": split_names(selection.kind),
        "layer": selection.layer,
        "head": head,
        "aggregate": selection.aggregate,
        "aggregate_layers": selection.aggregate_layers,
        "words": selection.words,
        "special": selection.special,
        "max_tokens": texts.max_tokens,
        "generate": texts.generate,
        "batch_tokens": texts.batch_tokens,
        "max_memory": common.output.max_memory,
        "capture": model.capture,
    }
    return Request.of({**options, **run_options})  # type: ignore[typeddict-item]


def split_names(values: list[str] | None) -> list[str] | None:
    """Return names that were typed with commas or repeatedly as one list."""
    return None if values is None else [name.strip() for value in values for name in value.split(",")]


def split_heads(given: list[str] | None, model_head: str) -> tuple[str | None, str]:
    """Return the head numbers of `--head`, and the model head: a name there means `--model-head`."""
    numbers = []
    for value in given or []:
        if value in MODEL_HEADS:
            if model_head not in ("auto", value):
                raise UsageError(f"--head {value} and --model-head {model_head} contradict each other: give one")
            model_head = value
        elif value != "all" and any(character.isalpha() for character in value):
            raise UsageError(
                f"unknown --head '{value}': expected head numbers such as all, 3, -1 or 0,2,5-7, or a model head; "
                f"{did_you_mean(value, MODEL_HEADS)}"
            )
        else:
            numbers.append(value)
    if model_head not in MODEL_HEADS:
        raise UsageError(f"unknown --model-head '{model_head}': {did_you_mean(model_head, MODEL_HEADS)}")
    if "all" in numbers:
        return "all", model_head
    return ",".join(numbers) or None, model_head


def _check_output(output: OutputOptions) -> None:
    if output.maps_format not in MAPS_FORMATS:
        raise UsageError(
            f"unknown --maps-format '{output.maps_format}': {did_you_mean(output.maps_format, MAPS_FORMATS)}"
        )
    if output.layout not in LAYOUTS:
        raise UsageError(f"unknown --layout '{output.layout}': {did_you_mean(output.layout, LAYOUTS)}")
    if not output.save_maps and typed(output).keys() & {"maps-format", "layout"}:
        raise UsageError("--maps-format and --layout say how --save-maps writes, which is not given")


def _open_saved(saved: SavedRunOptions, selection: SelectionOptions) -> Collected:
    from attncli.engine.collected import Collected

    kinds = split_names(selection.kind)
    kind: Any = kinds[0] if kinds and len(kinds) == 1 else None
    return Collected.open_saved(
        saved.from_ or "", labels=saved.labels, key_labels=saved.key_labels, array=saved.array, kind=kind
    )
