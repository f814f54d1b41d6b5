"""GGUF files: weights, configuration and tokenizer of one model in one file, as llama.cpp writes them."""

import functools
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import transformers
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, PreTrainedConfig

from attncli.errors import ModelError, UsageError, is_out_of_memory
from attncli.models.load_errors import first_line
from attncli.paths import what_is_at

NO_MODEL = str(Path(__file__).parent)
"""The folder that Transformers is given with a GGUF file, because it has no files of a model: Transformers would prefer
a tokenizer.json beside the GGUF file to the tokenizer in it."""
_HEEDED: ContextVar[bool] = ContextVar("attncli_heeded_bars", default=False)
_FLOATS = ("F64", "F32", "F16", "BF16")
_SCALED_POSITIONS = ("rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight")
"""Tensors that scale rotary positions, such as those of Llama 3.1; Transformers leaves them out."""


@dataclass(frozen=True)
class GgufFile:
    """A GGUF file whose table of contents was read.

    path      where it is
    types     number of its tensors by the type in which they are stored, such as Q4_1 and F32; the most frequent first
    left_out  tensors that change attention and that Transformers does not read
    """

    path: Path
    types: Mapping[str, int]
    left_out: tuple[str, ...] = ()

    def describe(self, dtype: str) -> str:
        """Return how tensors are stored, and the dtype in which they were loaded.

        >>> GgufFile(Path("a.gguf"), {"Q4_1": 210, "F32": 61}).describe("float32")
        '210 tensors as Q4_1, 61 as F32; dequantised to float32'
        """
        (first, count), *others = self.types.items()
        stored = ", ".join([f"{count} tensors as {first}", *(f"{count} as {name}" for name, count in others)])
        return f"{stored}; {'loaded as' if set(self.types) <= set(_FLOATS) else 'dequantised to'} {dtype}"

    def notes(self, dtype: str) -> tuple[str, ...]:
        """Return what the user should know about the weights that were loaded in this dtype."""
        notes = (f"the GGUF file stores {self.describe(dtype)}",)
        if not self.left_out:
            return notes
        return (*notes, f"Transformers leaves out {self.left_out[0]}: attention is that of unscaled rotary positions")


def find_gguf(name: str) -> GgufFile | None:
    """Return the GGUF file that a model or tokenizer is named by; None for a folder, a hub id or a demo model.

    Raise ModelError if the file cannot be read, or the packages for it are not installed.
    """
    if not name.lower().endswith(".gguf"):
        return None
    # an absolute path, as Transformers looks for the file in the folder that it is given; unlike Path.expanduser, this
    # leaves an unknown user as it is
    path = Path(os.path.abspath(os.path.expanduser(name)))  # noqa: PTH100, PTH111
    try:
        found = what_is_at(path)
    except UsageError as error:
        raise ModelError(f"model '{name}': {error}") from error
    if not path.is_file():
        what = {"file": "a pipe or a device", "folder": "a folder"}.get(found, found)
        raise ModelError(f"model '{name}': expected a GGUF file, found {what}; give the path of the file")
    try:
        import accelerate  # noqa: F401 (Transformers needs it to load the file)
        from gguf import GGUFReader
    except ImportError as error:
        raise ModelError(f"model '{name}' is a GGUF file: pip install \"attncli[gguf]\" to load it") from error
    try:
        tensors = GGUFReader(path).tensors
    except Exception as error:  # bytes that mean something else raise errors of any type
        if is_out_of_memory(error):
            raise
        raise ModelError(f"model '{name}' is no GGUF file, or damaged ({first_line(error)}): get it again") from error
    if not tensors:
        raise ModelError(f"model '{name}' has no weights; expected a GGUF file of a language model")
    types = Counter(tensor.tensor_type.name for tensor in tensors)
    left_out = tuple(tensor.name for tensor in tensors if tensor.name in _SCALED_POSITIONS)
    return GgufFile(path, dict(types.most_common()), left_out)


def gguf_options(config: PreTrainedConfig) -> dict[str, Any]:
    """Return the arguments of `from_pretrained` for a GGUF file with this configuration.

    The configuration is given the name of the class with a head, which GGUF files do not store.
    """
    if not config.architectures:
        auto = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
        with_head: Any = auto._model_mapping.get(type(config), None)
        config.architectures = None if with_head is None else [with_head.__name__]
    # packed weights would be multiplied by kernels of their own, and W_O could not be split into heads
    unpack: Any = getattr(transformers, "GgufConfig", None)
    return {"config": config, **({} if unpack is None else {"quantization_config": unpack(dequantize=True)})}


@contextmanager
def heeded_progress_bars() -> Iterator[None]:
    """Let the GGUF reader heed the setting of Transformers for progress bars, inside the `with` block and thread."""
    _replace_bar()
    token = _HEEDED.set(True)
    try:
        yield
    finally:
        _HEEDED.reset(token)


@functools.cache
def _replace_bar() -> None:
    """Replace the reader's progress bar, once, by one that is the same for everyone outside of the `with` block."""
    from transformers import modeling_gguf_pytorch_utils

    reader: Any = modeling_gguf_pytorch_utils
    bar = reader.tqdm

    def heeding(*args: Any, **options: Any) -> Any:
        return (transformers.utils.logging.tqdm if _HEEDED.get() else bar)(*args, **options)

    reader.tqdm = heeding
