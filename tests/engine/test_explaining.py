"""What all studies of one prediction refuse about the segments of a text."""

from __future__ import annotations

from typing import Any

import pytest

import attncli
from attncli import UsageError
from attncli.data import TextSpan
from attncli.engine.explaining import ExplainingStudy
from attncli.engine.request import Request
from attncli.options import SelectionOptions
from attncli.studies.attribute.options import AttributeOptions
from attncli.studies.attribute.study import AttributeStudy
from attncli.studies.knockout.options import KnockoutOptions
from attncli.studies.knockout.study import KnockoutStudy

STUDIES = pytest.mark.parametrize(
    ("study", "options"), [(AttributeStudy, AttributeOptions), (KnockoutStudy, KnockoutOptions)]
)


@STUDIES
def test_segments_and_a_division_exclude_each_other(study: type[ExplainingStudy[Any]], options: Any) -> None:
    with pytest.raises(UsageError, match="--segments says what the segments are, as --divide does: give one of them"):
        study(options(segments="parts.json", divide="line")).adapt(SelectionOptions(), from_saved_run=False)


@STUDIES
def test_segments_of_several_texts_are_refused(study: type[ExplainingStudy[Any]], options: Any) -> None:
    spans = ({"a": (TextSpan(0, 1),)}, {"b": (TextSpan(0, 1),)})
    with pytest.raises(UsageError, match="reads one text, there are segments for 2: give one object"):
        study(options(), spans).check(Request())


@pytest.mark.parametrize("name", ["attribute", "knockout"])
def test_spans_and_a_division_exclude_each_other_in_python(name: str) -> None:
    with pytest.raises(UsageError, match="spans say what the segments are, as divide does: give one of them"):
        getattr(attncli.load(), name)("a cat", spans={"a": [(0, 1)]}, divide="line")
