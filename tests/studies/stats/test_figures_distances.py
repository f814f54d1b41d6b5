"""The picture of attention by distance: the share on the left, relative to uniform attention on the right."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from pictures import faults, words

from attncli.data import Array, Profile, Scores
from attncli.errors import UsageError
from attncli.studies.stats.figures import draw_distances


def made(mass: Array, uniform: Array, heads: Sequence[int] = (), kind: str = "encoder") -> Profile:
    """`heads` counts the heads of each layer; mass and uniform are [head, bin]."""
    rows, bins = mass.shape
    counts = heads or (rows,)
    starts = [0, *(1 << power for power in range(bins - 1))]
    coords = {
        "kind": ("head", np.array([kind] * rows, dtype=object)),
        "layer": ("head", np.repeat(np.arange(len(counts)), counts)),
        "head": ("head", np.concatenate([np.arange(count) for count in counts])),
        "from": ("bin", np.array(starts)),
        "to": ("bin", np.array([max(0, 2 * start - 1) for start in starts])),
    }
    tables = {
        name: Scores(name, values, ("head", "bin"), coords, "1", (0.0, 1.0), "made up")
        for name, values in (("mass", mass), ("uniform_mass", uniform))
    }
    return Profile((), tables, {})


def images(profile: Profile) -> list[Array]:
    figure = draw_distances(profile, "encoder")
    return [np.ma.asarray(axes.images[-1].get_array()) for axes in figure.axes if axes.get_title("left")]


def test_the_share_and_its_ratio_are_side_by_side() -> None:
    mass, uniform = np.array([[0.5, 0.25, 0.25], [0.0, 0.9, 0.1]]), np.full((2, 3), 0.25)
    share, ratio = images(made(mass, uniform))
    assert share.data == pytest.approx(mass)
    assert ratio[0].tolist() == [1, 0, 0]
    assert ratio[1, 0] < -50  # no attention at all: the darkest colour
    assert ratio[1, 1] == pytest.approx(np.log2(3.6))


def test_layers_have_gaps_and_distances_without_visible_keys_are_grey() -> None:
    mass = np.full((4, 5), 0.2)
    mass[2:, 3:] = np.nan
    share, ratio = images(made(mass, mass, heads=[2, 2]))
    for image in (share, ratio):
        hidden = np.ma.getmaskarray(image)
        assert image.shape == (5, 5)
        assert hidden[2].all()
        assert np.argwhere(np.delete(hidden, 2, axis=0)).tolist() == [[2, 3], [2, 4], [3, 3], [3, 4]]
    assert "no visible key at this distance" in words(draw_distances(made(mass, mass, heads=[2, 2]), "encoder"))


@pytest.mark.parametrize(
    ("heads", "bins"), [([1], 1), ([4] * 4, 6), ([12] * 12, 17), pytest.param([40] * 40, 21, marks=pytest.mark.real)]
)
def test_pictures_of_any_size_are_complete(heads: list[int], bins: int) -> None:
    mass = np.random.default_rng(0).dirichlet(np.ones(bins), sum(heads))
    figure = draw_distances(made(mass, np.full_like(mass, 1 / bins), heads), "encoder", model="m", note="n")
    assert not faults(figure)
    assert {"share of the attention", "relative to uniform attention", "m", "n", "0"} <= words(figure)


def test_a_kind_without_distances_is_refused() -> None:
    with pytest.raises(UsageError, match="nothing to draw: no distance of kind 'decoder'"):
        draw_distances(made(np.ones((1, 1)), np.ones((1, 1))), "decoder")
