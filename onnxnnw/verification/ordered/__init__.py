"""Verification in the order of a reference: the owner's own copy of the recorded network."""
