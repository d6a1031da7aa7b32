"""Record and candidate -> verdict."""
