#!/bin/sh
# Once, by the owner: mark the approved network and keep its record. The record is a secret; publish the commitment that is printed.
set -eu
onnxnnw=${ONNXNNW:-onnxnnw}
mkdir -p build records
$onnxnnw embed net.onnx -o build/net.onnx --record records/net.record --actor "Example Ltd" --role Tracker
