"""Models that were exported to ONNX, run by onnxruntime. Needs no torch, and imports onnxruntime when one is opened.

An ONNX file is a graph of known operations: it names no code. What goes in and comes out is checked by name when it is
opened, so that a file of another model is refused in one line.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from model.errors import WeightsError, first_line


class ExportedModel:
    """One model, with float32 inputs of known names and one output that counts.

    Raises:
        WeightsError: the file does not load, or has other inputs or outputs.
    """

    def __init__(self, path: Path, inputs: tuple[str, ...], output: str, device: str = "cpu") -> None:
        import onnxruntime as ort

        wanted = ["CUDAExecutionProvider"] if device.startswith("cuda") else []
        providers = [name for name in (*wanted, "CPUExecutionProvider") if name in ort.get_available_providers()]
        self._path = path
        with _refused(path):
            self._session = ort.InferenceSession(path, providers=providers)
        self._output = output
        given = [each.name for each in self._session.get_inputs()]
        if sorted(given) != sorted(inputs):
            raise WeightsError(f"{path}: has inputs {', '.join(given)}; expected {', '.join(inputs)}")
        if output not in (made := [each.name for each in self._session.get_outputs()]):
            raise WeightsError(f"{path}: has outputs {', '.join(made)}; expected {output}")

    def run(self, **inputs: Float32[np.ndarray, "..."]) -> Float32[np.ndarray, "..."]:
        """The output for these inputs.

        Raises:
            WeightsError: it takes other shapes, or fails.
        """
        with _refused(self._path):
            (result,) = self._session.run([self._output], inputs)
        return np.asarray(result, dtype=np.float32)


@contextmanager
def _refused(path: Path) -> Iterator[None]:
    """What onnxruntime says of a file, in one line; its errors have no base of their own."""
    from onnxruntime.capi import onnxruntime_pybind11_state as states  # type: ignore[attr-defined]

    try:
        yield
    except (
        *(states.Fail, states.InvalidArgument, states.InvalidGraph, states.InvalidProtobuf, states.NoSuchFile),
        *(states.NotImplemented, states.RuntimeException),
    ) as fault:
        raise WeightsError(f"{path}: onnxruntime refuses it: {first_line(fault, 200)}") from None
