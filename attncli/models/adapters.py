"""Adapters (LoRA and others) as PEFT saves them: weights that are added to a base model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import PreTrainedModel
from transformers.utils.peft_utils import find_adapter_config_file

from attncli.errors import ModelError


def adapter_base(path: str, name: str, revision: str | None) -> str | None:
    """Return the base model that an adapter names; None if `path` is not an adapter.

    Raises `ModelError` if PEFT is not installed or the adapter names no base model.
    """
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
    """Load an adapter into its base model; raise ModelError if it belongs to another model."""
    report: Any = model.load_adapter(path, adapter_kwargs={"revision": revision})
    keys = sorted([*report.missing_keys, *report.unexpected_keys, *(key for key, *_ in report.mismatched_keys)])
    if keys:
        raise ModelError(
            f"adapter '{name}' does not fit {type(model).__name__}: {len(keys)} weights differ, the first is {keys[0]}"
        )
