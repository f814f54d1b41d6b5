"""All parts of the study, in the order of the document."""

from __future__ import annotations

from attncli.studies.faithfulness.curves.part import CurvesPart
from attncli.studies.faithfulness.protocol import Part

PARTS: tuple[type[Part], ...] = (CurvesPart,)
