import json
import struct
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from digits.open_inference import TensorDescription, TensorError, Values, check_outputs, decode_request, encode_response

IMAGES = TensorDescription("images", "UINT8", [-1, 2, 2])
FILES = TensorDescription("image", "BYTES", [-1])
SCORES = TensorDescription("scores", "FP32", [-1, 2])


def request(tensor: dict[str, Any], **other: Any) -> bytes:
    return json.dumps({"inputs": [tensor], **other}).encode()


def images(data: Any = None, **changes: Any) -> dict[str, Any]:
    tensor = {"name": "images", "shape": [1, 2, 2], "datatype": "UINT8", "data": data or [1, 2, 3, 255]} | changes
    return {key: value for key, value in tensor.items() if value is not None}


def values(body: bytes, header: str | None = None, expected: TensorDescription = IMAGES) -> Values:
    return decode_request(body, header, expected).take_values()


@pytest.mark.parametrize("data", [[1, 2, 3, 255], [[[1, 2], [3, 255]]]])
def test_json_data_flat_or_nested(data: Any) -> None:
    array = values(request(images(data)))
    assert isinstance(array, np.ndarray)
    assert array.dtype == np.uint8
    assert array.tolist() == [[[1, 2], [3, 255]]]


def test_binary_data_after_json() -> None:
    head = request(images(data=None, parameters={"binary_data_size": 8}, shape=[2, 2, 2]) | {"data": None})
    head = head.replace(b', "data": null', b"")
    array = values(head + bytes(range(8)), str(len(head)))
    assert isinstance(array, np.ndarray)
    assert array.ravel().tolist() == list(range(8))


def test_numbers_are_little_endian() -> None:
    tensor = {"name": "scores", "shape": [1, 2], "datatype": "FP32", "parameters": {"binary_data_size": 8}}
    head = request(tensor)
    array = values(head + struct.pack("<ff", 0.5, -2), str(len(head)), SCORES)
    assert isinstance(array, np.ndarray)
    assert array.tolist() == [[0.5, -2]]


def test_raw_body_is_a_batch_of_one() -> None:
    array = values(b"\1\2\3\4", "0")
    assert isinstance(array, np.ndarray)
    assert array.shape == (1, 2, 2)
    assert values(b"any file", "0", FILES) == [b"any file"]


def test_bytes_elements_are_length_prefixed() -> None:
    data = b"\3\0\0\0abc\0\0\0\0"
    tensor = {"name": "image", "shape": [2], "datatype": "BYTES", "parameters": {"binary_data_size": len(data)}}
    head = request(tensor)
    assert values(head + data, str(len(head)), FILES) == [b"abc", b""]


def test_bytes_in_json_are_base64() -> None:
    tensor = {"name": "image", "shape": [2], "datatype": "BYTES", "data": ["YWJj", "data:image/png;base64,YQ=="]}
    assert values(request(tensor), None, FILES) == [b"abc", b"a"]


def test_unknown_fields_are_ignored() -> None:
    body = request(images(strange=1), model_name="digits", parameters={"priority": 0, "timeout": 5}, sequence_id=3)
    assert len(values(body)) == 1


