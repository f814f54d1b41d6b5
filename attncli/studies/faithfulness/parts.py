"""All parts of the study, in the order of the document."""

from __future__ import annotations

from attncli.studies.faithfulness.agreement.part import AgreementPart
from attncli.studies.faithfulness.curves.part import CurvesPart
from attncli.studies.faithfulness.documents.part import DocumentsPart
from attncli.studies.faithfulness.needed.part import NeededPart
from attncli.studies.faithfulness.protocol import Part
from attncli.studies.faithfulness.rationales.part import RationalesPart
from attncli.studies.faithfulness.robustness.part import RobustnessPart

PARTS: tuple[type[Part], ...] = (CurvesPart, AgreementPart, RationalesPart, RobustnessPart, NeededPart, DocumentsPart)
