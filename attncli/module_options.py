"""Options of a module of the user's own code, which is read in the place of a model and a text."""

from dataclasses import dataclass

from attncli.options import option


@dataclass(frozen=True)
class ModuleOptions:
    """Options of a module of the user that is read in the place of a model and a text."""

    module: str | None = option(
        "Own module",
        "your torch.nn.Module, or function that makes it; runs your own code, as python -m would",
        metavar="PACKAGE.MOD:NAME",
    )
    inputs: str | None = option(
        "Own module", "its named inputs, .npz or .safetensors; .npy is one input. --labels names rows", metavar="FILE"
    )
