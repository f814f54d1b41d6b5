"""Options of a saved run, or of maps of other tools, in the place of a model."""

from dataclasses import dataclass

from attncli.options import option


@dataclass(frozen=True)
class SavedRunOptions:
    """Options of a saved run that is used instead of a model and a text."""

    from_: str | None = option(
        "Saved run", "saved run, or maps of other tools: .npz, .npy, .safetensors, .pt", metavar="DIR_OR_FILE"
    )
    labels: str | None = option("Saved run", "token names of such maps, one a line or a .json list", metavar="FILE")
    key_labels: str | None = option(
        "Saved run", "token names of keys, if they differ from those of queries", metavar="FILE"
    )
    array: str | None = option("Saved run", "array to read, if a file has several", metavar="NAME")
    axes: str | None = option(
        "Saved run",
        "axes of such maps in their order, such as batch,head,query,key or layer,text,head,query,key",
        metavar="NAMES",
    )
