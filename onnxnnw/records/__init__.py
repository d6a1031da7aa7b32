"""What a tracker keeps: key, positions, slot table, and the record itself."""
