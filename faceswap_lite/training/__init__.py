"""Batches, augmentation, losses, schedules, checkpoints, the loop; and runs, loaded for use."""

from .runs import IdentityFacts, RunFacts, TrainedRun, load_run, read_facts

__all__ = ["IdentityFacts", "RunFacts", "TrainedRun", "load_run", "read_facts"]
