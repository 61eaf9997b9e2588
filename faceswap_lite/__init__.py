"""A face-swap autoencoder trainer that measures itself on frames it never saw."""

__version__ = "0.1.0"
