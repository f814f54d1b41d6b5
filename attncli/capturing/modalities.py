"""What the parts of a model read: text, or images, video and sound, whose patches and frames are not tokens."""

from collections.abc import Sequence

from torch import nn
from transformers import PreTrainedModel

_NAMES = {"image": "images", "audio": "sound", "time": "time series"}


def other_input(model: nn.Module, stack: Sequence[str]) -> str:
    """Return what the running part of a model reads instead of text, such as "images"; "" if it reads text.

    stack  qualified names of the running modules, outermost first. The innermost part that is a model of Transformers
           declares what it reads; the whole model runs on text alone, whatever it declares
    """
    for name in reversed(stack):
        part = model.get_submodule(name)
        if name and isinstance(part, PreTrainedModel):
            declared = part.input_modalities
            modalities = [declared] if isinstance(declared, str) else list(declared)
            return "" if "text" in modalities else " or ".join(_NAMES.get(entry, entry) for entry in modalities)
    return ""
