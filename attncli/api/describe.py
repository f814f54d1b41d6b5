"""What a model offers, as plain values."""

from typing import Any

from attncli.capturing import CapturePlan
from attncli.data import Kind
from attncli.models import Loaded
from attncli.wording import spelled


def describe_model(loaded: Loaded, capture_plan: CapturePlan) -> dict[str, Any]:
    """Return the attention, sizes and capture of a model: schema `attncli.info/1`."""
    info = loaded.run_info(capture_plan.route)
    return {
        "schema": "attncli.info/1",
        "model": info.model,
        "revision": info.revision,
        "class": info.cls,
        "class_reason": loaded.class_reason,
        "architecture": info.architecture,
        "parameters": sum(parameter.numel() for parameter in loaded.model.parameters()),
        **{name: getattr(info, name) for name in ("dtype", "device", "tokenizer")},
        "gguf": loaded.gguf.describe(loaded.dtype) if loaded.gguf else None,
        "max_positions": loaded.max_positions,
        "attention": [_describe_kind(capture_plan, kind) for kind in capture_plan.kinds],
        "capture": {"route": capture_plan.route, "reason": spelled(capture_plan.reason)},
        "initialised_weights": list(loaded.initialised),
        "unused_weights": list(loaded.unused),
        "refused": [{"layer": name, "reason": reason} for name, reason in capture_plan.refused],
        "versions": dict(info.versions),
    }


def _describe_kind(capture_plan: CapturePlan, kind: Kind) -> dict[str, Any]:
    sites = [site for site in capture_plan.sites if site.kind == kind]
    description: dict[str, Any] = {"kind": kind, "layers": sorted({site.layer for site in sites})}
    for name, attribute in (("heads", "heads"), ("key_value_heads", "kv_heads")):
        numbers = [getattr(site, attribute) for site in sites]
        description[name] = numbers[0] if len(set(numbers)) == 1 else numbers
    return description
