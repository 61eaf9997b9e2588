"""Pure measures of pictures, landmarks and clips: arrays in, numbers out."""
