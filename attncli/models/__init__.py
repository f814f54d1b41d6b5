"""Loading of models and tokenizers. Only this package, `inputs` and `capturing` import Transformers."""

from attncli.models.loaded import Loaded
from attncli.models.loading import DEMO, DEMOS, HEADS, load, wrap_model

__all__ = ["DEMO", "DEMOS", "HEADS", "Loaded", "load", "wrap_model"]
