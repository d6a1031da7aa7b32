"""Many records against one candidate, side by side: what depends on records alone is made once, and they are read together."""
