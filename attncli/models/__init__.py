"""Loading of models and tokenizers. Only this package, `inputs` and `capturing` import Transformers."""

from attncli.models.folders import DEMO, DEMOS, local_folder
from attncli.models.loaded import Loaded
from attncli.models.loading import HEADS, load, wrap_model
from attncli.models.modules import LoadedModule, ModuleHost, check_runnable, device_of, plain_module
from attncli.models.wrapped import check_unsharded, holds_model

__all__ = ["DEMO", "DEMOS", "HEADS", "Loaded", "holds_model", "load", "local_folder", "wrap_model"]
__all__ += ["check_unsharded"]
__all__ += ["LoadedModule", "ModuleHost", "check_runnable", "device_of", "plain_module"]
