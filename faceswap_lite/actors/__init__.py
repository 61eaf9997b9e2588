"""Rendered synthetic actors with exact truth: pose, expression, light, mask, swapped twin."""

from .clip import ActorTruth, RenderSummary, Twin, load_true_landmarks, load_truth, render_clip
from .identity import ACTORS, ActorIdentity, find_actor, random_actor
from .performance import ActorState, random_performance
from .render import RenderedActor, render_actor

__all__ = [
    "ACTORS",
    "ActorIdentity",
    "ActorState",
    "ActorTruth",
    "RenderSummary",
    "RenderedActor",
    "Twin",
    "find_actor",
    "load_true_landmarks",
    "load_truth",
    "random_actor",
    "random_performance",
    "render_actor",
    "render_clip",
]
