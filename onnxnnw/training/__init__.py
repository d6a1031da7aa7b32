"""Training in PyTorch: the loop, the reference networks, and marks that are inserted while a network trains."""
