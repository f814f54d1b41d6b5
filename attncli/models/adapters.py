"""Adapters (LoRA and others) as PEFT saves them: weights that go on top of a base model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import PreTrainedModel
from transformers.utils.peft_utils import find_adapter_config_file

from attncli.errors import ModelError


def adapter_base(path: str, name: str, revision: str | None) -> str | None:
    """The model that an adapter goes on top of, as its configuration names it; None where this is no adapter."""
    if (Path(path) / "config.json").is_file() or find_adapter_config_file(path, revision=revision) is None:
        return None
    try:
        from peft import PeftConfig
    except ImportError as error:
        raise ModelError(f"model '{name}' is an adapter: pip install \"attncli[adapters]\" to load it") from error
    base: str | None = PeftConfig.from_pretrained(path, revision=revision).base_model_name_or_path
    if not base:
        raise ModelError(f"adapter '{name}' names no base model: write base_model_name_or_path to adapter_config.json")
    return base


def load_adapter(model: PreTrainedModel, path: str, name: str, revision: str | None) -> None:
    """Load an adapter onto its base model; one that is of another model is a `ModelError`."""
    found: Any = model.load_adapter(path, adapter_kwargs={"revision": revision})
    wrong = sorted([*found.missing_keys, *found.unexpected_keys, *(key for key, *_ in found.mismatched_keys)])
    if wrong:
        raise ModelError(
            f"adapter '{name}' does not go on {type(model).__name__}: {len(wrong)} of its weights, {wrong[0]}"
        )
