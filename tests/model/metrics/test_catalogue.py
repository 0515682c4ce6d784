"""The page on metrics says what the catalogue says, and every function that it names is there."""

import ast
import subprocess
import sys
from pathlib import Path

from model.metrics.catalogue import CATALOGUE, INSTRUMENTS, Instrument, Metric

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "metrics.md").read_text().splitlines()


def metric_row(metric: Metric) -> str:
    better = "higher" if metric.higher_is_better else "lower"
    needs = ", ".join(metric.needs) or "nothing"
    return f"| `{metric.name}` | {metric.says} | {metric.unit} | {better} | {needs} | {metric.source} |"


def instrument_row(instrument: Instrument) -> str:
    return f"| `{instrument.place}` | {instrument.title} | {instrument.holds} |"


def test_the_page_has_a_row_for_everything_and_no_other() -> None:
    rows = [line for line in PAGE if line.startswith("| `")]
    expected = [metric_row(metric) for metric in CATALOGUE.values()]
    expected += [instrument_row(instrument) for instrument in INSTRUMENTS.values()]
    assert sorted(rows) == sorted(expected)


def test_every_metric_is_a_function_that_is_there_and_says_its_unit() -> None:
    for metric in CATALOGUE.values():
        file, name = metric.function.split(":")
        path = ROOT / file if "/" in file else ROOT / "model" / "metrics" / file
        functions = {node.name: node for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)}
        assert ast.get_docstring(functions[name]), metric.name


def test_the_numpy_half_loads_no_torch() -> None:
    modules = ("video_scores", "view_pairs", "cameras", "exported")
    code = "import sys, " + ", ".join(f"model.metrics.{module}" for module in modules)
    code += "; print('torch' in sys.modules, 'onnxruntime' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == ["False", "False"]