@pytest.mark.parametrize(
    ("body", "header", "message"),
    [
        (b"", None, "got JSON that cannot be parsed"),
        (b"{}", None, "Object missing required field `inputs`"),
        (b"[" * 100000, None, "Expected `object`, got `array`"),
        (b'{"x":' + b"[" * 100000, None, "cannot be parsed"),
        (b'{"inputs": [], "id": "\\ud800"}', None, "got "),
        (b'{"inputs": []}', None, "expected one input, `images`; got none"),
        (request(images(name="image")), None, "expected one input, `images`; got 'image'"),
        (json.dumps({"inputs": [images()] * 2}).encode(), None, "got 'images', 'images'"),
        (json.dumps({"inputs": [images()] * 17}).encode(), None, "Expected `array` of length <= 16"),
        (request(images(datatype="FP32")), None, "expected datatype UINT8; got FP32"),
        (request(images(shape=[2, 2])), None, "expected shape [-1, 2, 2]; got [2, 2]"),
        (request(images(shape=[1, 2, 3])), None, "expected shape [-1, 2, 2]; got [1, 2, 3]"),
        (request(images(shape=[-1, 2, 2])), None, "Expected `int` >= 0 - at `$.inputs[0].shape[0]`"),
        (request(images(shape=[2**40, 2, 2])), None, "Expected `int` <= 2147483647"),
        (request(images(shape=[float("nan"), 2, 2])), None, "cannot be parsed"),
        (request(images(shape=[1.5, 2, 2])), None, "Expected `int`, got `float`"),
        (
            request(images(shape=[2**31 - 1, 2, 2])),
            None,
            "expected 8589934588 numbers of UINT8, flat or in lists of shape [2147483647, 2, 2]",
        ),
        (
            request(images(shape=[0, 2, 2])),
            None,
            "expected 0 numbers of UINT8, flat or in lists of shape [0, 2, 2]; got 4 numbers, flat",
        ),
        (request(images([1, 2, 3])), None, "got 3 numbers, flat"),
        (request(images([[1, 2], [3, 4]])), None, "got other lists"),
        (request(images([[[1, 2], [3]]])), None, "got other lists"),
        (request(images([[[1, 2, 3, 4]]])), None, "got other lists"),
        (request(images([1, 2, 3, 256])), None, "Expected `int` <= 255 - at `$[3]`"),
        (request(images([1, 2, 3, -1])), None, "Expected `int` >= 0"),
        (request(images([*range(4)] * 5000, shape=[5000, 2, 2])).replace(b" 3]", b" -3]"), None, "at `$[19999]`"),
        (request(images([[[1, 2], [3, 4]]])).replace(b", [3", b" [3"), None, "cannot be parsed"),
        (request(images([[[1, 2], [3, 4]]])).replace(b"1,", b","), None, "cannot be parsed"),
        (request(images([1, 2, 3, 4])).replace(b"1,", b"1 1,"), None, "cannot be parsed"),
        (request(images([1, 2, 3, 0.5])), None, "Expected `int`, got `float`"),
        (request(images([1, 2, 3, True])), None, "got something other than numbers"),
        (request(images(["x" * 100])), None, "got something other than numbers"),
        (request(images("text")), None, "got something other than numbers"),
        (request(images(data=None, shape=[1, 2, 2])).replace(b'"data"', b'"other"'), None, "got neither"),
        (request(images()) + b"more", str(len(request(images()))), "got 4"),
        (request(images()), "-1", "expected Inference-Header-Content-Length from 0 to"),
        (request(images()), "1e3", "got 1e3"),
        (request(images()), "", "expected Inference-Header-Content-Length"),
        (request(images()), "99999", "got 99999"),
        (request(images()), "9" * 5000, "expected Inference-Header-Content-Length"),
        (request(images()), "5", "cannot be parsed"),
        (b"\1\2\3", "0", "expected 4 bytes for shape [1, 2, 2] of UINT8; got 3"),
        (request(images(parameters={"binary_data_size": 4})), None, "0 bytes; got 4"),
        (request(images(parameters={"binary_data_size": 0})), None, "expected data or binary_data_size; got both"),
        (request(images(parameters={"binary_data_size": "4"})), None, "got 4"),
        (request(images(parameters={"binary_data_size": True})), None, "got True"),
    ],
)
def test_rejections(body: bytes, header: str | None, message: str) -> None:
    with pytest.raises(TensorError) as caught:
        values(body, header)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("data", "shape"),
    [
        (b"\3\0\0\0ab", [1]),
        (b"\3\0\0\0abc", [2]),
        (b"\3\0\0\0abcd", [1]),
        (b"\1\0", [1]),
        (b"\xff\xff\xff\xffabc", [1]),
        (b"", [1]),
        (b"\0\0\0\0", [0]),
    ],
)
def test_invalid_bytes_elements(data: bytes, shape: list[int]) -> None:
    tensor = {"name": "image", "shape": shape, "datatype": "BYTES", "parameters": {"binary_data_size": len(data)}}
    head = request(tensor)
    with pytest.raises(TensorError, match="elements of BYTES"):
        values(head + data, str(len(head)), FILES)


@pytest.mark.parametrize("data", [["no base64!"], [1], ["YQ==", "YQ=="], "YQ=="])
def test_invalid_base64_in_json(data: Any) -> None:
    tensor = {"name": "image", "shape": [1], "datatype": "BYTES", "data": data}
    with pytest.raises(TensorError, match="input `image`"):
        values(request(tensor), None, FILES)


OUTPUTS: dict[str, Values] = {
    "scores": np.array([[0.25, 0.5, 0.125]], np.float32),
    "digit": np.array([-1], np.int64),
    "reason": ["größer".encode()],
}
DESCRIPTIONS = [
    TensorDescription("scores", "FP32", [-1, 3]),
    TensorDescription("digit", "INT64", [-1]),
    TensorDescription("reason", "BYTES", [-1]),
]
MODEL = {"name": "digits", "version": "7"}
LABELS = ["zero", "one", "two"]


