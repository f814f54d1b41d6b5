"""`flex_attention` of torch, computed so that function modes see its softmax and its products.

Its own computation is compiled as a whole. During a capture of a module, names that lead to it lead to a plain
computation of the same call, which is refused unless it gives the same output.
"""

import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial, wraps
from types import FunctionType
from typing import Any

import torch
from torch import nn

from attncli.capturing.patches import current_capture, installed
from attncli.errors import ModelError

Tensor = torch.Tensor
HOME, NAME = "torch.nn.attention.flex_attention", "flex_attention"
AGREE = 1e-5
_REFUSED = "a call of flex_attention cannot be measured"


@contextmanager
def plain_flex(model: nn.Module) -> Iterator[None]:
    """Replace `flex_attention` in the files of these modules for the current capture, inside the `with` block."""
    home = sys.modules.get(HOME)
    if home is None:  # nothing has imported it
        yield
        return
    flex = inspect.unwrap(vars(home)[NAME])
    classes = {cls.__module__ for module in model.modules() for cls in type(module).__mro__}
    with ExitStack() as stack:
        for file in [home, *(sys.modules[name] for name in sorted(classes) if name in sys.modules)]:
            for name, value in list(vars(file).items()):
                if isinstance(value, FunctionType) and _uncompiled(value) is flex:
                    stack.enter_context(installed((file.__name__, name), partial(_replace, file, name)))
        yield


def _uncompiled(function: FunctionType) -> object:
    return inspect.unwrap(getattr(function, "_torchdynamo_orig_callable", function))


def _replace(file: Any, name: str) -> Callable[[], None]:
    """Replace a name of a file; return the function that undoes it."""
    original = getattr(file, name)

    @wraps(original)
    def attention(*args: Any, **kwargs: Any) -> Any:
        if current_capture() is None:
            return original(*args, **kwargs)
        expected = original(*args, **kwargs)
        try:
            output = _plain(*args, **kwargs)
        except Exception as error:  # functions of the user, which may work on single numbers only
            raise ModelError(f"{_REFUSED}: a plain computation of it fails ({type(error).__name__})") from error
        if not isinstance(expected, Tensor) or not torch.allclose(output, expected, atol=AGREE, rtol=AGREE):
            raise ModelError(f"{_REFUSED}: a plain computation of it gives another output")
        return output

    setattr(file, name, attention)
    return partial(setattr, file, name, original)


def _plain(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    score_mod: Callable[..., Tensor] | None = None,
    block_mask: Any = None,
    scale: float | None = None,
    enable_gqa: bool = False,
    **options: Any,
) -> Tensor:
    """Return the output of a call, computed by a product, a softmax and a product."""
    if enable_gqa:
        group = query.shape[1] // key.shape[1]
        key, value = (part.repeat_interleave(group, 1) for part in (key, value))
    scores = torch.matmul(query, key.mT) * (query.shape[-1] ** -0.5 if scale is None else scale)
    sizes = scores.shape
    indices = [
        torch.arange(size, device=query.device).view(*[-1 if axis == own else 1 for own in range(4)])
        for axis, size in enumerate(sizes)
    ]
    if score_mod is not None:
        scores = score_mod(scores, *indices)
    if block_mask is not None:
        scores = scores.masked_fill(~block_mask.mask_mod(*indices).expand(sizes), -torch.inf)
    return torch.matmul(torch.softmax(scores, -1), value)
