"""Adds operations to a TFLite model, or builds a small one, with the schema that MediaPipe ships."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


class TfliteGraph:
    """The one subgraph of a TFLite model; every method adds an operation and gives the index of its output.

    Tensor types are float32, and int32 for shapes and indices. Source: the TFLite schema, version 3.
    """

    def __init__(self, model: bytes | None = None) -> None:
        from mediapipe.tasks.metadata import schema_py_generated as schema

        self._schema = schema
        if model is not None:
            self._model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model, 0))
        else:
            self._model = _empty_model(schema)
        self._graph = self._model.subgraphs[0]
        self.inputs: list[int] = list(self._graph.inputs)
        self.outputs: list[int] = list(self._graph.outputs)

    def placeholder(self, name: str, shape: Sequence[int]) -> int:
        """A tensor that an operation, or the caller of the model, fills."""
        tensor = self._schema.TensorT()
        tensor.name, tensor.shape = name, np.array(shape, np.int32)
        tensor.type, tensor.buffer = self._schema.TensorType.FLOAT32, 0
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1

    def constant(self, name: str, values: NDArray[Any]) -> int:
        """A float32 or int32 tensor with fixed values."""
        is_float = values.dtype.kind == "f"
        values = np.ascontiguousarray(values, np.float32 if is_float else np.int32)
        index = self.placeholder(name, values.shape)
        buffer = self._schema.BufferT()
        buffer.data = np.frombuffer(values.tobytes(), np.uint8)
        self._model.buffers.append(buffer)
        types = self._schema.TensorType
        self._graph.tensors[index].type = types.FLOAT32 if is_float else types.INT32
        self._graph.tensors[index].buffer = len(self._model.buffers) - 1
        return index

    def reshape(self, tensor: int, shape: Sequence[int]) -> int:
        options = self._schema.ReshapeOptionsT()
        options.newShape = np.array(shape, np.int32)
        target = self.constant(self._name("shape"), options.newShape)
        return self._add("RESHAPE", [tensor, target], shape, "ReshapeOptions", options)

    def gather(self, tensor: int, indices: Sequence[int]) -> int:
        """Rows of a 1-D tensor."""
        options = self._schema.GatherOptionsT()
        options.axis = 0
        rows = self.constant(self._name("rows"), np.array(indices, np.int32))
        return self._add("GATHER", [tensor, rows], [len(indices)], "GatherOptions", options)

    def concatenate(self, tensors: Sequence[int]) -> int:
        """1-D tensors one after the other."""
        options = self._schema.ConcatenationOptionsT()
        options.axis = 0
        length = sum(self.shape(tensor)[0] for tensor in tensors)
        return self._add("CONCATENATION", tensors, [length], "ConcatenationOptions", options)

    def mean(self, tensor: int, axes: Sequence[int]) -> int:
        """The mean over axes, which stay as axes of length 1."""
        options = self._schema.ReducerOptionsT()
        options.keepDims = True
        shape = [1 if axis in axes else length for axis, length in enumerate(self.shape(tensor))]
        which = self.constant(self._name("axes"), np.array(axes, np.int32))
        return self._add("MEAN", [tensor, which], shape, "ReducerOptions", options)

    def subtract(self, tensor: int, other: int) -> int:
        return self._add("SUB", [tensor, other], self.shape(tensor), "SubOptions", self._schema.SubOptionsT())

    def multiply(self, tensor: int, other: int) -> int:
        return self._add("MUL", [tensor, other], self.shape(tensor), "MulOptions", self._schema.MulOptionsT())

    def reciprocal_root(self, tensor: int) -> int:
        return self._add("RSQRT", [tensor], self.shape(tensor))

    def dense(self, tensor: int, weights: NDArray[Any], bias: NDArray[Any], relu: bool) -> int:
        """A fully connected layer: [1, in] to [1, out]; `weights` [out, in], `bias` [out]."""
        options = self._schema.FullyConnectedOptionsT()
        options.fusedActivationFunction = int(relu)
        inputs = [
            tensor,
            self.constant(self._name("weights"), weights.astype(np.float32)),
            self.constant(self._name("bias"), bias.astype(np.float32)),
        ]
        return self._add("FULLY_CONNECTED", inputs, [1, len(bias)], "FullyConnectedOptions", options)

    def logistic(self, tensor: int) -> int:
        return self._add("LOGISTIC", [tensor], self.shape(tensor))

    def shape(self, tensor: int) -> list[int]:
        return [int(length) for length in self._graph.tensors[tensor].shape]

    def to_bytes(self, inputs: Sequence[int], outputs: Sequence[int]) -> bytes:
        """The finished model file; only the outputs that stay keep their description."""
        import flatbuffers

        kept = [self.outputs.index(output) if output in self.outputs else None for output in outputs]
        self._keep_output_descriptions(kept)
        self._graph.inputs = np.array(inputs, np.int32)
        self._graph.outputs = np.array(outputs, np.int32)
        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(self._model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def _keep_output_descriptions(self, kept: Sequence[int | None]) -> None:
        """MediaPipe refuses a model whose metadata describes another number of outputs than it has."""
        import flatbuffers
        from mediapipe.tasks.metadata import metadata_schema_py_generated as schema

        for entry in self._model.metadata or []:
            if entry.name != b"TFLITE_METADATA":
                continue
            buffer = self._model.buffers[entry.buffer]
            metadata = schema.ModelMetadataT.InitFromObj(
                schema.ModelMetadata.GetRootAs(bytes(buffer.data), 0)
            )
            described = metadata.subgraphMetadata[0].outputTensorMetadata
            metadata.subgraphMetadata[0].outputTensorMetadata = [described[index or 0] for index in kept]
            builder = flatbuffers.Builder(1024)
            builder.Finish(metadata.Pack(builder), b"M001")
            buffer.data = np.frombuffer(bytes(builder.Output()), np.uint8)

    def _name(self, what: str) -> str:
        return f"visavis_{what}_{len(self._graph.tensors)}"

    def _add(
        self,
        operation: str,
        inputs: Sequence[int],
        shape: Sequence[int],
        options_type: str | None = None,
        options: Any = None,
    ) -> int:
        output = self.placeholder(self._name(operation.lower()), shape)
        operator = self._schema.OperatorT()
        operator.opcodeIndex = self._operator_code(getattr(self._schema.BuiltinOperator, operation))
        operator.inputs = np.array(inputs, np.int32)
        operator.outputs = np.array([output], np.int32)
        if options_type is not None:
            operator.builtinOptionsType = getattr(self._schema.BuiltinOptions, options_type)
            operator.builtinOptions = options
        self._graph.operators.append(operator)
        return output

    def _operator_code(self, builtin: int) -> int:
        for index, code in enumerate(self._model.operatorCodes):
            if builtin == max(code.deprecatedBuiltinCode, code.builtinCode) and not code.customCode:
                return index
        code = self._schema.OperatorCodeT()
        # Both fields: readers of either age look at their own.
        code.deprecatedBuiltinCode = code.builtinCode = builtin
        code.version = 1
        self._model.operatorCodes.append(code)
        return len(self._model.operatorCodes) - 1


def _empty_model(schema: Any) -> Any:
    model = schema.ModelT()
    model.version = 3
    model.operatorCodes = []
    model.buffers = [schema.BufferT()]  # buffer 0 means "no data" by convention
    graph = schema.SubGraphT()
    graph.tensors, graph.operators = [], []
    graph.inputs, graph.outputs = np.zeros(0, np.int32), np.zeros(0, np.int32)
    model.subgraphs = [graph]
    return model
