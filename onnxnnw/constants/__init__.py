"""Lazy constant folding: a weight behind Transpose is still a weight."""
