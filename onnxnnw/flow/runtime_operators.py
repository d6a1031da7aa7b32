"""Operators that runtimes know by name: for such a name they run their own operator, not the file's function.

A runtime that has an operator of a node's domain and name may run that, whatever the local function of that name says. Seen
with onnxruntime: ``com.microsoft::Gelu`` runs as its own kernel, ``com.microsoft::MyOwn`` as the function. So this is data
with versions, and a name that is missing here is read as the function says: the list is the union of what onnx defines in
any domain and at any opset, of the operators that onnxruntime has for CPUs and GPUs, and of onnxruntime-extensions.
"""

from collections.abc import Mapping
from functools import cache

__all__ = ["VERSIONS", "is_runtime_operator", "runtime_operators"]


@cache
def runtime_operators() -> Mapping[str, frozenset[str]]:
    """The names by domain; ``ai.onnx`` is the empty domain."""
    return {domain: frozenset(names.split()) for domain, names in _NAMES.items()}


def is_runtime_operator(domain: str, name: str) -> bool:
    """Whether a runtime may have an operator of its own of exactly this name."""
    return name in runtime_operators().get("" if domain == "ai.onnx" else domain, ())


# What follows is written by `python -m benchmarks operators`.
VERSIONS: Mapping[str, str] = {
    "onnx": "1.23.2",
    "onnxruntime": "1.31.1",
    "onnxruntime-extensions": "0.15.2",
}
"""The packages that the names were taken from."""

