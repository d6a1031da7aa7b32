"""What happened to a candidate on its way: one file per kind of finding, found by name."""
