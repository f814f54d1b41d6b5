"""Arrays of xarray, which is an optional package."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attncli.data.tokens import Array
from attncli.errors import UsageError

if TYPE_CHECKING:
    import xarray as xr


def data_array(values: Array, dims: tuple[str, ...], coords: dict[str, Any], name: str) -> xr.DataArray:
    """Return an `xarray.DataArray`; raise UsageError if xarray is not installed."""
    try:
        import xarray as xr
    except ImportError as error:
        raise UsageError("to_xarray needs xarray, which is not installed: pip install xarray") from error
    return xr.DataArray(values, dims=dims, coords=coords, name=name)
