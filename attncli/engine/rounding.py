"""A note where a model computes so coarsely that rounding errors look like effects."""

from attncli.models import Loaded

_COARSE = ("bfloat16", "float16")


def rounding_notes(loaded: Loaded) -> tuple[str, ...]:
    """Return a note if the model computes in 16 bits; small effects of edits are rounding errors then."""
    if loaded.dtype not in _COARSE:
        return ()
    faster = ", and is faster on a CPU" if loaded.device.type == "cpu" else ""
    return (
        f"the model computes in {loaded.dtype}, whose rounding errors change a loss by about 0.01 nat: "
        f"--dtype float32 measures smaller effects{faster}",
    )
