"""Tensors of the Open Inference Protocol: requests as raw rows, and outputs, as JSON or in binary form."""

from typing import Any

import msgspec
import numpy as np

from inference.body import check_number, check_rows, check_values, parse_with_nan
from inference.errors import BadBody, problem
from mlops_lab.errors import ContractError
from mlops_lab.features import Boolean, Feature, Integer, Number

# A body with tensors in binary form. This header then has the length of the JSON in front of them.
BINARY = "application/octet-stream"
HEADER_LENGTH = "inference-header-content-length"

_SIZES = {"INT": (8, 16, 32, 64), "UINT": (8, 16, 32, 64), "FP": (16, 32, 64)}
_KINDS = {"INT": "i", "UINT": "u", "FP": "f"}
# Name of a type → numpy's. Binary tensors are little-endian. BYTES has a length in front of each element.
TYPES = {f"{name}{bits}": f"<{_KINDS[name]}{bits // 8}" for name, sizes in _SIZES.items() for bits in sizes}
TYPES |= {"BOOL": "?", "BYTES": ""}


class Tensor(msgspec.Struct):
    """An input. data: in the order of the rows; absent when it follows the JSON in binary form."""

    name: str
    datatype: str
    shape: list[int]
    data: list[Any] | None = None
    parameters: dict[str, Any] = {}


class Requested(msgspec.Struct):
    """A requested output."""

    name: str
    parameters: dict[str, Any] = {}


class Inference(msgspec.Struct):
    """The JSON of a request."""

    inputs: list[Tensor]
    id: str | None = None
    outputs: list[Requested] | None = None
    parameters: dict[str, Any] = {}


_DECODER = msgspec.json.Decoder(Inference)


def read_request(
    body: bytearray, header_length: str | None, max_rows: int
) -> tuple[Inference, dict[str, list[Any]]]:
    """The request and its raw rows by column, JSON types.

    header_length: the length of the JSON when tensors follow it, else None. Raises `BadBody`, `ContractError`,
    `TooLarge`.
    """
    end = len(body)
    if header_length is not None:
        if not header_length.isascii() or not header_length.isdigit() or int(header_length) > end:
            raise BadBody(f"{HEADER_LENGTH} must be the length of the JSON, at most {end}")
        end = int(header_length)
    head = body[:end]
    check_values(head)
    request = _request(head)
    if not request.inputs:
        raise problem("inputs", "length", "must have a tensor for each field")
    rows = _rows(request.inputs[0], max_rows)
    blocks = _Blocks(body, end)
    columns: dict[str, list[Any]] = {}
    for tensor in request.inputs:
        if tensor.name in columns:
            raise _problem(tensor, "unknown", "is given twice")
        if _rows(tensor, max_rows) != rows:
            raise _problem(tensor, "shape", f"must have {rows} rows, as {request.inputs[0].name[:60]} has")
        check_number(len(columns) * rows)
        columns[tensor.name] = _column(tensor, rows, blocks)
    blocks.check_end()
    return request, columns


def input_type(feature: Feature) -> str:
    """The datatype that a client should send; others are read as well."""
    match feature:
        case Integer():
            # Only a float can say that a number is unknown.
            return "INT64" if feature.required else "FP64"
        case Number():
            return "FP64"
        case Boolean():
            return "BOOL"
    return "BYTES"


def output_tensors(
    request: Inference, found: dict[str, tuple[str, np.ndarray]]
) -> tuple[list[dict[str, Any]], bytes]:
    """(outputs for the JSON, binary data that follows it).

    found: name → (datatype, values of shape (n, ...)). Only the requested ones are given, in binary form where that
    was asked for. Raises `ContractError` for one that the model doesn't have.
    """
    all_binary = bool(request.parameters.get("binary_data_output"))
    requested = request.outputs or [Requested(name) for name in found]
    outputs: list[dict[str, Any]] = []
    blocks: list[bytes] = []
    for output in requested:
        if output.name not in found:
            raise problem(output.name[:60], "unknown", f"is not an output; there are: {', '.join(found)}")
        datatype, values = found[output.name]
        entry: dict[str, Any] = {"name": output.name, "datatype": datatype, "shape": list(values.shape)}
        if output.parameters.get("binary_data", all_binary):
            block = _packed(values) if datatype == "BYTES" else values.astype(TYPES[datatype]).tobytes()
            entry["parameters"] = {"binary_data_size": len(block)}
            blocks.append(block)
        else:
            entry["data"] = values.ravel().tolist()
        outputs.append(entry)
    return outputs, b"".join(blocks)


def _request(head: bytearray) -> Inference:
    try:
        return _DECODER.decode(head)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        found = parse_with_nan(head)
    try:
        return msgspec.convert(found, Inference)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise BadBody(f"the body is no inference request: {error}") from None


class _Blocks:
    """The binary data after the JSON, tensor by tensor."""

    def __init__(self, body: bytearray, start: int):
        self._body, self._at = body, start

    def take(self, tensor: Tensor) -> bytes:
        size = tensor.parameters.get("binary_data_size")
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= len(self._body) - self._at:
            raise _problem(tensor, "data", "has neither data nor a binary_data_size that is in the body")
        self._at += size
        return bytes(self._body[self._at - size : self._at])

    def check_end(self) -> None:
        if rest := len(self._body) - self._at:
            raise BadBody(f"{rest} bytes follow the last tensor")


def _rows(tensor: Tensor, limit: int) -> int:
    match tensor.shape:
        case [int(n)] | [int(n), 1] if n > 0:
            check_rows(n, limit)
            return n
    raise _problem(tensor, "shape", f"must have the shape [n] or [n, 1] with n > 0, not {tensor.shape[:5]}")


def _column(tensor: Tensor, rows: int, blocks: _Blocks) -> list[Any]:
    if tensor.datatype not in TYPES:
        raise _problem(tensor, "type", f"must have a datatype of {', '.join(TYPES)}")
    if tensor.data is not None:
        values = [value for item in tensor.data for value in (item if isinstance(item, list) else (item,))]
    else:
        block = blocks.take(tensor)
        values = _texts(tensor, block) if tensor.datatype == "BYTES" else _numbers(tensor, block)
    if len(values) != rows:
        raise _problem(tensor, "shape", f"has {len(values)} values, and its shape says {rows}")
    return values


def _numbers(tensor: Tensor, block: bytes) -> list[Any]:
    kind = np.dtype(TYPES[tensor.datatype])
    if len(block) % kind.itemsize:
        raise _problem(tensor, "data", f"is no whole number of {tensor.datatype}")
    # Null has no number of its own.
    return [None if value != value else value for value in np.frombuffer(block, kind).tolist()]


def _texts(tensor: Tensor, block: bytes) -> list[str]:
    texts: list[str] = []
    at = 0
    while at < len(block):
        # A length that is cut short reaches beyond the end as well.
        size = int.from_bytes(block[at : at + 4], "little")
        if at + 4 + size > len(block):
            raise _problem(tensor, "data", "is cut short")
        try:
            texts.append(block[at + 4 : at + 4 + size].decode())
        except UnicodeDecodeError:
            raise _problem(tensor, "encoding", "must be UTF-8", len(texts)) from None
        at += 4 + size
    return texts


def _packed(values: np.ndarray) -> bytes:
    texts = [str(value).encode() for value in values.ravel()]
    return b"".join(len(text).to_bytes(4, "little") + text for text in texts)


def _problem(tensor: Tensor, rule: str, message: str, row: int = 0) -> ContractError:
    return problem(tensor.name[:60], rule, message, row)
