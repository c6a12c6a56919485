"""TensorFlow ops that a SavedModel may use unasked, and why it may not use the others: lists, made by hand and kept so.

An op may stand in `TRUSTED` if all that it does is compute: it opens no file and no connection, runs no Python, and
cannot be made to by its inputs or attributes. An op on neither list is refused. A test names the ops of the installed
TensorFlow that are on neither, so that each new one is decided on by somebody.
"""

import fnmatch

# Topic → names.
_TRUSTED = {
    "arrays": """
        BatchMatrixBandPart BatchMatrixDiag BatchMatrixDiagPart BatchMatrixSetDiag BatchToSpace BatchToSpaceND
        Bitcast BroadcastArgs BroadcastGradientArgs BroadcastTo CheckNumerics CheckNumericsV2
        CompositeTensorVariantFromComponents CompositeTensorVariantToComponents Concat ConcatOffset ConcatV2
        ConjugateTranspose Const DebugGradientIdentity DebugGradientRefIdentity DeepCopy DenseToDenseSetOperation
        DenseToSparseSetOperation DepthToSpace Dequantize Diag DiagPart EditDistance Empty EnsureShape ExpandDims
        ExtractImagePatches ExtractVolumePatches FakeQuantWithMinMaxArgs FakeQuantWithMinMaxArgsGradient
        FakeQuantWithMinMaxVars FakeQuantWithMinMaxVarsGradient FakeQuantWithMinMaxVarsPerChannel
        FakeQuantWithMinMaxVarsPerChannelGradient Fill Fingerprint Gather GatherNd GatherV2 GuaranteeConst Identity
        IdentityN InplaceAdd InplaceSub InplaceUpdate InvertPermutation ListDiff LowerBound MatrixBandPart
        MatrixDiag MatrixDiagPart MatrixDiagPartV2 MatrixDiagPartV3 MatrixDiagV2 MatrixDiagV3 MatrixSetDiag
        MatrixSetDiagV2 MatrixSetDiagV3 MirrorPad MirrorPadGrad OneHot OnesLike Pack Pad PadV2 ParallelConcat
        Placeholder PlaceholderV2 PlaceholderWithDefault PreventGradient QuantizeAndDequantize
        QuantizeAndDequantizeV2 QuantizeAndDequantizeV3 QuantizeAndDequantizeV4 QuantizeAndDequantizeV4Grad
        QuantizeV2 QuantizedConcat QuantizedInstanceNorm QuantizedReshape RaggedCross RaggedFillEmptyRows
        RaggedFillEmptyRowsGrad RaggedGather RaggedRange RaggedTensorFromVariant RaggedTensorToSparse
        RaggedTensorToTensor RaggedTensorToVariant RaggedTensorToVariantGradient RandomIndexShuffle Rank RefIdentity
        Reshape ResourceStridedSliceAssign Reverse ReverseSequence ReverseV2 Roll ScatterNd ScatterNdNonAliasingAdd
        SetSize Shape ShapeN Size Slice Snapshot SpaceToBatch SpaceToBatchND SpaceToDepth SparseToSparseSetOperation
        Split SplitV Squeeze StopGradient StridedSlice StridedSliceAssign StridedSliceGrad TensorScatterAdd
        TensorScatterMax TensorScatterMin TensorScatterSub TensorScatterUpdate TensorStridedSliceUpdate Tile
        TileGrad Transpose Unique UniqueV2 UniqueWithCounts UniqueWithCountsV2 Unpack UnravelIndex UpperBound Where
        ZerosLike
    """,
    "mathematics": """
        Abs AccumulateNV2 Acos Acosh Add AddN AddV2 All Angle Any ApproximateEqual ArgMax ArgMin Asin Asinh Atan
        Atan2 Atanh BandedTriangularSolve BatchCholesky BatchCholeskyGrad BatchFFT BatchFFT2D BatchFFT3D BatchIFFT
        BatchIFFT2D BatchIFFT3D BatchMatMul BatchMatMulV2 BatchMatMulV3 BatchMatrixDeterminant BatchMatrixInverse
        BatchMatrixSolve BatchMatrixSolveLs BatchMatrixTriangularSolve BatchSelfAdjointEig BatchSelfAdjointEigV2
        BatchSvd BesselI0 BesselI0e BesselI1 BesselI1e BesselJ0 BesselJ1 BesselK0 BesselK0e BesselK1 BesselK1e
        BesselY0 BesselY1 Betainc Bincount BitwiseAnd BitwiseOr BitwiseXor Bucketize Cast Ceil Cholesky CholeskyGrad
        ClipByValue Complex ComplexAbs Conj Cos Cosh Cross Cumprod Cumsum CumulativeLogsumexp Dawsn DenseBincount
        DenseCountSparseOutput Digamma Div DivNoNan Eig Einsum Equal Erf Erfc Erfinv EuclideanNorm Exp Expint Expm1
        FFT FFT2D FFT3D FFTND Floor FloorDiv FloorMod FresnelCos FresnelSin Greater GreaterEqual HistogramFixedWidth
        IFFT IFFT2D IFFT3D IFFTND IRFFT IRFFT2D IRFFT3D IRFFTND Igamma IgammaGradA Igammac Imag Inv InvGrad Invert
        IsFinite IsInf IsNan KMC2ChainInitialization KmeansPlusPlusInitialization KthOrderStatistic LeftShift Less
        LessEqual Lgamma LinSpace Log Log1p LogMatrixDeterminant LogicalAnd LogicalNot LogicalOr Lu MakeUnique
        MatMul MatrixDeterminant MatrixExponential MatrixInverse MatrixLogarithm MatrixSolve MatrixSolveLs
        MatrixSquareRoot MatrixTriangularSolve Max Maximum Mean Min Minimum Mod Mul MulNoNan Ndtri NearestNeighbors
        Neg NextAfter NotEqual Polygamma PopulationCount Pow Prod Qr QuantizeDownAndShrinkRange QuantizedAdd
        QuantizedMatMul QuantizedMul RFFT RFFT2D RFFT3D RFFTND RaggedBincount RaggedCountSparseOutput Range Real
        RealDiv Reciprocal ReciprocalGrad RequantizationRange RequantizationRangePerChannel Requantize
        RequantizePerChannel RightShift Rint Round Rsqrt RsqrtGrad SegmentMax SegmentMaxV2 SegmentMean SegmentMin
        SegmentMinV2 SegmentProd SegmentProdV2 SegmentSum SegmentSumV2 Select SelectV2 SelfAdjointEig
        SelfAdjointEigV2 Sigmoid SigmoidGrad Sign Sin Sinh SobolSample SparseBincount SparseCountSparseOutput
        SparseMatMul SparseSegmentMean SparseSegmentMeanGrad SparseSegmentMeanGradV2
        SparseSegmentMeanWithNumSegments SparseSegmentSqrtN SparseSegmentSqrtNGrad SparseSegmentSqrtNGradV2
        SparseSegmentSqrtNWithNumSegments SparseSegmentSum SparseSegmentSumGrad SparseSegmentSumGradV2
        SparseSegmentSumWithNumSegments Spence Sqrt SqrtGrad Square SquaredDifference StochasticCastToInt Sub Sum
        Svd Tan Tanh TanhGrad TopKUnique TopKWithUnique TridiagonalMatMul TridiagonalSolve TruncateDiv TruncateMod
        UnsortedSegmentMax UnsortedSegmentMin UnsortedSegmentProd UnsortedSegmentSum Xdivy Xlog1py Xlogy Zeta
    """,
    "neural networks": """
        AllCandidateSampler ApproxTopK AvgPool AvgPool3D AvgPool3DGrad AvgPoolGrad BatchNormWithGlobalNormalization
        BatchNormWithGlobalNormalizationGrad BiasAdd BiasAddGrad BiasAddV1 BlockLSTM BlockLSTMGrad BlockLSTMGradV2
        BlockLSTMV2 CTCBeamSearchDecoder CTCGreedyDecoder CTCLoss CTCLossV2 ComputeAccidentalHits Conv Conv2D
        Conv2DBackpropFilter Conv2DBackpropFilterV2 Conv2DBackpropInput Conv2DBackpropInputV2 Conv3D
        Conv3DBackpropFilter Conv3DBackpropFilterV2 Conv3DBackpropInput Conv3DBackpropInputV2 CudnnRNN
        CudnnRNNBackprop CudnnRNNBackpropV2 CudnnRNNBackpropV3 CudnnRNNCanonicalToParams CudnnRNNCanonicalToParamsV2
        CudnnRNNParamsSize CudnnRNNParamsToCanonical CudnnRNNParamsToCanonicalV2 CudnnRNNV2 CudnnRNNV3
        DataFormatDimMap DataFormatVecPermute DepthwiseConv2dNative DepthwiseConv2dNativeBackpropFilter
        DepthwiseConv2dNativeBackpropInput Dilation2D Dilation2DBackpropFilter Dilation2DBackpropInput Elu EluGrad
        FractionalAvgPool FractionalAvgPoolGrad FractionalMaxPool FractionalMaxPoolGrad FusedBatchNorm
        FusedBatchNormGrad FusedBatchNormGradV2 FusedBatchNormGradV3 FusedBatchNormV2 FusedBatchNormV3
        FusedPadConv2D FusedResizeAndPadConv2D GRUBlockCell GRUBlockCellGrad InTopK InTopKV2 IsotonicRegression
        L2Loss LRN LRNGrad LSTMBlockCell LSTMBlockCellGrad LeakyRelu LeakyReluGrad LearnedUnigramCandidateSampler
        LogSoftmax LogUniformCandidateSampler MaxPool MaxPool3D MaxPool3DGrad MaxPool3DGradGrad MaxPoolGrad
        MaxPoolGradGrad MaxPoolGradGradV2 MaxPoolGradGradWithArgmax MaxPoolGradV2 MaxPoolGradWithArgmax MaxPoolV2
        MaxPoolWithArgmax NthElement QuantizedAvgPool QuantizedBatchNormWithGlobalNormalization QuantizedBiasAdd
        QuantizedConcatV2 QuantizedConv2D QuantizedConv2DAndRelu QuantizedConv2DAndReluAndRequantize
        QuantizedConv2DAndRequantize QuantizedConv2DPerChannel QuantizedConv2DWithBias
        QuantizedConv2DWithBiasAndRelu QuantizedConv2DWithBiasAndReluAndRequantize
        QuantizedConv2DWithBiasAndRequantize QuantizedConv2DWithBiasSignedSumAndReluAndRequantize
        QuantizedConv2DWithBiasSumAndRelu QuantizedConv2DWithBiasSumAndReluAndRequantize QuantizedDepthwiseConv2D
        QuantizedDepthwiseConv2DWithBias QuantizedDepthwiseConv2DWithBiasAndRelu
        QuantizedDepthwiseConv2DWithBiasAndReluAndRequantize QuantizedMatMulWithBias
        QuantizedMatMulWithBiasAndDequantize QuantizedMatMulWithBiasAndRelu
        QuantizedMatMulWithBiasAndReluAndRequantize QuantizedMatMulWithBiasAndRequantize QuantizedMaxPool
        QuantizedRelu QuantizedRelu6 QuantizedReluX Relu Relu6 Relu6Grad ReluGrad Selu SeluGrad Softmax
        SoftmaxCrossEntropyWithLogits Softplus SoftplusGrad Softsign SoftsignGrad
        SparseSoftmaxCrossEntropyWithLogits ThreadUnsafeUnigramCandidateSampler TopK TopKV2 UniformCandidateSampler
        UniformDequantize UniformQuantize UniformQuantizedAdd UniformQuantizedClipByValue
        UniformQuantizedConvolution UniformQuantizedConvolutionHybrid UniformQuantizedDot UniformQuantizedDotHybrid
        UniformRequantize _FusedBatchNormEx _FusedConv2D _FusedConv3D _FusedDepthwiseConv2dNative _FusedMatMul
    """,
    "images and sound": """
        AdjustContrast AdjustContrastv2 AdjustHue AdjustSaturation AudioMicrofrontend AudioSpectrogram
        CombinedNonMaxSuppression CropAndResize CropAndResizeGradBoxes CropAndResizeGradImage DecodeAndCropJpeg
        DecodeBmp DecodeGif DecodeImage DecodeJpeg DecodePng DecodeWav DecodeWebP DrawBoundingBoxes
        DrawBoundingBoxesV2 EncodeJpeg EncodeJpegVariableQuality EncodePng EncodeWav ExtractGlimpse ExtractGlimpseV2
        ExtractJpegShape GenerateBoundingBoxProposals HSVToRGB ImageProjectiveTransformV2 ImageProjectiveTransformV3
        Mfcc NonMaxSuppression NonMaxSuppressionV2 NonMaxSuppressionV3 NonMaxSuppressionV4 NonMaxSuppressionV5
        NonMaxSuppressionWithOverlaps QuantizedResizeBilinear RGBToHSV RandomCrop ResizeArea ResizeBicubic
        ResizeBicubicGrad ResizeBilinear ResizeBilinearGrad ResizeNearestNeighbor ResizeNearestNeighborGrad
        SampleDistortedBoundingBox SampleDistortedBoundingBoxV2 ScaleAndTranslate ScaleAndTranslateGrad
        StatelessSampleDistortedBoundingBox
    """,
    "sparse tensors": """
        AddManySparseToTensorsMap AddSparseToTensorsMap CSRSparseMatrixComponents CSRSparseMatrixToDense
        CSRSparseMatrixToSparseTensor DenseToCSRSparseMatrix DeserializeManySparse DeserializeSparse
        SerializeManySparse SerializeSparse SparseAdd SparseAddGrad SparseConcat SparseCross SparseCrossHashed
        SparseCrossV2 SparseDenseCwiseAdd SparseDenseCwiseDiv SparseDenseCwiseMul SparseFillEmptyRows
        SparseFillEmptyRowsGrad SparseMatrixAdd SparseMatrixMatMul SparseMatrixMul SparseMatrixNNZ
        SparseMatrixOrderingAMD SparseMatrixSoftmax SparseMatrixSoftmaxGrad SparseMatrixSparseCholesky
        SparseMatrixSparseMatMul SparseMatrixTranspose SparseMatrixZeros SparseReduceMax SparseReduceMaxSparse
        SparseReduceSum SparseReduceSumSparse SparseReorder SparseReshape SparseSlice SparseSliceGrad SparseSoftmax
        SparseSparseMaximum SparseSparseMinimum SparseSplit SparseTensorDenseAdd SparseTensorDenseMatMul
        SparseTensorToCSRSparseMatrix SparseToDense TakeManySparseFromTensorsMap
    """,
    "text and parsing": """
        AsString DecodeBase64 DecodeCSV DecodeCompressed DecodeJSONExample DecodePaddedRaw DecodeRaw EncodeBase64
        ParseExample ParseExampleV2 ParseSequenceExample ParseSequenceExampleV2 ParseSingleExample
        ParseSingleSequenceExample ParseTensor ReduceJoin RegexFullMatch RegexReplace SerializeTensor
        ShardedFilename ShardedFilespec StaticRegexFullMatch StaticRegexReplace StringFormat StringJoin StringLength
        StringLower StringNGrams StringSplit StringSplitV2 StringStrip StringToHashBucket StringToHashBucketFast
        StringToHashBucketStrong StringToNumber StringUpper Substr UnicodeDecode UnicodeDecodeWithOffsets
        UnicodeEncode UnicodeScript UnicodeTranscode UnsortedSegmentJoin
    """,
    "random numbers": """
        Multinomial NonDeterministicInts ParameterizedTruncatedNormal RandomGamma RandomGammaGrad RandomPoisson
        RandomPoissonV2 RandomShuffle RandomStandardNormal RandomUniform RandomUniformInt RngReadAndSkip RngSkip
        StatefulRandomBinomial StatefulStandardNormal StatefulStandardNormalV2 StatefulTruncatedNormal
        StatefulUniform StatefulUniformFullInt StatefulUniformInt StatelessMultinomial
        StatelessParameterizedTruncatedNormal StatelessRandomBinomial StatelessRandomGammaV2 StatelessRandomGammaV3
        StatelessRandomGetAlg StatelessRandomGetKeyCounter StatelessRandomGetKeyCounterAlg StatelessRandomNormal
        StatelessRandomNormalV2 StatelessRandomPoisson StatelessRandomUniform StatelessRandomUniformFullInt
        StatelessRandomUniformFullIntV2 StatelessRandomUniformInt StatelessRandomUniformIntV2
        StatelessRandomUniformV2 StatelessShuffle StatelessTruncatedNormal StatelessTruncatedNormalV2
        TruncatedNormal
    """,
    "control flow and lists": """
        Batch BatchFunction Case ControlTrigger DeviceIndex DynamicPartition DynamicStitch EmptyTensorList
        EmptyTensorMap Enter Exit FakeParam For If LoopCond MapDefun Merge NextIteration NoOp OptionalFromValue
        OptionalGetValue OptionalHasValue OptionalNone ParallelDynamicStitch PartitionedCall RefEnter RefExit
        RefMerge RefNextIteration RefSelect RefSwitch Stack StackClose StackCloseV2 StackPop StackPopV2 StackPush
        StackPushV2 StackV2 StatefulPartitionedCall StatelessCase StatelessIf StatelessWhile Switch TensorArray
        TensorArrayClose TensorArrayCloseV2 TensorArrayCloseV3 TensorArrayConcat TensorArrayConcatV2
        TensorArrayConcatV3 TensorArrayGather TensorArrayGatherV2 TensorArrayGatherV3 TensorArrayGrad
        TensorArrayGradV2 TensorArrayGradV3 TensorArrayGradWithShape TensorArrayPack TensorArrayRead
        TensorArrayReadV2 TensorArrayReadV3 TensorArrayScatter TensorArrayScatterV2 TensorArrayScatterV3
        TensorArraySize TensorArraySizeV2 TensorArraySizeV3 TensorArraySplit TensorArraySplitV2 TensorArraySplitV3
        TensorArrayUnpack TensorArrayV2 TensorArrayV3 TensorArrayWrite TensorArrayWriteV2 TensorArrayWriteV3
        TensorListConcat TensorListConcatLists TensorListConcatV2 TensorListElementShape TensorListFromTensor
        TensorListGather TensorListGetItem TensorListLength TensorListPopBack TensorListPushBack
        TensorListPushBackBatch TensorListReserve TensorListResize TensorListScatter
        TensorListScatterIntoExistingList TensorListScatterV2 TensorListSetItem TensorListSplit TensorListStack
        TensorMapErase TensorMapHasKey TensorMapInsert TensorMapLookup TensorMapSize TensorMapStackKeys ToBool
        Unbatch UnbatchGrad While
    """,
    "variables and training": """
        ApplyAdaMax ApplyAdadelta ApplyAdagrad ApplyAdagradDA ApplyAdagradV2 ApplyAdam ApplyAddSign
        ApplyCenteredRMSProp ApplyFtrl ApplyFtrlV2 ApplyGradientDescent ApplyMomentum ApplyPowerSign
        ApplyProximalAdagrad ApplyProximalGradientDescent ApplyRMSProp Assign AssignAdd AssignAddVariableOp
        AssignSub AssignSubVariableOp AssignVariableOp ConsumeMutexLock CountUpTo DestroyResourceOp
        DestroyTemporaryVariable DisableCopyOnRead IsVariableInitialized MutexLock MutexV2 ReadVariableOp
        ResourceApplyAdaMax ResourceApplyAdadelta ResourceApplyAdagrad ResourceApplyAdagradDA ResourceApplyAdagradV2
        ResourceApplyAdam ResourceApplyAdamWithAmsgrad ResourceApplyAddSign ResourceApplyCenteredRMSProp
        ResourceApplyFtrl ResourceApplyFtrlV2 ResourceApplyGradientDescent ResourceApplyKerasMomentum
        ResourceApplyMomentum ResourceApplyPowerSign ResourceApplyProximalAdagrad
        ResourceApplyProximalGradientDescent ResourceApplyRMSProp ResourceCountUpTo ResourceGather ResourceGatherNd
        ResourceScatterAdd ResourceScatterDiv ResourceScatterMax ResourceScatterMin ResourceScatterMul
        ResourceScatterNdAdd ResourceScatterNdMax ResourceScatterNdMin ResourceScatterNdSub ResourceScatterNdUpdate
        ResourceScatterSub ResourceScatterUpdate ResourceSparseApplyAdadelta ResourceSparseApplyAdagrad
        ResourceSparseApplyAdagradDA ResourceSparseApplyAdagradV2 ResourceSparseApplyCenteredRMSProp
        ResourceSparseApplyFtrl ResourceSparseApplyFtrlV2 ResourceSparseApplyKerasMomentum
        ResourceSparseApplyMomentum ResourceSparseApplyProximalAdagrad ResourceSparseApplyProximalGradientDescent
        ResourceSparseApplyRMSProp ScatterAdd ScatterDiv ScatterMax ScatterMin ScatterMul ScatterNdAdd ScatterNdMax
        ScatterNdMin ScatterNdSub ScatterNdUpdate ScatterSub ScatterUpdate SparseApplyAdadelta SparseApplyAdagrad
        SparseApplyAdagradDA SparseApplyAdagradV2 SparseApplyCenteredRMSProp SparseApplyFtrl SparseApplyFtrlV2
        SparseApplyMomentum SparseApplyProximalAdagrad SparseApplyProximalGradientDescent SparseApplyRMSProp
        TemporaryVariable VarHandleOp VarIsInitializedOp Variable VariableShape VariableV2
    """,
    "lookup tables": """
        AnonymousHashTable AnonymousMutableDenseHashTable AnonymousMutableHashTable
        AnonymousMutableHashTableOfTensors HashTable HashTableV2 InitializeTable InitializeTableV2 LookupTableExport
        LookupTableExportV2 LookupTableFind LookupTableFindV2 LookupTableImport LookupTableImportV2
        LookupTableInsert LookupTableInsertV2 LookupTableRemoveV2 LookupTableSize LookupTableSizeV2
        MutableDenseHashTable MutableDenseHashTableV2 MutableHashTable MutableHashTableOfTensors
        MutableHashTableOfTensorsV2 MutableHashTableV2
    """,
    "checks and messages": """
        Assert AudioSummary AudioSummaryV2 HistogramSummary ImageSummary MergeSummary Print ScalarSummary
        TensorSummary TensorSummaryV2 Timestamp
    """,
    "datasets in memory": """
        AnonymousIteratorV2 AnonymousIteratorV3 BatchDataset BatchDatasetV2 ConcatenateDataset DatasetCardinality
        DatasetToSingleElement DeleteIterator FilterDataset FlatMapDataset InterleaveDataset IteratorGetNext
        IteratorGetNextAsOptional IteratorGetNextSync MakeIterator MapDataset OptionsDataset PaddedBatchDataset
        PaddedBatchDatasetV2 ParallelMapDatasetV2 PrefetchDataset RangeDataset ReduceDataset RepeatDataset
        SkipDataset TakeDataset TensorDataset TensorSliceDataset WindowDataset ZipDataset
    """,
    "XLA": """
        XlaBroadcastHelper XlaConv XlaConvV2 XlaDequantize XlaDot XlaDotV2 XlaDynamicSlice XlaDynamicUpdateSlice
        XlaEinsum XlaGather XlaIf XlaKeyValueSort XlaOptimizationBarrier XlaPad XlaReduce XlaReducePrecision
        XlaReduceWindow XlaRemoveDynamicDimensionSize XlaRngBitGenerator XlaScatter XlaSelectAndScatter
        XlaSelfAdjointEig XlaSetBound XlaSetDynamicDimensionSize XlaSharding XlaSort XlaSpmdFullToShardShape
        XlaSpmdShardToFullShape XlaSvd XlaVariadicReduce XlaVariadicReduceV2 XlaVariadicSort XlaWhile
    """,
}

