"""Attention of modules that are no Transformers models: of one pass, and of what the user's code makes."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from attncli.api.run import Run
from attncli.capturing import plan_module
from attncli.engine.passes import Pass
from attncli.engine.request import Request
from attncli.errors import UsageError
from attncli.inputs.module_inputs import AxisNames, AxisShape, Names, hold_module, module_batch
from attncli.inputs.text_files import check_exists
from attncli.models.own_code import build_module, own_code
from attncli.store.arrays import load_arrays
from attncli.store.foreign import read_labels


def capture_module(module: nn.Module, inputs: object, names: Names | None, request: Request) -> Run:
    """Return a run of a module on inputs; the module stays unchanged.

    Raise UsageError if inputs or names are wrong, ModelError if the module fails or no attention can be measured.
    """
    axis_names = AxisNames.of(names)
    loaded, tensors = hold_module(module, inputs)
    plan, axes = plan_module(loaded, tensors, request.capture, axis_names.lengths)
    shapes = {kind: AxisShape(*axes.lengths[kind], axes.extra.get(kind, ())) for kind in axes.lengths}
    batch = module_batch(tensors, axes.batch, shapes, axes.padding, axis_names)
    prepared = Pass.prepare(loaded, plan, [batch], replace(request, any_axes=True))
    return Run(**vars(prepared.collect([encoded.text for encoded in batch.inputs])))


def open_module(spec: str, path: str, labels: str | None, key_labels: str | None, request: Request) -> Run:
    """Return a run with all maps of a module that the user's code makes, on the inputs in a file.

    spec    the module or a function that makes it, as `package.mod:build`
    path    named inputs in `.npz` or `.safetensors`, or one in `.npy`; arrays `arr_0`, … are positional arguments
    labels, key_labels  files with the names of rows and of keys
    Raise UsageError if the code, the file or the names are wrong, ModelError if no attention can be measured.
    """
    arrays = _read_arrays(path)
    names = {axis: read_labels(file) for axis, file in (("query", labels), ("key", key_labels)) if file is not None}
    given: Any = names["query"] if list(names) == ["query"] else names or None
    module = build_module(spec)
    numbered = sorted(arrays) == sorted(f"arr_{index}" for index in range(len(arrays)))
    inputs: Any = tuple(arrays[f"arr_{index}"] for index in range(len(arrays))) if numbered else arrays
    options = {name: getattr(request, name) for name in ("capture", "by", "max_memory")}
    with own_code(f"the forward pass of {spec}"):
        run = capture_module(module, inputs, given, replace(Request(), **options, keep_maps=True))
    sha256 = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    resolved = {"module": spec, "inputs": sha256, "by": request.by, "capture": request.capture}
    return replace(run, info=replace(run.info, model=spec, resolved=resolved, input_sha256=sha256))


def _read_arrays(path: str) -> dict[str, Any]:
    check_exists(path)
    suffix = Path(path).suffix.lower()
    if suffix not in (".npz", ".npy", ".safetensors"):
        raise UsageError(f"expected --inputs as a .npz, .npy or .safetensors file, got {path}")
    arrays = load_arrays(Path(path))
    if not arrays:
        raise UsageError(f"there is no array in {path}")
    return {"arr_0": next(iter(arrays.values()))} if suffix == ".npy" else arrays
