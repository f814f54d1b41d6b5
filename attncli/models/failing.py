"""Whatever Transformers and the hub say of a model that does not load, in one line of ours."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import transformers

from attncli.errors import ModelError, UsageError, is_out_of_memory

_log = logging.getLogger("attncli")


@contextmanager
def explain_load_error(name: str, trusted: bool) -> Iterator[None]:
    """Turn what the loading code raises into a `ModelError`.

    trusted  whether the model's own code was allowed to run
    """
    try:
        yield
    except (ModelError, UsageError):
        raise
    except Exception as error:  # the loading code of 500 architectures and of the hub: anything can come
        if is_out_of_memory(error):
            raise
        if is_remote_code(error) and not trusted:
            raise ModelError(
                f"model '{name}' needs code of its own ({_remote_files(name)}), which would run with your "
                "rights; read it, then pass --trust-remote-code"
            ) from error
        raise ModelError(f"model '{name}' could not be loaded: {_reason(name, error)}") from error


def is_remote_code(error: BaseException) -> bool:
    """Whether Transformers stopped because the model brings code of its own."""
    return "trust_remote_code" in str(error)


def _remote_files(name: str) -> str:
    config = Path(name).expanduser() / "config.json"
    if not config.is_file():
        return "the Python files of its repository"
    auto_map = json.loads(config.read_text(encoding="utf-8")).get("auto_map", {})
    values = auto_map.values()
    targets = [target for value in values for target in ([value] if isinstance(value, str) else value)]
    files = sorted({str(target).split("--")[-1].split(".")[0] + ".py" for target in targets if target})
    return ", ".join(files) or "Python files in its folder"


def _reason(name: str, error: Exception) -> str:
    kinds = {type(cause).__name__ for cause in _causes(error)}
    text = " ".join(str(cause) for cause in _causes(error))
    if Path(name).expanduser().is_dir():
        if "FileNotFoundError" in kinds:
            return f"a file is missing ({first_line(error)})"
        if "SafetensorError" in kinds or "safetensors" in text.lower() or "header" in text.lower():
            return f"its safetensors file is corrupt or incomplete ({first_line(error)})"
        return first_line(error)
    offline = {"OfflineModeIsEnabled", "LocalEntryNotFoundError", "ConnectionError", "ConnectError"}
    if kinds & offline or "connect" in text.lower() or "offline" in text.lower():
        return (
            "it is neither a folder nor in the local cache, and the Hugging Face hub cannot be reached "
            "(HF_HUB_OFFLINE set, or no network); give a folder, or demo:encoder"
        )
    if {"RepositoryNotFoundError", "GatedRepoError"} & kinds:
        return "the hub has no such model, or it is private or gated: check the name or run hf auth login"
    return first_line(error)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def first_line(error: BaseException) -> str:
    """The kind of an error and the first line of its message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}"[:300] if lines else type(error).__name__


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """No loading bars or advice on half-loaded heads; what matters of it, we say ourselves."""
    logging_: Any = transformers.utils.logging
    hub = logging.getLogger("huggingface_hub")
    before = logging_.get_verbosity(), logging_.is_progress_bar_enabled(), hub.level
    if not _log.isEnabledFor(logging.DEBUG):
        logging_.set_verbosity_error()
        logging_.disable_progress_bar()
        hub.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logging_.set_verbosity(before[0])
        if before[1]:
            logging_.enable_progress_bar()
        hub.setLevel(before[2])
