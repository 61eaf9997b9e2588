"""Pure measures of pictures, faces and clips: arrays in, numbers out."""
