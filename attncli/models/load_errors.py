"""What users read about a model that does not load, in one line."""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import transformers

from attncli.errors import ModelError, UsageError, is_out_of_memory
from attncli.models.folders import code_files, place_of


@contextmanager
def explain_load_error(name: str, path: str, options: Mapping[str, Any], label: str = "") -> Iterator[None]:
    """Turn any error inside the `with` block into a `ModelError`, except errors of attncli and lack of memory.

    path     folder or hub id of what is loaded
    options  revision, subfolder and trust_remote_code: whether the code of the model may run
    label    what is loaded, if it is not the model itself
    """
    label = label or f"model '{name}'"
    try:
        yield
    except (ModelError, UsageError):
        raise
    except Exception as error:  # the loading code of 500 architectures and of the hub raises errors of any type
        if is_out_of_memory(error):
            raise
        if is_remote_code(error) and not options["trust_remote_code"]:
            files = ", ".join(code_files(path, **place_of(options))) or "the Python files of its repository"
            raise ModelError(
                f"{label} needs code of its own ({files}), which would run with your rights, and so would what it "
                "imports; read it, then pass --trust-remote-code"
            ) from error
        raise ModelError(f"{label} could not be loaded: {_load_failure(name, error)}") from error


def is_remote_code(error: BaseException) -> bool:
    """Return whether Transformers stopped because the model has code of its own."""
    return "trust_remote_code" in str(error)


def _load_failure(name: str, error: Exception) -> str:
    causes: list[BaseException] = [error]
    while cause := causes[-1].__cause__ or causes[-1].__context__:
        causes.append(cause)
    types = {type(cause).__name__ for cause in causes}
    text = " ".join(map(str, causes)).lower()
    if os.path.exists(os.path.expanduser(name)):  # noqa: PTH110, PTH111
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
    """Return the type of an error and the first line of its message, at most 300 characters.

    A line that ends in a colon only announces the next one, which is added.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    count = next((number for number, line in enumerate(lines, 1) if not line.endswith(":")), len(lines))
    return f"{type(error).__name__}: {' '.join(lines[:count])}"[:300] if lines else type(error).__name__


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
