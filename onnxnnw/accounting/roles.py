"""The table of operators' inputs: what a constant at an input may be if it is not read as a weight.

Nothing is understood by default. An operator's input is listed here with what stands there and how large that may be; above
the limit it is *not understood*, for a whole layer fits into any input that nobody looks at.
"""

from dataclasses import dataclass

from onnxnnw.flow.attribute_weights import read_attributes
from onnxnnw.flow.nodes import Node
from onnxnnw.graph.uses import MIN_ELEMENTS, uses_of

__all__ = ["MAX_STRUCTURAL", "MAX_TEXT", "VOCABULARIES", "Role", "role_of", "table"]

MAX_STRUCTURAL = 64
"""Elements of a shape, a list of axes, paddings or indices; larger ones only where their values follow a formula."""

MAX_TEXT = 64
"""Bytes of one word of a vocabulary; a longer one may be anything."""


@dataclass(frozen=True)
class Role:
    """The role of a constant at an operator's input.

    Attributes:
        kind: ``parameter`` (one number per channel, or a single one) or ``structural``.
        reason: Why it may be there.
    """

    kind: str
    reason: str


_BIAS = Role("parameter", "a bias: one number per output channel")
_EXPERT_BIAS = Role("parameter", "biases of experts: one number per output channel of each")
_AFFINE = Role("parameter", "scale, shift or statistics of a normalisation: one number per channel")
_SLOPE = Role("parameter", "slopes: one number per channel")
_QUANTISATION = Role("parameter", "scale or zero point: one number per tensor, channel or block")
_OPERAND = Role("parameter", "an operand of elementwise arithmetic: a single number or one per channel")
_STATE = Role("parameter", "a state to begin with, or a bias per gate")
_ROTARY = Role("structural", "cosines or sines of positions, which follow a formula")
_SHAPE = Role("structural", "a shape, lengths or axes")
_PLACES = Role("structural", "places: indices, starts, ends or steps")
_CONTROL = Role("structural", "a number that steers the operator")

_SMALL_WEIGHT = Role("parameter", f"a weight of fewer than {MIN_ELEMENTS} elements")

