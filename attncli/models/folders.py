"""Where a model lies and what the files beside its weights say: bundled models, folders, hub ids, sentence models."""

import glob
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transformers.utils.hub import cached_file

from attncli.errors import ModelError, UsageError, did_you_mean
from attncli.paths import is_special, what_is_at

DEMO = Path(__file__).parent.parent / "demo"
DEMOS = ("demo:encoder", "demo:decoder", "demo:seq2seq", "demo:classifier")
_WEIGHT_FILES = (
    *("*.safetensors", "*.safetensors.index.json"),
    *("pytorch_model*.bin", "pytorch_model*.index.json"),
)
_QUIET = {f"_raise_exceptions_for_{what}": False for what in ("gated_repo", "missing_entries", "connection_errors")}
_MODULES = "modules.json"
_SILENT = ("Pooling", "Normalize", "Dropout")
"""Modules of sentence-transformers after the first that leave the angle between two pooled embeddings as it is."""
_POOLING = "pooling_mode_"
_SENTENCE_CONFIGS = ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")


@dataclass(frozen=True)
class SentenceModel:
    """What sentence-transformers stores about the model that reads the text.

    subfolder  folder with its config.json, "" for the folder of all modules
    limit      number of tokens to which texts are cut; None for no limit of its own
    pooling    how one vector is made of those of the tokens, such as mean; the vectors of several are joined
    changed    the class of a later module that changes this vector, "" for none
    """

    subfolder: str = ""
    limit: int | None = None
    pooling: tuple[str, ...] = ("mean",)
    changed: str = ""


def locate(name: str) -> str:
    """Return the folder or hub id of a model name; raise ModelError if a folder is missing or incomplete."""
    if not name.strip():
        raise UsageError("the model's name is empty; give a folder, a hub id or demo:encoder")
    if name.startswith("demo:"):
        if name not in DEMOS:
            raise ModelError(f"unknown demo model '{name}': {did_you_mean(name, DEMOS)}")
        return str(DEMO / name.removeprefix("demo:"))
    # unlike Path.expanduser, this leaves an unknown user as it is
    folder = Path(os.path.expanduser(name))  # noqa: PTH111
    try:
        found = what_is_at(folder)
    except UsageError as error:
        raise ModelError(f"model '{name}': {error}") from error
    if found == "folder":
        check_files(folder)
        gguf = next(iter(sorted(folder.glob("*.gguf"))), None)
        advice = f", or name {gguf}" if gguf else ""
        has_config = (folder / "config.json").is_file()
        if not has_config and not any((folder / file).is_file() for file in ("adapter_config.json", _MODULES)):
            problem = "has no config.json; give the folder that save_pretrained wrote"
            raise ModelError(f"model folder '{folder}' {problem}{advice}")
        if has_config and not any(any(folder.glob(pattern)) for pattern in _WEIGHT_FILES):
            problem = "has no weights; expected model.safetensors next to config.json"
            raise ModelError(f"model folder '{folder}' {problem}{advice}")
        return str(folder)
    if found == "nothing" and glob.has_magic(name):
        raise ModelError(
            f"'{name}' is a pattern of model folders, and one model is read here: give one folder. Commands that write "
            "files take a pattern as --model; in Python attncli.checkpoints lists the folders"
        )
    if found == "file" or name.startswith(("/", "./", "../", "~")) or name.count("/") > 1:
        what = "a file" if found == "file" else "nothing"
        raise ModelError(f"model '{name}': expected a folder with config.json, found {what}; give a folder or a hub id")
    return name


def check_files(folder: Path) -> None:
    """Raise ModelError if a model folder or a folder in it has a pipe or a device, whose reader may wait for ever."""
    special = next((path for path in (*folder.glob("*"), *folder.glob("*/*")) if is_special(path)), None)
    if special is not None:
        raise ModelError(f"model folder '{folder}': {special.relative_to(folder)} is a pipe or a device, not a file")


