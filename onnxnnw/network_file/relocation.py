"""A model file whose external tensors lie elsewhere: only their places are written anew, everything else is a range of the file."""

from collections.abc import Callable, Mapping

from onnx import StringStringEntryProto, TensorProto

from onnxnnw.network_file.wire import (
    EXTERNAL_DATA,
    RAW_DATA,
    Reader,
    Schema,
    encode_bytes_field,
    encode_head,
    schema_of,
)

__all__ = ["Piece", "relocate", "with_raw_data"]

Piece = bytes | tuple[int, int]
"""Literal bytes, or a range of the file from start to stop."""


Rewrite = Callable[[Reader, int, int, Schema], list[Piece]]
"""What becomes of a tensor from start to stop."""


def with_raw_data(reader: Reader, contents: Mapping[int, bytes]) -> list[Piece]:
    """The model file with other values of some tensors, whose elements had a length each and now have one width.

    Args:
        reader: The model file.
        contents: Where a field of values begins -> what stands in ``raw_data`` instead.
    """

    def rewrite(reader: Reader, start: int, end: int, schema: Schema) -> list[Piece]:
        for _, tag_start, content, stop, field in reader.fields(start, end, schema):
            if field is not None and field.name == "int32_data" and content in contents:
                return [(start, tag_start), encode_bytes_field(RAW_DATA, contents[content]), (stop, end)]
        return [(start, end)]

    return _rewritten(reader, 0, reader.size, schema_of(), rewrite)


def relocate(reader: Reader, place: Callable[[str], tuple[str, int]]) -> list[Piece]:
    """The model file with other external locations, as pieces; everything else is a range of the file.

    Args:
        reader: The model file.
        place: Old location -> new location and the offset that is added to every extent in it.
    """

    def rewrite(reader: Reader, start: int, end: int, schema: Schema) -> list[Piece]:
        return _relocated_tensor(reader, start, end, schema, place)

    return _rewritten(reader, 0, reader.size, schema_of(), rewrite)


def _rewritten(reader: Reader, start: int, end: int, schema: Schema, rewrite: Rewrite) -> list[Piece]:
    if schema.name == "TensorProto":
        return rewrite(reader, start, end, schema)
    pieces: list[Piece] = []
    run = start
    for _, tag_start, content, stop, field in reader.fields(start, end, schema):
        if field is None or field.child is None:
            continue
        inner = _rewritten(reader, content, stop, field.child, rewrite)
        if any(isinstance(piece, bytes) for piece in inner):
            length = sum(len(piece) if isinstance(piece, bytes) else piece[1] - piece[0] for piece in inner)
            pieces += ((run, tag_start), encode_head(field.number, length), *inner)
            run = stop
    return [*pieces, (run, end)]


def _relocated_tensor(
    reader: Reader, start: int, end: int, schema: Schema, place: Callable[[str], tuple[str, int]]
) -> list[Piece]:
    """A tensor whose external entries, where it has any, say the new place; other entries stay as they are."""
    pieces: list[Piece] = []
    places: dict[str, str] = {}
    external = False
    run = start
    for _, tag_start, content, stop, field in reader.fields(start, end, schema):
        if field is None or field.name not in ("external_data", "data_location"):
            continue
        if field.name == "data_location":
            external = reader.varint(content, stop)[0] == TensorProto.EXTERNAL
            continue
        entry = StringStringEntryProto.FromString(reader.range(content, stop))
        if entry.key in ("location", "offset", "checksum"):  # the last is a SHA-1 of the file as it was
            places[entry.key] = entry.value
            pieces.append((run, tag_start))
            run = stop
    if not external:
        return [(start, end)]
    location, added = place(places.get("location", ""))
    renewed = {"location": location}
    if added or "offset" in places:
        renewed["offset"] = str(int(places.get("offset") or 0) + added)
    encoded = b"".join(
        encode_bytes_field(EXTERNAL_DATA, encode_bytes_field(1, k.encode()) + encode_bytes_field(2, v.encode()))
        for k, v in renewed.items()
    )
    return [*pieces, (run, end), encoded]