_BINARY = (
    "Add Sub Mul Div Pow Mod And Or Xor Equal Greater GreaterOrEqual Less LessOrEqual BitShift BitwiseAnd BitwiseOr BitwiseXor"
).split()
_VARIADIC = "Max Min Sum Mean Concat".split()
_BIASED = "BiasGelu FastGelu BiasAdd BiasSplitGelu BiasSoftmax".split()
_TABLE: dict[str, dict[int, Role]] = {
    **{op: dict.fromkeys((0, 1), _OPERAND) for op in _BINARY},
    **{op: {0: _OPERAND} for op in _VARIADIC},
    **{op: {1: _OPERAND} for op in _BIASED},
    "Where": dict.fromkeys((0, 1, 2), _OPERAND),
    "Clip": {1: _OPERAND, 2: _OPERAND},
    "CastLike": {1: _CONTROL},
    "AffineGrid": {1: _SHAPE},
    **{op: {2: _BIAS} for op in ("Conv", "ConvTranspose", "NhwcConv", "DeformConv")},
    **{op: {2: _BIAS} for op in ("FusedConv", "NhwcFusedConv")},
    "DeformConv": {3: _BIAS},
    "Gemm": {2: _BIAS},
    "FusedGemm": {2: _BIAS},
    "GemmFastGelu": {2: _BIAS},
    "FusedMatMulActivation": {2: _BIAS},
    "MatMulNBits": {2: _QUANTISATION, 3: _QUANTISATION, 5: _BIAS},
    "MatMulBnb4": {2: _QUANTISATION},
    "GatherBlockQuantized": {1: _PLACES, 2: _QUANTISATION, 3: _QUANTISATION},
    "QLinearConv": {**dict.fromkeys((1, 2, 4, 5, 6, 7), _QUANTISATION), 8: _BIAS},
    "QLinearMatMul": dict.fromkeys((1, 2, 4, 5, 6, 7), _QUANTISATION),
    "QGemm": {**dict.fromkeys((1, 2, 4, 5, 7, 8), _QUANTISATION), 6: _BIAS},
    "ConvInteger": {2: _QUANTISATION, 3: _QUANTISATION},
    "MatMulInteger": {2: _QUANTISATION, 3: _QUANTISATION},
    "MatMulIntegerToFloat": {**dict.fromkeys((2, 3, 4, 5), _QUANTISATION), 6: _BIAS},
    "DynamicQuantizeMatMul": {2: _QUANTISATION, 3: _QUANTISATION, 4: _BIAS},
    **{op: dict.fromkeys((1, 2, 3, 4), _QUANTISATION) for op in
       ("QLinearSigmoid", "QLinearLeakyRelu", "QLinearSoftmax", "QLinearAveragePool", "QLinearGlobalAveragePool",
        "QLinearReduceMean")},
    "QLinearConcat": dict.fromkeys(range(64), _QUANTISATION),
    "QLinearAdd": {**dict.fromkeys((0, 3), _OPERAND), **dict.fromkeys((1, 2, 4, 5, 6, 7), _QUANTISATION)},
    "QLinearMul": {**dict.fromkeys((0, 3), _OPERAND), **dict.fromkeys((1, 2, 4, 5, 6, 7), _QUANTISATION)},
    "QuantizeLinear": {1: _QUANTISATION, 2: _QUANTISATION},
    "DequantizeLinear": {1: _QUANTISATION, 2: _QUANTISATION},
    "BatchNormalization": dict.fromkeys((1, 2, 3, 4), _AFFINE),
    **{op: {1: _AFFINE, 2: _AFFINE} for op in
       ("InstanceNormalization", "LayerNormalization", "GroupNormalization", "RMSNormalization", "SimplifiedLayerNormalization",
        "GroupNorm", "SkipGroupNorm")},
    "SkipGroupNorm": {1: _AFFINE, 2: _AFFINE, 4: _BIAS},
    "SkipLayerNormalization": {2: _AFFINE, 3: _AFFINE, 4: _BIAS},
    "SkipSimplifiedLayerNormalization": {2: _AFFINE, 3: _BIAS},
    "EmbedLayerNormalization": {5: _AFFINE, 6: _AFFINE},
    "PRelu": {1: _SLOPE},
    **{op: {3: _STATE, 4: _CONTROL, 5: _STATE, 6: _STATE, 7: _STATE} for op in ("LSTM", "GRU", "RNN")},
    "DynamicQuantizeLSTM": {3: _STATE, 5: _STATE, 6: _STATE, 7: _STATE, **dict.fromkeys((8, 9, 10, 11), _QUANTISATION)},
    "Attention": {2: _BIAS},
    "PackedAttention": {2: _BIAS},
    "DecoderMaskedSelfAttention": {2: _BIAS},
    "QAttention": {2: _BIAS, **dict.fromkeys((3, 4, 6, 7), _QUANTISATION)},
    "MultiHeadAttention": {3: _BIAS, 5: _OPERAND},
    "DecoderAttention": {4: _BIAS},
    "LongformerAttention": {2: _BIAS, 5: _BIAS},
    "GatedRelativePositionBias": {1: _BIAS, 4: _BIAS, 5: _OPERAND},
    "CausalConvWithState": {2: _BIAS},
    "ConvTransposeWithDynamicPads": {2: _SHAPE, 3: _BIAS},
    "RelativePositionBias": {1: _SHAPE, 2: _SHAPE},
    "QEmbedLayerNormalization": {5: _AFFINE, 6: _AFFINE, **dict.fromkeys(range(8, 18), _QUANTISATION)},
    "MoE": dict.fromkeys((3, 5, 7), _EXPERT_BIAS),
    "QMoE": {**dict.fromkeys((4, 7, 10), _EXPERT_BIAS), **dict.fromkeys((3, 6, 9, 11, 12, 13), _QUANTISATION)},
    "RotaryEmbedding": {1: _ROTARY, 2: _ROTARY, 3: _ROTARY},
    "GroupQueryAttention": {5: _SHAPE, 6: _SHAPE, 7: _ROTARY, 8: _ROTARY, 9: _PLACES, 10: _OPERAND, 11: _BIAS,
                            12: _QUANTISATION, 13: _QUANTISATION, 14: _AFFINE, 15: _AFFINE},
    "SparseAttention": {5: _PLACES, 6: _PLACES, 7: _SHAPE, 8: _SHAPE, 9: _ROTARY, 10: _ROTARY},
    "PagedAttention": {8: _ROTARY, 9: _ROTARY, 11: _BIAS, 12: _AFFINE, 13: _AFFINE, 14: _QUANTISATION, 15: _QUANTISATION},
    "Reshape": {0: _OPERAND, 1: _SHAPE},
    "Expand": {0: _OPERAND, 1: _SHAPE},
    "Tile": {0: _OPERAND, 1: _SHAPE},
    "ConstantOfShape": {0: _SHAPE},
    "Squeeze": {1: _SHAPE},
    "Unsqueeze": {1: _SHAPE},
    "Split": {1: _SHAPE},
    "SplitToSequence": {1: _SHAPE},
    "Slice": {0: _OPERAND, 1: _PLACES, 2: _PLACES, 3: _PLACES, 4: _PLACES},
    "Pad": {0: _OPERAND, 1: _SHAPE, 2: _CONTROL, 3: _SHAPE},
    "Resize": {1: _CONTROL, 2: _CONTROL, 3: _SHAPE},
    "Upsample": {1: _CONTROL},
    "CenterCropPad": {1: _SHAPE},
    **{op: {1: _SHAPE} for op in
       ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceLogSum",
        "ReduceLogSumExp", "ReduceSumSquare")},
    "Gather": {0: _OPERAND, 1: _PLACES},
    "GatherND": {0: _OPERAND, 1: _PLACES},
    "GatherElements": {0: _OPERAND, 1: _PLACES},
    "ScatterND": {0: _OPERAND, 1: _PLACES, 2: _OPERAND},
    "ScatterElements": {0: _OPERAND, 1: _PLACES, 2: _OPERAND},
    "TopK": {1: _CONTROL},
    "CumSum": {1: _CONTROL},
    "Trilu": {1: _CONTROL},
    "OneHot": {0: _PLACES, 1: _CONTROL, 2: _CONTROL},
    "Range": {0: _CONTROL, 1: _CONTROL, 2: _CONTROL},
    "Dropout": {1: _CONTROL, 2: _CONTROL},
    "If": {0: _CONTROL},
    "Loop": {0: _CONTROL, 1: _CONTROL},
    "SequenceAt": {1: _CONTROL},
    "SequenceInsert": {2: _CONTROL},
    "NonMaxSuppression": {2: _CONTROL, 3: _CONTROL, 4: _CONTROL},
    "RoiAlign": {2: _PLACES},
    "ReverseSequence": {1: _SHAPE},
    "STFT": {1: _CONTROL, 3: _CONTROL},
    "DFT": {1: _CONTROL, 2: _CONTROL},
    "MelWeightMatrix": dict.fromkeys(range(5), _CONTROL),
    "HannWindow": {0: _CONTROL},
    "HammingWindow": {0: _CONTROL},
    "BlackmanWindow": {0: _CONTROL},
    "Compress": {1: _PLACES},
}  # fmt: skip


