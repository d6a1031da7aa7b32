#!/usr/bin/env bash
# A hook of pre-commit: the first run installs what gates need beside this checkout, and every run is `onnxnnw "$@"`.
set -euo pipefail

environment=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)/.onnxnnw
if [ ! -f "$environment/programs" ]; then
    rm -rf "$environment"
    programs=$("${BASH_SOURCE[0]%hook.sh}install.sh" "$environment" | tail -n 1)
    printf '%s\n' "$programs" >"$environment/programs"
fi
exec "$(cat "$environment/programs")/onnxnnw" "$@"
