"""Which of the run's two people is painted, and which is in the clip."""

from ..config import ConvertConfig
from ..models.autoencoder import Side
from ..runs.manifest import IdentityFacts
from ..runs.trained import TrainedRun


def painted_side(config: ConvertConfig) -> Side:
    """Whose face is painted."""
    return "source" if config.swap == "source-to-target" else "target"


def shown_side(config: ConvertConfig) -> Side:
    """Who is in the clip."""
    return "target" if config.swap == "source-to-target" else "source"


def shown_facts(run: TrainedRun, config: ConvertConfig) -> IdentityFacts:
    """The face set of the person in the clip."""
    return run.manifest.target if shown_side(config) == "target" else run.manifest.source


def painted_facts(run: TrainedRun, config: ConvertConfig) -> IdentityFacts:
    """The face set of the person whose face is painted."""
    return run.manifest.source if painted_side(config) == "source" else run.manifest.target