def place_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that say where the files of a model are: revision and subfolder."""
    return {name: options[name] for name in ("revision", "subfolder") if name in options}


def read_json(path: str, file: str, **options: Any) -> Any:
    """Return the content of a JSON file of a model, from its folder or the hub; None if the file does not exist.

    options  revision and subfolder
    """
    found = cached_file(path, file, **_QUIET, **options)
    if found is None:
        return None
    try:
        return json.loads(Path(found).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{file} of '{path}' is not valid JSON ({error})") from error


def local_folder(path: str, revision: str | None = None) -> Path | None:
    """Return the folder with the files of a model: its own, or the snapshot of a hub id in the cache; None without."""
    if Path(path).is_dir():
        return Path(path)
    found = cached_file(path, "config.json", revision=revision, local_files_only=True, **_QUIET)
    return None if found is None else Path(found).parent


def sentence_model(path: str, name: str, revision: str | None) -> SentenceModel | None:
    """Return what a model of sentence-transformers says about its first module; None for all other models.

    Raises `ModelError` if its first module is no Transformers model, or its limit no number.
    """
    modules = read_json(path, _MODULES, revision=revision)
    if not (isinstance(modules, list) and modules and all(isinstance(module, Mapping) for module in modules)):
        return None
    subfolder = str(modules[0].get("path", ""))
    if read_json(path, "config.json", revision=revision, subfolder=subfolder) is None:
        raise ModelError(
            f"model '{name}': its first module is {modules[0].get('type')}, which is no Transformers model: "
            f"there is no {subfolder or '.'}/config.json"
        )
    sentence = SentenceModel(subfolder, pooling=_pooling(path, modules, revision), changed=_changed(modules))
    for kind in _SENTENCE_CONFIGS:
        file = f"sentence_{kind}_config.json"
        settings = read_json(path, file, revision=revision, subfolder=subfolder)
        if isinstance(settings, Mapping):
            limit = settings.get("max_seq_length")
            if limit is not None and (type(limit) is not int or limit < 1):
                raise ModelError(f"model '{name}': max_seq_length in {file} is {limit!r}, expected a positive number")
            return replace(sentence, limit=limit)
    return sentence


def pooling_modes(settings: Any) -> tuple[str, ...]:
    """Return how a module Pooling of sentence-transformers makes one vector of those of the tokens: mean if unknown.

    >>> pooling_modes({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False})
    ('cls',)
    """
    given = settings if isinstance(settings, Mapping) else {}
    names = [
        name.removeprefix(_POOLING) for name, chosen in given.items() if name.startswith(_POOLING) and chosen is True
    ]
    one = given.get("pooling_mode")
    names = names or ([one] if isinstance(one, str) else [])
    return tuple(name.removesuffix("_token").removesuffix("_tokens") for name in names) or ("mean",)


def _pooling(path: str, modules: Sequence[Mapping[str, Any]], revision: str | None) -> tuple[str, ...]:
    """Return how the module Pooling of a model makes one vector of those of the tokens."""
    folder = next((str(module.get("path", "")) for module in modules if _class_of(module) == "Pooling"), None)
    if folder is None:
        return ("mean",)
    return pooling_modes(read_json(path, "config.json", revision=revision, subfolder=folder))


def _changed(modules: Sequence[Mapping[str, Any]]) -> str:
    """Return the class of the first module that changes pooled vectors, "" if none does."""
    return next((name for name in map(_class_of, modules[1:]) if name not in _SILENT), "")


def _class_of(module: Mapping[str, Any]) -> str:
    return str(module.get("type", "")).rpartition(".")[2]


def code_files(path: str, **options: Any) -> list[str]:
    """Return the Python files that would run for a model that brings code, as "FILE.py" or "FILE.py of OWNER/REPO".

    options  revision and subfolder
    """
    files = set()
    for file in ("config.json", "tokenizer_config.json"):
        settings = read_json(path, file, **options)
        for reference in _strings(settings.get("auto_map") if isinstance(settings, Mapping) else None):
            repository, _, code = reference.rpartition("--")
            files.add(code.split(".")[0] + ".py" + (f" of {repository}" if repository else ""))
    return sorted(files)


def _strings(values: Any) -> Iterator[str]:
    """Yield all strings in nested lists and dictionaries."""
    if isinstance(values, str):
        yield values
    elif isinstance(values, Mapping | list):
        for value in values.values() if isinstance(values, Mapping) else values:
            yield from _strings(value)
