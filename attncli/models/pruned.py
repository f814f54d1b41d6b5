"""Models without some of their heads, as folders that load: with zeros, in a smaller configuration, or irregular."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel

from attncli.arguments import checked
from attncli.errors import ModelError
from attncli.models.folders import check_files, locate
from attncli.models.load_errors import explain_load_error, quiet_transformers
from attncli.models.loaded import Loaded
from attncli.models.pruned_layers import PrunedLayer, cut, is_transposed, without_columns

PRUNING = "pruning.json"
SCHEMA = "attncli.pruning/1"
Files = dict[str, Mapping[str, Any]]
"""JSON documents by file name."""


def check_prunable(loaded: Loaded, layers: Sequence[PrunedLayer]) -> None:
    """Raise ModelError if the weights of the layers cannot be changed in a copy of the model."""
    model: Any = loaded.model
    if getattr(model, "_hf_peft_config_loaded", False):
        raise ModelError(f"{loaded.name} has an adapter: merge it into the base model (merge_and_unload) and save that")
    for layer in layers:
        weight = getattr(model.get_submodule(layer.projection), "weight", None)
        if not isinstance(weight, torch.Tensor) or weight.dim() != 2 or not weight.is_floating_point():
            raise ModelError(f"{loaded.name} cannot be saved without heads: {layer.projection} has packed weights")
        if weight.device.type == "meta":
            raise ModelError(f"{loaded.name} cannot be saved without heads: some of its weights are offloaded")


def save_zeroed(loaded: Loaded, layers: Sequence[PrunedLayer], folder: Path) -> Files:
    """Write the model with zeros in the columns of W_O of the removed heads; the model itself stays as it is.

    Return further files of the folder by name.
    """
    state = dict(loaded.model.state_dict())
    for layer in layers:
        module = loaded.model.get_submodule(layer.projection)
        name = f"{layer.projection}.weight"
        state[name] = without_columns(state[name], layer, is_transposed(module))
    return _save(loaded, loaded.model, folder, state)


def save_irregular(loaded: Loaded, layers: Sequence[PrunedLayer], folder: Path) -> Files:
    """Write the model without the removed heads, whose projections are cut.

    Return further files of the folder by name, among them which heads each layer has lost. Raise ModelError if heads
    cannot be cut out of a layer.
    """
    model = copy.deepcopy(loaded.model)
    for layer in layers:
        cut(model, layer)
    files = _save(loaded, model, folder)
    return {**files, PRUNING: {"schema": SCHEMA, "layers": [layer.values() for layer in layers]}}


def save_smaller(loaded: Loaded, layers: Sequence[PrunedLayer], folder: Path) -> Files:
    """Write the model with fewer heads in its configuration; all layers lose equally many key heads with their heads.

    Return further files of the folder by name. Raise ModelError if the configuration does not accept the number, see
    `smaller_config`.
    """
    groups = len(layers[0].groups)
    config = smaller_config(loaded.model, layers[0], groups)
    if config is None:
        raise ModelError(f"{type(loaded.model.config).__name__} accepts no {groups} key heads: use --form irregular")
    model: Any = copy.deepcopy(loaded.model)
    for layer in layers:
        cut(model, layer)
    model.config = config
    return _save(loaded, model, folder)


def smaller_config(model: PreTrainedModel, layer: PrunedLayer, groups: int) -> PreTrainedConfig | None:
    """Return the configuration of the model with fewer key heads in every layer; None if its class accepts it not.

    The class must accept the numbers, and the module that it makes must have the sizes of the cut one.
    """
    config: Any = model.config
    names = {"num_attention_heads": groups * (layer.heads // layer.kv_heads), "num_key_value_heads": groups}
    values = config.to_dict()
    width = _width(model.get_submodule(layer.projection))
    if any(name not in values for name in names) or getattr(config, "head_dim", None) is None:
        return None
    try:
        smaller = type(config).from_dict({**values, **names, "head_dim": config.head_dim})
        smaller.validate() if hasattr(smaller, "validate") else None
        with torch.device("meta"), quiet_transformers():
            made: Any = type(model)(smaller)
        made_width = _width(made.get_submodule(layer.projection))
    except Exception:  # configuration classes refuse numbers with errors of any kind
        return None
    return smaller if made_width * layer.kv_heads == width * groups else None


def _width(projection: Any) -> int:
    return int(projection.weight.shape[0 if is_transposed(projection) else 1])


def _save(loaded: Loaded, model: Any, folder: Path, state: Mapping[str, Any] | None = None) -> Files:
    with quiet_transformers():
        model.save_pretrained(folder, **({} if state is None else {"state_dict": dict(state)}))
        if loaded.tokenizer is not None:
            loaded.tokenizer.save_pretrained(folder)
    # the loaded model has only those settings that greedy generation reads
    return {} if loaded.generation is None else {"generation_config.json": dict(loaded.generation)}


@checked
def load_pruned(folder: str, **options: Any) -> PreTrainedModel:
    """Return the model in a folder of `attncli prune --save`, of any form, as a Transformers model in eval mode.

    options  further arguments of `from_pretrained`, such as `dtype` or `device_map`
    Raise ModelError if the folder holds no such model.
    """
    with explain_load_error(folder, folder, {}), quiet_transformers():
        check_files(Path(folder))
        path = locate(folder)
        config = AutoConfig.from_pretrained(path)
        cls = getattr(transformers, next(iter(config.architectures or []), ""), None)
        if cls is None:
            raise ModelError(f"{folder} names no class of Transformers in config.json: expected a saved model")
        settings = {"output_loading_info": True, "ignore_mismatched_sizes": True, **options}
        model, info = cls.from_pretrained(path, **settings)
        restore_cuts(model, path, info)
        if wrong := sorted(info.get("mismatched_keys") or []):
            raise ModelError(f"{folder}: {len(wrong)} weights have another shape than config.json says: {wrong[0][0]}")
    model.train(False)
    return model  # type: ignore[no-any-return]


def restore_cuts(model: PreTrainedModel, path: str, info: dict[str, Any]) -> None:
    """Cut the heads of pruning.json, if the folder has one, out of a loaded model, and load its weights there.

    info  loading information of Transformers, from which the weights of cut modules are removed
    Raise ModelError if pruning.json or a weight is damaged.
    """
    layers = _read_layers(Path(path) / PRUNING)
    if not layers:
        return
    from safetensors import safe_open

    parameters, own = set(dict(model.named_parameters())), dict(model.named_modules())
    cut_names: dict[str, str] = {}  # parameter of the model → its name in the file
    for layer in layers:
        module, projection = (_own_name(model, own, name) for name in (layer.module, layer.projection))
        if module is None or projection is None:  # a part that the class of this model leaves out
            continue
        left_out = layer.module.removesuffix(module) if layer.module.endswith(module) else ""
        added = len(module) - len(layer.module)
        changed = cut(model, replace(layer, module=module, projection=projection))
        cut_names |= {name: left_out + name[max(0, added) :] for name in changed if name in parameters}
    found: set[str] = set()
    for file in sorted(Path(path).glob("*.safetensors")):
        with safe_open(str(file), "pt") as tensors:
            keys = set(tensors.keys())
            for name, key in cut_names.items():
                if key in keys:
                    parameter, weight = model.get_parameter(name), tensors.get_tensor(key)
                    if parameter.shape != weight.shape:
                        raise ModelError(f"{PRUNING} does not fit the weights: {key} has another shape")
                    parameter.data = weight.to(parameter)
                    found.add(name)
    if missing := sorted(set(cut_names) - found):
        raise ModelError(f"{path} lacks {len(missing)} weights of the layers in {PRUNING}, the first is {missing[0]}")
    info["mismatched_keys"] = {
        entry for entry in info.get("mismatched_keys") or () if entry[0] not in (*cut_names, *cut_names.values())
    }


def _own_name(model: PreTrainedModel, own: Mapping[str, Any], stored: str) -> str | None:
    """Return the name of a stored module in a model, which may have another head or none; None if it has it not."""
    prefix = f"{model.base_model_prefix}."
    return next((name for name in (stored, stored.removeprefix(prefix), prefix + stored) if name in own), None)


def _read_layers(path: Path) -> list[PrunedLayer]:
    """Return the layers of pruning.json; empty without one."""
    if not path.is_file():
        return []
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["schema"] != SCHEMA:
            raise ValueError(f"unknown schema {document['schema']!r:.40}")
        return [PrunedLayer.of(layer) for layer in document["layers"]]
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path} is damaged ({type(error).__name__}): expected the schema {SCHEMA}") from error
