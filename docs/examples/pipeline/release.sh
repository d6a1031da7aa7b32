#!/bin/sh
# At every release: quantise what was approved, check what came of it, and leave evidence. Ends with check's exit code:
# 0 all pass, 1 one fails, 3 one could not be told.
set -eu
onnxnnw=${ONNXNNW:-onnxnnw}
mkdir -p dist evidence
cp labels.txt dist/labels.txt
${PYTHON:-python3} quantise.py build/net.onnx dist/net.int8.onnx
$onnxnnw check --policy onnxnnw.toml \
  --sarif evidence/onnxnnw.sarif --junit evidence/onnxnnw.xml \
  --attestation evidence/net.intoto.jsonl --sign "${SIGNING_KEY:?the file with the private key}" \
  --sbom evidence/bom.json --html evidence/onnxnnw.html --log evidence/log.jsonl
