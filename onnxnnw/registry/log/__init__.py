"""A public log of commitments: tree, checkpoints, proofs and timestamps. Bytes in, bytes out; only `kept` knows a database."""
