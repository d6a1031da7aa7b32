"""Which channels of a network are the same ones everywhere: what may be moved, multiplied or added and changes no function."""
