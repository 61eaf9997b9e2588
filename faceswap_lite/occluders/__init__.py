"""Things to put before faces, with exact masks: arrays in, arrays out."""
