"""``python -m onnxnnw`` is ``onnxnnw``."""

from onnxnnw.cli import main

if __name__ == "__main__":
    main()
