"""What users read about a model that does not load, in one line."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import transformers

from attncli.errors import ModelError, UsageError, is_out_of_memory


@contextmanager
def explain_load_error(name: str, trusted: bool) -> Iterator[None]:
    """Turn any error inside the `with` block into a `ModelError`, except errors of attncli and lack of memory.

    trusted  whether the code of the model may run
    """
    try:
        yield
    except (ModelError, UsageError):
        raise
    except Exception as error:  # the loading code of 500 architectures and of the hub raises errors of any type
        if is_out_of_memory(error):
            raise
        if is_remote_code(error) and not trusted:
            raise ModelError(
                f"model '{name}' needs code of its own ({_remote_files(name)}), which would run with your "
                "rights; read it, then pass --trust-remote-code"
            ) from error
        raise ModelError(f"model '{name}' could not be loaded: {_load_failure(name, error)}") from error


def is_remote_code(error: BaseException) -> bool:
    """Return whether Transformers stopped because the model has code of its own."""
    return "trust_remote_code" in str(error)


def _remote_files(name: str) -> str:
    config = Path(name).expanduser() / "config.json"
    if not config.is_file():
        return "the Python files of its repository"
    values = json.loads(config.read_text(encoding="utf-8")).get("auto_map", {}).values()
    targets = [target for value in values for target in ([value] if isinstance(value, str) else value)]
    files = sorted({str(target).split("--")[-1].split(".")[0] + ".py" for target in targets if target})
    return ", ".join(files) or "Python files in its folder"


def _load_failure(name: str, error: Exception) -> str:
    causes: list[BaseException] = [error]
    while cause := causes[-1].__cause__ or causes[-1].__context__:
        causes.append(cause)
    types = {type(cause).__name__ for cause in causes}
    text = " ".join(map(str, causes)).lower()
    if Path(name).expanduser().is_dir():
        if "FileNotFoundError" in types:
            return f"a file is missing ({first_line(error)})"
        if "SafetensorError" in types or "safetensors" in text or "header" in text:
            return f"its safetensors file is corrupt or incomplete ({first_line(error)})"
        return first_line(error)
    offline = {"OfflineModeIsEnabled", "LocalEntryNotFoundError", "ConnectionError", "ConnectError"}
    if types & offline or "connect" in text or "offline" in text:
        return (
            "it is neither a folder nor in the local cache, and the Hugging Face hub cannot be reached "
            "(HF_HUB_OFFLINE set, or no network); give a folder, or demo:encoder"
        )
    if {"RepositoryNotFoundError", "GatedRepoError"} & types:
        return "the hub has no such model, or it is private or gated: check the name or run hf auth login"
    return first_line(error)


def first_line(error: BaseException) -> str:
    """Return the type of an error and the first line of its message, at most 300 characters."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}"[:300] if lines else type(error).__name__


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Hide progress bars and warnings of Transformers inside the `with` block, unless attncli logs for debugging."""
    library_logging: Any = transformers.utils.logging
    hub = logging.getLogger("huggingface_hub")
    before = library_logging.get_verbosity(), library_logging.is_progress_bar_enabled(), hub.level
    if not logging.getLogger("attncli").isEnabledFor(logging.DEBUG):
        library_logging.set_verbosity_error()
        library_logging.disable_progress_bar()
        hub.setLevel(logging.ERROR)
    try:
        yield
    finally:
        library_logging.set_verbosity(before[0])
        if before[1]:
            library_logging.enable_progress_bar()
        hub.setLevel(before[2])
