"""Speed and robustness, measured: ``python -m benchmarks NAME``."""
