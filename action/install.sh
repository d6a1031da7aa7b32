#!/usr/bin/env bash
# Install what gates need, everything by its hash, and this checkout, into a folder of its own.
# Usage: action/install.sh FOLDER [PYTHON]; the last line that it prints is the folder of the programs.
set -euo pipefail

source=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
environment=$1
python=${2:-$(command -v python3 || command -v python)}

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11) and "onnxnnw needs Python 3.11 or newer, not " + sys.version.split()[0])'
"$python" -m venv "$environment"
programs=$environment/bin
[ -d "$programs" ] || programs=$environment/Scripts
pip() { "$programs/python" -m pip --quiet --disable-pip-version-check "$@" >&2; }
pip install --no-deps --no-compile --require-hashes -r "$source/requirements/verify.txt" -r "$source/requirements/build.txt"
pip install --no-deps --no-compile --no-build-isolation "$source"
pip uninstall -y setuptools pip  # what is not needed any more
printf '%s\n' "$programs"
