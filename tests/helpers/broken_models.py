"""ONNX models that load as classifiers but fail when run."""

import onnx
from onnx import TensorProto, helper

_BATCH = [
    helper.make_node("Cast", ["images"], ["numbers"], to=TensorProto.FLOAT),
    helper.make_node("ReduceMax", ["numbers"], ["is_digit"], axes=[1, 2], keepdims=0),
    helper.make_node("Shape", ["is_digit"], ["count"]),
    helper.make_node("Concat", ["count", "classes"], ["shape"], axis=0),
]
_CONSTANTS = [helper.make_tensor("classes", TensorProto.INT64, [1], [10])]


def _model(nodes: list[onnx.NodeProto], constants: list[onnx.TensorProto]) -> bytes:
    graph = helper.make_graph(
        _BATCH + nodes,
        "broken",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", 28, 28])],
        [
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 10]),
            helper.make_tensor_value_info("is_digit", TensorProto.FLOAT, ["N"]),
        ],
        initializer=_CONSTANTS + constants,
    )
    model: bytes = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    ).SerializeToString()
    return model


def failing_model() -> bytes:
    """Its Reshape of 784 numbers per image to 10 fails in every run."""
    return _model([helper.make_node("Reshape", ["numbers", "shape"], ["probabilities"])], [])


def endless_model() -> bytes:
    """Its first run takes hours."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["going"], ["goes"]), helper.make_node("Sin", ["before"], ["after"])],
        "body",
        [
            helper.make_tensor_value_info("round", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("before", TensorProto.FLOAT, ["N", 10]),
        ],
        [
            helper.make_tensor_value_info("goes", TensorProto.BOOL, []),
            helper.make_tensor_value_info("after", TensorProto.FLOAT, ["N", 10]),
        ],
    )
    zero = helper.make_tensor("zero", TensorProto.FLOAT, [1], [0.0])
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["begin"], value=zero),
        helper.make_node("Loop", ["rounds", "true", "begin"], ["probabilities"], body=body),
    ]
    return _model(
        nodes,
        [
            helper.make_tensor("rounds", TensorProto.INT64, [], [2**40]),
            helper.make_tensor("true", TensorProto.BOOL, [], [True]),
        ],
    )
