"""How the same model is run faster (docs/performance.md says what each way gains and costs)."""

from importlib.util import find_spec
from typing import Literal

from pydantic import Field, field_validator

from model.config.base import Config
from model.errors import RequestError

Quantization = Literal["none", "int8", "fp8"]


class SpeedConfig(Config):
    """What is done to a model when it is loaded, and which of its steps are not computed."""

    compile: bool = False
    """Compile the transformer's blocks: the same results within rounding, after a minute or so at the start."""
    attention: str = Field(default="native", pattern=r"^[a-z0-9_]+$")
    """Attention back end by its name in diffusers, or `auto`: of those that need no download, the fastest here, where
    it is faster than native by a twentieth."""
    quantize: Quantization = "none"
    """Linear layers of the blocks in 8 bits, by torchao: `int8` keeps weights so, for small cards; `fp8` multiplies in
    it, for cards that can. Approximate."""
    guided_share: float = Field(default=1.0, gt=0, le=1)
    """Share of the steps whose unconditional branch is computed; later ones keep its last difference. Approximate."""
    forecast: float = Field(default=0.0, ge=0, lt=1)
    """Error, in parts of the velocity, up to which a step is forecast from those before; 0 is never. Approximate."""

    @field_validator("attention")
    @classmethod
    def _is_installed(cls, attention: str) -> str:
        if attention.endswith("_hub"):
            raise ValueError("downloads compiled code when it is first used; install the package and name its back end")
        return attention


def require_torchao(quantize: Quantization) -> None:
    """Raises:
    RequestError: layers are to be quantised, and what does that is not installed.
    """
    if quantize != "none" and find_spec("torchao") is None:
        raise RequestError(f"quantize {quantize}: torchao is not installed; pip install 'memory-v2v[quantize]'")


PLAIN = SpeedConfig()
"""The model as it is."""

SpeedName = Literal["plain", "exact", "fast"]

SPEEDS: dict[SpeedName, SpeedConfig] = {
    "plain": PLAIN,
    "exact": SpeedConfig(compile=True, attention="auto"),
    "fast": SpeedConfig(compile=True, attention="auto", guided_share=0.5, forecast=0.1),
}
"""As it is; with all that changes no picture; and with what changes it a little."""