def role_of(node: Node, place: int, size: int = 0) -> Role | None:
    """The role of a constant at an input of a node; None where no rule says it.

    Args:
        size: Elements of what stands there, where that is known: weights of few elements are no slots.
    """
    if node.domain == "ai.onnx.ml":
        return _of_attribute(node, place, size)
    if node.domain not in ("", "com.microsoft"):
        return None
    if node.op == "Attention" and not node.domain:
        return _OPERAND if place == 3 else None
    role = _TABLE.get(node.op, {}).get(0 if node.op in _VARIADIC else place)
    if role is None and 0 < size < MIN_ELEMENTS and any(use.weight == place for use in uses_of(node)):
        return _SMALL_WEIGHT
    return role


def _of_attribute(node: Node, place: int, size: int) -> Role | None:
    """The role of the input that stands for an operator's weight attributes."""
    if place < 1 or not read_attributes(node):
        return None
    return _SMALL_WEIGHT if size < MIN_ELEMENTS else _OPERAND


def table() -> dict[str, dict[int, Role]]:
    """The whole table, for the page that shows it: operator -> input -> role; of operators with any number of inputs the first."""
    return {op: dict(roles) for op, roles in sorted(_TABLE.items())}


VOCABULARIES = frozenset(
    (
        ("LabelEncoder", "keys_strings"),
        ("LabelEncoder", "classes_strings"),
        ("CategoryMapper", "cats_strings"),
        ("OneHotEncoder", "cats_strings"),
        ("StringNormalizer", "stopwords"),
        ("TfIdfVectorizer", "pool_strings"),
        ("DictVectorizer", "string_vocabulary"),
        ("ZipMap", "classlabels_strings"),
        ("LinearClassifier", "classlabels_strings"),
        ("SVMClassifier", "classlabels_strings"),
        ("TreeEnsembleClassifier", "classlabels_strings"),
    )
)
