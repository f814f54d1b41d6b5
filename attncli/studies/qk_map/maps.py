"""From sampled vectors to the maps of all heads, with the numbers that say how true they are."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from attncli.data import Array, Kind
from attncli.engine.collected import Collected
from attncli.engine.memory import allowed_memory, format_size
from attncli.engine.passes import Pass
from attncli.engine.progress import Track
from attncli.errors import ModelError, UsageError
from attncli.studies.qk_map import quality
from attncli.studies.qk_map.compute import LayerKey, LayerVectors
from attncli.studies.qk_map.head_maps import STRONGEST, HeadMaps
from attncli.studies.qk_map.options import QueryKeyMapOptions
from attncli.studies.qk_map.projection import LEAST_VECTORS, move_and_scale, project
from attncli.studies.qk_map.result import QueryKeyMap
from attncli.studies.qk_map.sampling import Sample

Samples = Mapping[Kind, Sample]


def check_memory(prepared: Pass, samples: Samples, options: QueryKeyMapOptions) -> None:
    """Raise UsageError if the texts have too few tokens for a method, or the vectors need too much memory."""
    needed = 0
    for kind, (query_size, key_size, heads) in prepared.vector_values.items():
        if not heads:
            continue
        sample = samples[kind]
        count, queries = len(sample.tokens), sample.tokens.queries
        if count < LEAST_VECTORS[options.method]:
            raise UsageError(
                f"a map by {options.method} needs at least {LEAST_VECTORS[options.method]} vectors of a head, these "
                f"texts give {count}: give more or longer texts"
                + (", or --method pca" if options.method != "pca" else "")
            )
        # vectors as captured, and moved and scaled; then weights of pairs and strongest keys
        needed += 4 * (queries * query_size + (count - queries) * key_size + count * query_size)
        needed += 4 * heads * queries * (sample.pairs.shape[1] + 2 * STRONGEST)
    allowed = allowed_memory(prepared.request.max_memory)
    if allowed is not None and needed > allowed:
        raise UsageError(
            f"--vectors {options.vectors} of all these heads take {format_size(needed)}, allowed are "
            f"{format_size(allowed)}: take fewer, choose heads with --layer and --head, or allow more with --max-memory"
        )


def map_heads(
    run: Collected,
    samples: Samples,
    layers: Mapping[LayerKey, LayerVectors],
    options: QueryKeyMapOptions,
    track: Track,
) -> QueryKeyMap:
    """Return the maps of all heads of these layers of a run; raise ModelError if a vector is not finite."""
    groups = {}
    heads = sum(len(layer.heads) for layer in layers.values())
    with track("projecting", heads, "heads") as advance:
        for kind, sample in samples.items():
            maps = []
            for (of_kind, number), layer in layers.items():
                for index in range(len(layer.heads)) if of_kind == kind else ():
                    maps.append(_map_head(kind, number, layer, index, sample, options))
                    advance(1)
            groups[kind] = _joined(sample, maps)
    return QueryKeyMap(run.info, run.inputs, groups, options, _score_notes(layers.values()))


def _score_notes(layers: Collection[LayerVectors]) -> tuple[str, ...]:
    """Return what the weights of these layers depend on besides query and key vectors."""
    notes = {
        "a position bias is added to the scores: weights depend on positions that these vectors do not contain": any(
            layer.bias for layer in layers
        ),
        "scores are capped: to move the keys keeps their order for a query, but not the weights exactly": any(
            layer.softcap is not None for layer in layers
        ),
    }
    return tuple(note for note, holds in notes.items() if holds)


def _map_head(
    kind: Kind, number: int, layer: LayerVectors, index: int, sample: Sample, options: QueryKeyMapOptions
) -> dict[str, Array]:
    """Return the fields of one head by their names in `HeadMaps`, and its quality."""
    queries, keys = layer.queries[index], layer.keys[layer.key_heads[index]]
    if not (np.isfinite(queries).all() and np.isfinite(keys).all()):
        raise ModelError(
            f"{kind} head {number}.{layer.heads[index]} is refused: its query and key vectors are not finite"
        )
    norms = np.concatenate([np.linalg.norm(vectors.astype(np.float64), axis=1) for vectors in (queries, keys)])
    queries, keys, factor = move_and_scale(queries, keys, layer.scale)
    vectors = np.concatenate([queries, keys])
    points = project(vectors, options.method, options.seed)
    weights = layer.weights[index]
    return {
        "layers": np.array(number),
        "heads": np.array(layer.heads[index]),
        "points": points.astype(np.float32),
        "norms": norms.astype(np.float32),
        "vectors": vectors.astype(np.float32),
        "factors": np.array(factor),
        "strongest": layer.strongest[index],
        "weights": layer.strongest_weights[index],
        **quality.measure(weights, vectors, points, sample, options.seed),
    }


def _joined(sample: Sample, maps: Sequence[Mapping[str, Array]]) -> HeadMaps:
    columns = {name: [of_head[name] for of_head in maps] for name in maps[0]}
    vectors = tuple(columns.pop("vectors"))
    stacked = {name: np.stack(values) for name, values in columns.items()}
    measures = {name: stacked.pop(name) for name in quality.QUALITY}
    return HeadMaps(sample.tokens, vectors=vectors, quality=measures, **stacked)
