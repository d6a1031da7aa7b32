"""Which slot of a candidate is which slot of a record: by anchors, whatever a tool renamed, merged or reordered."""
