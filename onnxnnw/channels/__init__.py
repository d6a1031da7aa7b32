"""Channel groups of a network: channels that can be permuted, rescaled or added without changing its function."""