_NAMES: Mapping[str, str] = {
    "": """
        Abs Acos Acosh Add Affine AffineGrid And ArgMax ArgMin Asin Asinh Atan Atanh Attention AveragePool
        BatchNormalization Bernoulli BitCast BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor BlackmanWindow
        Cast CastLike CausalConvWithState Ceil Celu CenterCropPad Clip Col2Im Compress Concat ConcatFromSequence
        Constant ConstantOfShape Conv ConvInteger ConvTranspose Cos Cosh Crop CumProd CumSum DFT DeformConv
        DepthToSpace DequantizeLinear Det DisentangledAttention_TRT Div Dropout DynamicQuantizeLinear
        DynamicSlice EfficientNMS_TRT Einsum Elu Equal Erf Exp Expand EyeLike Flatten Floor GRU GRUUnit Gather
        GatherElements GatherND Gelu Gemm GivenTensorFill GlobalAveragePool GlobalLpPool GlobalMaxPool Greater
        GreaterOrEqual GridSample GroupNormalization HammingWindow HannWindow HardSigmoid HardSwish Hardmax
        Identity If ImageDecoder ImageScaler InstanceNormalization IsInf IsNaN LRN LSTM LayerNormalization
        LeakyRelu Less LessOrEqual LinearAttention Log LogSoftmax Loop LpNormalization LpPool MatMul
        MatMulInteger Max MaxPool MaxRoiPool MaxUnpool Mean MeanVarianceNormalization MelWeightMatrix
        MemcpyFromHost MemcpyToHost Min Mish Mod Mul MultilevelCropAndResize_TRT Multinomial Neg
        NegativeLogLikelihoodLoss NonMaxSuppression NonZero Not OneHot Optional OptionalGetElement
        OptionalHasElement Or PRelu Pad ParametricSoftplus Pow PyramidROIAlign_TRT QLinearConv QLinearMatMul
        QuantizeLinear RMSNormalization RNN RandomNormal RandomNormalLike RandomUniform RandomUniformLike Range
        Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd
        ReduceSum ReduceSumSquare RegexFullMatch Relu Reshape Resize ReverseSequence RoiAlign RotaryEmbedding
        Round STFT Scale ScaledTanh Scan Scatter ScatterElements ScatterND Selu SequenceAt SequenceConstruct
        SequenceEmpty SequenceErase SequenceInsert SequenceLength SequenceMap Shape Shrink Sigmoid Sign
        SimplifiedLayerNormalization Sin Sinh Size Slice Softmax SoftmaxCrossEntropyLoss Softplus Softsign
        SpaceToDepth Split SplitToSequence Sqrt Squeeze StringConcat StringNormalizer StringSplit Sub Sum SwiGLU
        Swish Tan Tanh TensorScatter TfIdfVectorizer ThresholdedRelu Tile TopK Transpose Trilu Unique Unsqueeze
        Upsample Where Xor
    """,
    "ai.onnx.contrib": """
        ArgSort AudioDecoder BasicTokenizer BertTokenizer BertTokenizerDecoder BlingFireSentenceBreaker
        BpeDecoder CLIPTokenizer GPT2Tokenizer GaussianBlur HfBertTokenizer HfJsonTokenizer ImageDecoder
        ImageReader Inverse MaskedFill MergeSignalSegments NegPos RaggedTensorToDense RaggedTensorToSparse
        RobertaTokenizer SegmentExtraction SegmentSum SentencepieceDecoder SentencepieceTokenizer
        SplitSignalSegments SpmTokenizer StftNorm StringConcat StringECMARegexReplace
        StringECMARegexSplitWithOffsets StringEqual StringJoin StringLength StringLower StringMapping
        StringRaggedTensorToDense StringRegexReplace StringRegexSplitWithOffsets StringSplit StringStrip
        StringToHashBucket StringToHashBucketFast StringToVector StringUpper TrieDetokenizer TrieTokenizer
        VectorToString WordpieceTokenizer
    """,
    "ai.onnx.ml": """
        ArrayFeatureExtractor Binarizer CastMap CategoryMapper DictVectorizer FeatureVectorizer Imputer
        LabelEncoder LinearClassifier LinearRegressor Normalizer OneHotEncoder SVMClassifier SVMRegressor Scaler
        TreeEnsemble TreeEnsembleClassifier TreeEnsembleRegressor ZipMap
    """,
    "ai.onnx.preview": """
        FlexAttention
    """,
    "ai.onnx.preview.training": """
        Adagrad Adam Gradient Momentum
    """,
    "com.microsoft": """
        Attention AttnLSTM BeamSearch BiasAdd BiasDropout BiasGelu BiasSoftmax BiasSplitGelu BifurcationDetector
        BitmaskBiasDropout BitmaskDropout BranchwiseRMSNorm CDist CausalConvWithState ComplexMul ComplexMulConj
        ConvTransposeWithDynamicPads CropAndResize DecoderAttention DecoderMaskedMultiHeadAttention
        DecoderMaskedSelfAttention DequantizeBFP DequantizeLinear DequantizeWithOrder DynamicQuantizeLSTM
        DynamicQuantizeMatMul DynamicSparseAttention DynamicTimeWarping EPContext EmbedLayerNormalization
        EngramGate ExpandDims FastGelu FusedConv FusedGemm FusedMatMul FusedMatMulActivation GatedAdd
        GatedDeltaNet GatedRMSNorm GatedRelativePositionBias GatherBlockQuantized GatherND Gelu GemmFastGelu
        GemmFloat8 GemmaRotaryEmbedding GreedySearch GridSample GroupNorm GroupQueryAttention
        HyperConnectionPostMix HyperConnectionPreMix Inverse Irfft IsAllFinite LinearAttention
        LinearAttentionGate LongformerAttention MRotaryEmbedding MatMulBlockQuantizedFp4Weight
        MatMulBlockQuantizedFp8Weight MatMulBnb4 MatMulFpQ4 MatMulInteger16 MatMulIntegerToFloat MatMulNBits
        MatMulNBitsMlp MatMulNBitsQkv MaxpoolWithMask MoE MulInteger MultiHeadAttention MurmurHash3
        NGramHashMapping NGramRepeatBlock NhwcConv NhwcFusedConv NhwcMaxPool PackedAttention
        PackedMultiHeadAttention PackedSparseAttentionIndexer Pad PagedAttention QAttention
        QEmbedLayerNormalization QGemm QLinearAdd QLinearAveragePool QLinearConcat QLinearConv
        QLinearGlobalAveragePool QLinearLeakyRelu QLinearMul QLinearReduceMean QLinearSigmoid QLinearSoftmax
        QLinearWhere QMoE QOrderedAttention QOrderedGelu QOrderedLayerNormalization QOrderedLongformerAttention
        QOrderedMatMul QuantizeBFP QuantizeLinear QuantizeWithOrder QuickGelu Range ReduceSumInteger
        RelativePositionBias RemovePadding RestorePadding Rfft RotaryEmbedding SampleOp Sampling ScaledSiLU
        SkipGroupNorm SkipLayerNormalization SkipSimplifiedLayerNormalization Snpe SparseAttention
        SparseAttentionIndexer SparsePagedAttention SparseToDenseMatMul Tokenizer TorchEmbedding TransposeMatMul
        Trilu UnfoldTensor Unique VarlenCausalConvWithState VarlenNGramHashMapping WhisperBeamSearch
        WordConvEmbedding
    """,
    "com.microsoft.extensions": """
        BasicTokenizer BertTokenizer BertTokenizerDecoder BlingFireSentenceBreaker BpeDecoder CLIPTokenizer
        DecodeImage DrawBoundingBoxes EncodeImage GPT2Tokenizer HfBertTokenizer HfJsonTokenizer RobertaTokenizer
        SentencepieceDecoder SentencepieceTokenizer SpmTokenizer TrieDetokenizer TrieTokenizer
        WordpieceTokenizer
    """,
    "com.microsoft.nchwc": """
        AveragePool Conv GlobalAveragePool GlobalMaxPool MaxPool ReorderInput ReorderOutput Upsample
    """,
    "com.ms.internal.nhwc": """
        AveragePool BatchNormalization Conv ConvTranspose DepthToSpace GlobalAveragePool GlobalLpPool
        GlobalMaxPool GridSample InstanceNormalization LRN LpPool MaxPool MaxUnpool QLinearAveragePool
        QLinearConv QLinearConvTranspose Resize SpaceToDepth
    """,
}
# End of what is written.
