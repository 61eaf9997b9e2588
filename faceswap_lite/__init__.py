"""A face-swap autoencoder trainer that measures itself on frames it never saw."""
