"""Studies that take a file of segments: what it holds, not its path, is what their result depends on."""

from __future__ import annotations

from pathlib import Path

import pytest

from attncli.engine.segmented import SegmentedStudy
from attncli.options import SelectionOptions
from attncli.studies.attribute.options import AttributeOptions
from attncli.studies.attribute.study import AttributeStudy
from attncli.studies.faithfulness.options import FaithfulnessOptions
from attncli.studies.faithfulness.study import FaithfulnessStudy
from attncli.studies.find.options import FindOptions
from attncli.studies.find.study import FindStudy
from attncli.studies.knockout.options import KnockoutOptions
from attncli.studies.knockout.study import KnockoutStudy
from attncli.studies.segments.options import SegmentsOptions
from attncli.studies.segments.study import SegmentsStudy

STUDIES = {
    AttributeStudy: AttributeOptions,
    FaithfulnessStudy: FaithfulnessOptions,
    FindStudy: FindOptions,
    KnockoutStudy: KnockoutOptions,
    SegmentsStudy: SegmentsOptions,
}


@pytest.mark.parametrize("study", STUDIES)
def test_the_segments_of_a_file_are_resolved(study: type[SegmentedStudy[object]], tmp_path: Path) -> None:
    texts = {"one": '{"a": ["cat"]}', "same": '{"a": ["cat"]}', "other": '{"a": ["mat"]}'}
    resolved = {}
    for name, text in texts.items():
        path = tmp_path / f"{name}.json"
        path.write_text(text, encoding="utf-8")
        options = STUDIES[study](segments=str(path))
        resolved[name] = study(options).adapt(SelectionOptions(), from_saved_run=False).resolved()
    assert resolved["one"] == resolved["same"] != resolved["other"]
