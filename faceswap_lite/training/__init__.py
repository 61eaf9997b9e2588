"""Batches, augmentation, losses, schedules, checkpoints, the loop; and runs, loaded for use."""
