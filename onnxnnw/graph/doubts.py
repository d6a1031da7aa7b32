"""Reasons why two networks of equal digest may compute different things."""

from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet
from onnx import ModelProto

from onnxnnw.flow.nodes import UNREAD, Flow, Node

__all__ = ["doubts_of"]


def doubts_of(model: ModelProto, flow: Flow, nodes: list[Node]) -> list[str]:
    """What is in a file, or happens when it runs, that no digest says."""
    out = []
    if _has_unknown_fields(model):
        out.append("the file has fields that this version of ONNX does not know")
    if _out_of_order(flow, [node for node in nodes if node.conditional]):
        out.append("nodes of a branch or loop stand out of order, which runtimes refuse")
    if any(node.bindings is not None and node.proto.domain == "ai.onnx" for node in nodes):
        out.append("a local function spells out the standard domain, which runtimes refuse")
    if any(node.op == "EPContext" and not node.integer("embed_mode", 1) for node in nodes):
        out.append("a compiled network runs from a file that only an operator names")
    from onnxnnw.flow.runtime_operators import is_runtime_operator  # a large table, and only digests need it whole

    for domain, op in sorted({(node.domain, node.op) for node in nodes}):
        if domain.startswith(UNREAD):
            out.append(f"a runtime may run its own {domain.removeprefix(UNREAD)}.{op} instead of the local function")
        elif not is_runtime_operator(domain, op):
            out.append(f"what {f'{domain}.{op}'.lstrip('.')[:100]} computes is not known")
    return out[:20]


_AT_ONCE = 1 << 16
"""Bytes of messages that are copied at once; larger ones are looked through piece by piece."""


def _has_unknown_fields(message: Message) -> bool:
    """Whether a message, or one inside it, has fields that its definition does not know; without a copy of it all."""
    if len(UnknownFieldSet(message)):
        return True
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        parts = [value] if isinstance(value, Message) else value
        held, size = type(message)(), 0
        for part in parts:
            length = part.ByteSize()
            if length > _AT_ONCE:
                if _has_unknown_fields(part):
                    return True
                continue
            if size + length > _AT_ONCE:
                if _drops_fields(held):
                    return True
                held, size = type(message)(), 0
            target = getattr(held, field.name)
            if isinstance(value, Message):
                target.CopyFrom(part)
            else:
                target.append(part)
            size += length + 1
        if _drops_fields(held):
            return True
    return False


def _drops_fields(message: Message) -> bool:
    """Whether a message, which is changed, gets smaller without its unknown fields."""
    before = message.ByteSize()
    message.DiscardUnknownFields()
    return bool(message.ByteSize() != before)


def _out_of_order(flow: Flow, nodes: list[Node]) -> bool:
    """Whether one of these nodes reads what a later node of the file writes."""
    if not nodes:
        return False
    places = {id(node): place for place, node in enumerate(flow.nodes)}
    return any(
        places.get(id(flow.producer[value]), 0) > places.get(id(node), 0)
        for node in nodes
        for value in node.inputs
        if value in flow.producer
    )
