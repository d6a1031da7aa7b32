# An image for gates: what `onnxnnw verify` and `check` need, and nothing else; it runs as nobody and writes nowhere.
#   docker build --build-arg BASE=python:3.12-slim@sha256:DIGEST -t onnxnnw .
#   docker run --rm --read-only --network none -v "$PWD:/data:ro" onnxnnw verify /data/net.onnx --record /data/net.record
# BASE has no default: the release checklist says where its digest comes from.
ARG BASE

FROM ${BASE} AS build
COPY . /build
RUN /build/action/install.sh /opt/onnxnnw && /opt/onnxnnw/bin/python -m compileall -q -j 0 /opt/onnxnnw/lib/python3*/site-packages/onnxnnw

FROM ${BASE}
COPY --from=build /opt/onnxnnw /opt/onnxnnw
ENV PYTHONDONTWRITEBYTECODE=1 PATH=/opt/onnxnnw/bin:$PATH
USER 65532:65532
WORKDIR /data
ENTRYPOINT ["/opt/onnxnnw/bin/onnxnnw"]
