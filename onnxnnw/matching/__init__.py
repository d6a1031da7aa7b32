"""Match the slots of a candidate with those of a record by anchors, after renaming, merging or reordering."""
