"""A policy and files: one answer."""
