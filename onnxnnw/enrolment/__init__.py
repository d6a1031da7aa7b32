"""Network and key -> record, and the marked copy."""