# What an op does that a model need not → patterns of names; the first that fits counts.
_REFUSED = {
    "writes files": """
        *Snapshot* *SummaryDbWriter *SummaryFileWriter *SummaryWriter CacheDataset* CalibrationStatisticsSaver
        CustomAggregator DatasetToTFRecord DistributedSave DumpTensor ExperimentalDatasetToTFRecord
        FileSystemSetConfiguration ImportEvent MergeV2Checkpoints PrintV2 Save SaveDataset* SaveSlices SaveV2
        Write*Summary WriteFile
    """,
    "reads a file that is not its own": """
        InitializeTableFromTextFile* RestoreV2
    """,
    "reads files": """
        *CSVDataset* *LMDBDataset *MatchingFilesDataset *Reader *ReaderV2 *SqlDataset DTensorRestoreV2 DecodeProtoV2
        EncodeProto FixedLengthRecordDataset* FixedUnigramCandidateSampler GenerateVocabRemapping ImmutableConst
        LoadAndRemapMatrix LoadDataset MatchingFiles ReadFile Reader[NR]* ReaderSerializeState* RecordInput Restore
        RestoreSlice Skipgram TFRecordDataset* TextLineDataset
    """,
    "runs Python": """
        EagerPyFunc GeneratorDataset PyFunc*
    """,
    "writes what it sees to files or to other machines": """
        Copy CopyHost Debug[IN]*
    """,
    "talks to other machines or devices": """
        *TPU* *Tpu* *Nccl* AllToAll AssignVariableXlaConcatND Collective* ConvertToCooTensor
        ConvertToListOfSparseCoreCooTensors ConvertToSparseCoreCsrWrappedCooTensor CopyToMesh* CrossReplicaSum
        DTensorA* DTensorReduce* DataServiceDataset* DeleteRpcFutureResource Get*Minibatch*
        GetStatsFromListOfSparseCoreCooTensors GlobalIterId Infeed* Outfeed* Prelinearize* ReadVariableXlaSplitND
        Recv RegisterDataset* Relayout* RemoteCall Rpc* Send SortListOfSparseCoreCooTensors
        StoreMinibatchStatisticsInFdo SyncDevice Worker* XlaAllReduce XlaConcatND XlaSplitND XlaHostCompute XlaRecv*
        XlaReduceScatter XlaReplicaId XlaSend* XlaSparse* _Host* _Recv _Send _XlaHostComputeMlir _XlaRecvAtHost*
        _XlaSendFromHost* ComputeDedup* MergeDedupData SplitDedupData UpdateTaskIdAndGlobalCoreArray
    """,
    "ends the process": """
        Abort
    """,
    "holds a program that cannot be looked into": """
        DatasetFromGraph MlirPassthroughOp XlaCallModule XlaCustomCall* XlaLaunch* _XlaCompile* _XlaRun
    """,
    "is for training and input pipelines": """
        *Accumulator* *BoostedTrees* *StatsAggregator* Barrier* FIFOQueue* FakeQueue MapClear MapIncompleteSize
        MapPeek MapSize MapStage MapUnstage* NegTrain OrderedMap* PaddingFIFOQueue* PriorityQueue* Queue[CDEIS]*
        RandomShuffleQueue* Sdca* Stage* SymbolicGradient Unstage *Dataset *DatasetV[2-4] *Iterator* *MemoryCache
        *SeedGenerator *IterationCounter *SessionHandle* *SessionTensor CheckPinned CompressElement ComputeBatchSize
        DatasetFingerprint DatasetToGraph* GetElementAtIndex GetOptions *ThreadPoolHandle UncompressElement
        *DatasetVariant WindowOp ExperimentalDatasetCardinality
    """,
    "is internal to TensorFlow": """
        _* GetDeadline GraphDefVersion HostConst IsResourceHandleRefCounting IsTensorFloat32Enabled
        MakeWeakResourceHandle Risc* XlaClusterOutput
    """,
    "is for TensorFlow's own tests": """
        A Attr AttrBool AttrBoolList AttrDefault AttrEmptyListDefault AttrEnum AttrEnumList AttrFloat
        AttrListDefault AttrListMin AttrListTypeDefault AttrMin AttrPartialShape AttrPartialShapeList AttrShape
        AttrShapeList AttrTypeDefault B Binary ComplexStruct ConstructionFails CopyOp DefaultAttrs DevicePlacementOp
        DtypeWithDefaultOp Fact FiveFloatOutputs FloatInput FloatOutput FloatOutputStringOutput Foo1 Foo2 Foo3
        FuncAttr FuncListAttr InPolymorphicTwice Int64Output IntAttr IntInput IntInputFloatInput IntInputIntOutput
        IntOutput IntOutputFloatOutput KernelLabel KernelLabelRequired ListInput ListOutput MixedStruct
        NInPolymorphicTwice NInTwice NInTwoTypeVariables NIntsIn NIntsOut NIntsOutDefault NPolymorphicIn
        NPolymorphicOut NPolymorphicOutDefault NPolymorphicRestrictIn NPolymorphicRestrictOut
        Namespace>TestStringOutput None Old OpWithDefaultAttr OpWithFutureDefaultAttr OutT OutTypeList
        OutTypeListRestrict Polymorphic PolymorphicDefaultOut PolymorphicOut RefIn RefInputFloatInput
        RefInputFloatInputIntOutput RefInputIntInput RefOut RefOutput RefOutputFloatOutput RequiresOlderGraphVersion
        ReservedAttr ReservedInput ResourceCreateOp ResourceInitializedOp ResourceUsingOp Restrict Simple
        SimpleStruct SleepIdentityOp SleepOp StringListAttr StubResourceHandleOp TestAttr TestStringOutput
        TwoFloatInputs TwoFloatInputsFloatOutput TwoFloatInputsIntOutput TwoFloatOutputs TwoIntInputs TwoIntOutputs
        TwoRefsIn TypeList TypeListRestrict TypeListTwice Unary
    """,
}

TRUSTED = frozenset(name for names in _TRUSTED.values() for name in names.split())


def reason(op: str) -> str | None:
    """Returns what an untrusted op does, as `writes files`; None where nobody has decided on it."""
    for does, patterns in _REFUSED.items():
        if any(fnmatch.fnmatchcase(op, pattern) for pattern in patterns.split()):
            return does
    return None
