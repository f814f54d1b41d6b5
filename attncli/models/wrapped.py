"""The Transformers model inside of what users hold: compiled, parallel and adapted models, pipelines and others."""

from typing import Any

from torch import nn
from transformers import PreTrainedModel

from attncli.errors import ModelError, UsageError
from attncli.models.folders import pooling_modes

_INNER = {
    "OptimizedModule": "_orig_mod",
    "DataParallel": "module",
    "DistributedDataParallel": "module",
    "Pipeline": "model",
}
"""Classes around a model that change nothing in its attention, and their attribute that holds it."""
_MODULES = ("SentenceTransformer", "SparseEncoder", "CrossEncoder")
"""Modules of sentence-transformers, of which the first holds the model that reads the text."""
_REWRITES_INPUTS = ("XLORA", "POLY")
"""Adapters whose effect is computed from the whole input, outside of the base model."""


def unwrap(model: Any, tokenizer: Any = None) -> tuple[PreTrainedModel, Any]:
    """Return the Transformers model inside of an object, and the tokenizer that was given or that the object holds.

    Raise UsageError if there is none, or if the object changes what the model reads.
    """
    outer = model
    while not isinstance(model, PreTrainedModel):
        if tokenizer is None and not isinstance(model, str):
            tokenizer = getattr(model, "tokenizer", None)
        inner = inner_model(model)
        if inner is None or inner is model:
            raise UsageError(_problem(outer, model))
        model = inner
    return model, None if tokenizer is None else check_tokenizer(tokenizer)


def pooling_of(model: Any) -> tuple[str, ...]:
    """Return how an object makes one vector of those of the tokens, as the module Pooling in it says; mean without."""
    modules = model.modules() if isinstance(model, nn.Module) else []
    pooling = next((module for module in modules if type(module).__name__ == "Pooling"), None)
    return pooling_modes({} if pooling is None else pooling.get_config_dict())  # type: ignore[operator]


def check_tokenizer(tokenizer: Any) -> Any:
    """Return a tokenizer, or the one that a processor holds; raise UsageError if it is none."""
    tokenizer = getattr(tokenizer, "tokenizer", tokenizer)
    if not hasattr(tokenizer, "convert_ids_to_tokens"):
        raise UsageError(f"expected a Transformers tokenizer, got {type(tokenizer).__name__}")
    return tokenizer


def holds_model(value: Any) -> bool:
    """Return whether a value is a Transformers model or an object around one, and no name of a model."""
    return isinstance(value, nn.Module) or _is_known(value)


def inner_model(model: Any) -> Any:
    """Return the model that an object is around; None if it is around none."""
    classes = [cls.__name__ for cls in type(model).__mro__]
    for name in classes:
        if name in _INNER:
            return getattr(model, _INNER[name], None)
    if "PeftModel" in classes:
        _check_adapters(model)
        return model.get_base_model()
    if set(classes) & set(_MODULES):
        modules = model.modules() if isinstance(model, nn.Module) else [getattr(model, "model", None)]
        return next((module for module in modules if isinstance(module, PreTrainedModel)), None)
    return None


def _check_adapters(model: Any) -> None:
    """Raise UsageError if an active adapter does more than change layers of its base model."""
    for name in model.active_adapters:
        config = model.peft_config[name]
        kind = str(getattr(config.peft_type, "value", config.peft_type))
        if config.is_prompt_learning:
            problem = "puts vectors before the tokens, which the base model alone does not read"
        elif getattr(config, "alora_invocation_tokens", None) or kind in _REWRITES_INPUTS:
            problem = "depends on the whole input, which the base model alone does not know"
        else:
            continue
        raise UsageError(
            f"adapter '{name}' ({kind}) {problem}: its attention cannot be captured; pass "
            "model.get_base_model() for the attention without the adapter"
        )


def _problem(outer: object, model: Any) -> str:
    """Return why an object is no model, with the attribute to pass if one is a model."""
    kind = f"the class {outer.__name__}" if isinstance(outer, type) else type(outer).__name__
    expected = f"expected a Transformers model (PreTrainedModel), got {kind}"
    if isinstance(model, str):
        return f"{expected}: attncli.load({model[:60]!r}).run(text) loads a model by its name"
    found = (
        list(model.named_modules()) if isinstance(model, nn.Module) else list(getattr(model, "__dict__", {}).items())
    )
    path = next((name for name, value in found if isinstance(value, PreTrainedModel)), None)
    if path is None:
        path = next((name for name, value in found if _is_known(value)), None)
    if path is None and not isinstance(model, nn.Module):
        return f"{expected}; attncli.capture reads any torch.nn.Module"
    return f"{expected}; pass the model that it holds as {path}" if path else expected


def holds_transformers(module: nn.Module) -> bool:
    """Return whether a module has a Transformers model in it."""
    return any(isinstance(part, PreTrainedModel) for part in module.modules())


def _is_known(value: object) -> bool:
    return any(cls.__name__ in (*_INNER, *_MODULES, "PeftModel") for cls in type(value).__mro__)


def check_unsharded(model: Any) -> None:
    """Raise ModelError if the weights of a model are spread over processes: one process alone cannot run it."""
    modules = model.modules() if isinstance(model, nn.Module) else []
    for module in modules:
        names = {cls.__name__ for cls in type(module).__mro__}
        parameters = vars(module).get("_parameters", {}).values()
        spread = any(hasattr(part, "ds_id") or type(part).__name__ == "DTensor" for part in parameters)
        if spread or names & {"FullyShardedDataParallel", "FSDPModule"}:
            raise ModelError(
                "the weights are spread over processes (FSDP, DeepSpeed ZeRO-3, tensor parallel), and one process "
                "cannot run the model alone: measure saved checkpoints by attncli log"
            )
