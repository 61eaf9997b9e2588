"""How a run is made: batches, losses, schedules, resuming, the step, the loop, fit."""
