"""Many records held against one candidate side by side: what depends on records alone is made once, and numbers are read together."""
