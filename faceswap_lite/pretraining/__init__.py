"""The base that every training can begin with: learned from rendered people alone."""