def respond(**options: Any) -> tuple[dict[str, Any], bytes]:
    inference = decode_request(request(images(), **options), None, IMAGES)
    check_outputs(inference, DESCRIPTIONS)
    body, length = encode_response(inference, MODEL, OUTPUTS, LABELS)
    return json.loads(body[:length]), b"" if length is None else body[length:]


def test_json_response() -> None:
    head, rest = respond(id="a", parameters={"binary_data_output": False})
    assert rest == b""
    assert head == {
        "model_name": "digits",
        "model_version": "7",
        "id": "a",
        "outputs": [
            {"name": "scores", "datatype": "FP32", "shape": [1, 3], "data": [0.25, 0.5, 0.125]},
            {"name": "digit", "datatype": "INT64", "shape": [1], "data": [-1]},
            {"name": "reason", "datatype": "BYTES", "shape": [1], "data": ["größer"]},
        ],
    }


def test_binary_response_keeps_the_order_and_each_outputs_own_encoding() -> None:
    head, rest = respond(
        parameters={"binary_data_output": True},
        outputs=[{"name": "reason"}, {"name": "digit", "parameters": {"binary_data": False}}, {"name": "scores"}],
    )
    assert [one["name"] for one in head["outputs"]] == ["reason", "digit", "scores"]
    assert [one.get("parameters", {}).get("binary_data_size") for one in head["outputs"]] == [12, None, 12]
    assert head["outputs"][1]["data"] == [-1]
    assert rest == struct.pack("<I", 8) + "größer".encode() + struct.pack("<3f", 0.25, 0.5, 0.125)


@pytest.mark.parametrize("binary", [False, True])
def test_classification(binary: bool) -> None:
    head, rest = respond(outputs=[{"name": "scores", "parameters": {"classification": 2, "binary_data": binary}}])
    expected = ["0.500000:1:one", "0.250000:0:zero"]
    [tensor] = head["outputs"]
    assert tensor["datatype"] == "BYTES"
    assert tensor["shape"] == [1, 2]
    if binary:
        assert rest == b"".join(struct.pack("<I", len(one)) + one.encode() for one in expected)
    else:
        assert tensor["data"] == expected


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ([{"name": "other"}], "expected outputs among scores, digit, reason; got 'other'"),
        ([{"name": "digit"}, {"name": "digit"}], "expected each output once"),
        ([{"name": "digit", "parameters": {"classification": 1}}], "one row per image"),
        ([{"name": "reason", "parameters": {"classification": 1}}], "one row per image"),
        ([{"name": "scores", "parameters": {"classification": 0}}], "1 or more"),
        ([{"name": "scores", "parameters": {"classification": "all"}}], "1 or more"),
    ],
)
def test_invalid_outputs(outputs: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(TensorError, match=message):
        respond(outputs=outputs)


@given(st.binary(max_size=200), st.none() | st.integers(-1, 250).map(str))
def test_any_bytes_give_values_or_a_tensor_error(body: bytes, header: str | None) -> None:
    for expected in (IMAGES, FILES, SCORES):
        try:
            values(body, header, expected)
        except TensorError as error:
            assert str(error).startswith(("expected", "input"))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=20,
)
tensors = st.fixed_dictionaries(
    {"name": st.just("images"), "shape": st.just([1, 2, 2]) | json_values, "datatype": st.just("UINT8") | st.text()},
    optional={"data": json_values, "parameters": st.dictionaries(st.just("binary_data_size"), json_values)},
)


@given(tensors, st.dictionaries(st.sampled_from(["id", "parameters", "outputs"]), json_values), st.binary(max_size=8))
def test_any_json_gives_a_response_or_a_tensor_error(tensor: Any, other: dict[str, Any], rest: bytes) -> None:
    head = msgspec.json.encode({"inputs": [tensor]} | other)
    try:
        inference = decode_request(head + rest, str(len(head)), IMAGES)
        assert len(inference.take_values()) == inference.count
        check_outputs(inference, DESCRIPTIONS)
        body, length = encode_response(inference, MODEL, OUTPUTS, LABELS)
    except TensorError as error:
        assert str(error).startswith(("expected", "input"))
    else:
        assert json.loads(body[:length])["model_name"] == "digits"
