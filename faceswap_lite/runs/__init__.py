"""What a trained run is: manifest, checkpoints, log, split, hardware; loading it for use."""
