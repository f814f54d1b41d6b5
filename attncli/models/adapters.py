"""Weights of adapters that Transformers does not find."""

from torch import Tensor, nn

_VECTOR = ".lora_magnitude_vector"


def load_magnitudes(model: nn.Module, keys: list[str], weights: dict[str, Tensor]) -> list[str]:
    """Load the vectors of a DoRA adapter, which Transformers leaves as in a new adapter; return the other keys.

    keys     weights of the adapter that were not loaded, and stored weights that no part of the model has
    weights  the stored weights
    """
    stored = {name.removesuffix(_VECTOR): weight for name, weight in weights.items() if name.endswith(_VECTOR)}
    parameters = dict(model.named_parameters())
    loaded = []
    for key in keys:
        module = key.partition(_VECTOR)[0]
        found = [weight for name, weight in stored.items() if _ends_with(name, module)]
        if key in parameters and len(found) == 1 and parameters[key].shape == found[0].shape:
            parameters[key].data.copy_(found[0])
            loaded.append(module)
    return [key for key in keys if not any(_ends_with(key.partition(_VECTOR)[0], module) for module in loaded)]


def _ends_with(stored_name: str, module: str) -> bool:
    """Return whether a stored name is that of a module; stored names begin with the parts around a base model."""
    return f".{stored_name}".endswith(f".{module}")
