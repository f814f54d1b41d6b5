"""From option groups to a job."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from attncli.cli import inputs as _inputs
from attncli.cli.options import (
    DEFAULT_MODEL,
    LAYOUTS,
    MAPS_FORMATS,
    MODEL_HEADS,
    InputOptions,
    ModelOptions,
    OutputOptions,
    SavedRunOptions,
    SelectionOptions,
    typed,
)
from attncli.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from attncli.engine.collected import Collected
    from attncli.engine.invocation import Invocation, SharedPass
    from attncli.engine.request import Request, RunOptions


@dataclass(frozen=True)
class SharedModel(ModelOptions):
    """The options of a model that is loaded already, with the texts and the pass that several commands share."""

    held: SharedPass | None = field(default=None, compare=False)


Groups = tuple[ModelOptions, InputOptions, SelectionOptions, OutputOptions, SavedRunOptions]


def job_of(
    command: str,
    groups: Groups,
    own: dict[str, Any],
    more: dict[str, Any],
    asked: RunOptions,
    *,
    reads_text: bool = True,
) -> Invocation:
    """The job that these options mean, checked as far as that goes without a model.

    own    options of the command alone as they were typed; more: all of them that change its result
    asked  what it asks of the run beside the selection
    reads_text  whether there must be a text
    """
    from attncli.engine.invocation import Invocation, OutputSettings

    model, texts, selection, files, again = groups
    head, model_head = split_heads(selection.head, model.model_head)
    request = request_of(groups, head, asked)
    _check(files)
    given = typed(*groups) | own
    place = OutputSettings(files.out, files.force, files.save_maps, files.maps_format, files.layout)
    if again.from_ is not None:
        _alone(model, texts)
        return Invocation(command, _reopened(again, selection), request, (), place, more, given)
    if extra := typed(again):
        raise UsageError(f"--{next(iter(extra))} goes with --from, which is not given")
    source = load_arguments(model, head_for(model_head, texts))
    if isinstance(model, SharedModel) and model.held is not None:
        return Invocation(
            command, source, request, model.held.texts if reads_text else (), place, more, given, model.held
        )
    read = tuple(_inputs.read(texts)) if reads_text else ()
    return Invocation(command, source, request, read, place, more, given)


def head_for(model_head: str, texts: InputOptions) -> str:
    """With which head a model is loaded that is to read these texts."""
    return "auto-lm" if texts.generate and model_head == "auto" else model_head


def load_arguments(model: ModelOptions, model_head: str = "auto") -> dict[str, Any]:
    """The arguments of `attncli.load`."""
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


def request_of(groups: Groups, head: str | None, asked: RunOptions) -> Request:
    """What these options ask of a run, checked."""
    from attncli.engine.request import Request

    model, texts, selection, files, _ = groups
    options: dict[str, Any] = {
        "kind": _listed(selection.kind),
        "layer": selection.layer,
        "head": head,
        "aggregate": selection.aggregate,
        "aggregate_layers": selection.aggregate_layers,
        "words": selection.words,
        "special": selection.special,
        "max_tokens": texts.max_tokens,
        "generate": texts.generate,
        "batch_tokens": texts.batch_tokens,
        "max_memory": files.max_memory,
        "capture": model.capture,
    }
    return Request.of({**options, **asked})  # type: ignore[typeddict-item]


def _listed(values: list[str] | None) -> list[str] | None:
    return None if values is None else [name.strip() for value in values for name in value.split(",")]


def split_heads(given: list[str] | None, model_head: str) -> tuple[str | None, str]:
    """`--head` chooses heads by number; the name of a model's head there means `--model-head`."""
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


def _check(files: OutputOptions) -> None:
    if files.maps_format not in MAPS_FORMATS:
        raise UsageError(
            f"unknown --maps-format '{files.maps_format}': {did_you_mean(files.maps_format, MAPS_FORMATS)}"
        )
    if files.layout not in LAYOUTS:
        raise UsageError(f"unknown --layout '{files.layout}': {did_you_mean(files.layout, LAYOUTS)}")
    if not files.save_maps and typed(files).keys() & {"maps-format", "layout"}:
        raise UsageError("--maps-format and --layout say how --save-maps writes, which is not given")


def _alone(model: ModelOptions, texts: InputOptions) -> None:
    if extra := typed(model, texts):
        raise UsageError(f"--from takes the place of a model and a text: leave out --{next(iter(extra))}")


def _reopened(again: SavedRunOptions, selection: SelectionOptions) -> Collected:
    from attncli.engine.collected import open_saved

    kinds = _listed(selection.kind)
    kind: Any = kinds[0] if kinds and len(kinds) == 1 else None
    return open_saved(again.from_ or "", labels=again.labels, key_labels=again.key_labels, array=again.array, kind=kind)
