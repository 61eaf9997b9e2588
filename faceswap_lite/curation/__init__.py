"""Judge a face set: what does not belong, what is rare, what is missing; reasons, reversible."""

from .choose import choose_best
from .coverage import Attributes, Coverage, attributes_of, coverage
from .curate import CurateSummary, curate_faces, say_coverage, undo_curation
from .decisions import Decision, pending_rejections, read_decisions, report_folder, sampling_weights
from .measures import Measures, measure_faces
from .verdicts import RARE, Judgement, judge

__all__ = [
    "RARE",
    "Attributes",
    "Coverage",
    "CurateSummary",
    "Decision",
    "Judgement",
    "Measures",
    "attributes_of",
    "choose_best",
    "coverage",
    "curate_faces",
    "judge",
    "measure_faces",
    "pending_rejections",
    "read_decisions",
    "report_folder",
    "sampling_weights",
    "say_coverage",
    "undo_curation",
]
