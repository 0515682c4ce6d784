"""Tiny exported models, each a graph of a few known operations whose answer can be told beforehand."""

from pathlib import Path

import onnx
from onnx import TensorProto, helper

PICTURE = [1, 3, "h", "w"]


def export(
    path: Path,
    nodes: list[tuple[str, list[str], str]],
    inputs: dict[str, list],
    output: tuple[str, list],
    **constants: float,
) -> None:
    """Write a graph of `nodes` (operation, inputs, output), float32 throughout."""
    graph = helper.make_graph(
        [helper.make_node(kind, given, [made]) for kind, given, made in nodes],
        "tiny",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(output[0], TensorProto.FLOAT, output[1])],
        [helper.make_tensor(name, TensorProto.FLOAT, [], [value]) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def export_all(folder: Path) -> None:
    """MUSIQ says 100 times the mean brightness, AMT the mean of both frames, ST-LPIPS and MEt3R the mean difference."""
    mean = [("ReduceMean", ["image"], "mean"), ("Mul", ["mean", "hundred"], "score")]
    export(folder / "musiq-spaq.onnx", mean, {"image": PICTURE}, ("score", [1, 1, 1, 1]), hundred=100.0)
    both = {"img0": PICTURE, "img1": PICTURE}
    middle = [("Add", ["img0", "img1"], "sum"), ("Mul", ["sum", "half"], "imgt_pred")]
    export(folder / "amt-s.onnx", middle, both, ("imgt_pred", PICTURE), half=0.5)
    far = [("Sub", ["img0", "img1"], "d"), ("Abs", ["d"], "a"), ("ReduceMean", ["a"], "distance")]
    export(folder / "st-lpips.onnx", far, both, ("distance", [1, 1, 1, 1]))
    export(
        folder / "met3r.onnx",
        [("ReduceMean", ["images"], "score")],
        {"images": [1, 2, 3, 256, 256]},
        ("score", [1, 1, 1, 1, 1]),
    )
