"""Every setting, once: frozen, validated, torch-free. The command line, the Prefect form and the tests share them.

A model folder may carry `memory_v2v.json`, a `Preset` with the settings its weights were trained for; what the user
sets wins over it.
"""

from model.config.base import (
    SESSION_NAME,
    Config,
    Precision,
    precision,
)
from model.config.catalog import (
    CatalogDefaults,
    CatalogRequest,
    CatalogTurn,
    CatalogVideo,
    FaultPolicy,
    ModelSettings,
    Scope,
    SegmentSettings,
)
from model.config.editing import (
    PRESET_FILE,
    EditConfig,
    MergeConfig,
    Preset,
    RetrievalConfig,
    SamplingConfig,
    TokenConfig,
    WindowConfig,
)
from model.config.evaluation import (
    EvaluationRequest,
)
from model.config.extension import (
    ExtensionConfig,
    ExtensionRequest,
)
from model.config.gate import (
    GateBounds,
    GateConfig,
    GateMode,
)
from model.config.proof import (
    ProofConfig,
)
from model.config.requests import (
    EditRequest,
    OutputConfig,
    RecallBy,
    RegionConfig,
    Schedule,
    VideoRequest,
    ViewRequest,
)
from model.config.speed import (
    PLAIN,
    SPEEDS,
    Quantization,
    SpeedConfig,
    SpeedName,
    require_torchao,
)
from model.config.training import (
    DatasetConfig,
    DrawnSource,
    EncodedSource,
    ExtendedSource,
    FootageSource,
    MixConfig,
    MultiCamSource,
    OptimConfig,
    PanoramaSource,
    SmallModelConfig,
    Source,
    Split,
    SyntheticSource,
    TrainingConfig,
    TrainingRunConfig,
    WorldConfig,
    require_peft,
)

__all__ = [
    "PLAIN",
    "PRESET_FILE",
    "SESSION_NAME",
    "SPEEDS",
    "CatalogDefaults",
    "CatalogRequest",
    "CatalogTurn",
    "CatalogVideo",
    "Config",
    "DatasetConfig",
    "DrawnSource",
    "EditConfig",
    "EditRequest",
    "EncodedSource",
    "EvaluationRequest",
    "ExtendedSource",
    "ExtensionConfig",
    "ExtensionRequest",
    "FaultPolicy",
    "FootageSource",
    "GateBounds",
    "GateConfig",
    "GateMode",
    "MergeConfig",
    "MixConfig",
    "ModelSettings",
    "MultiCamSource",
    "OptimConfig",
    "OutputConfig",
    "PanoramaSource",
    "Precision",
    "Preset",
    "ProofConfig",
    "Quantization",
    "RecallBy",
    "RegionConfig",
    "RetrievalConfig",
    "SamplingConfig",
    "Schedule",
    "Scope",
    "SegmentSettings",
    "SmallModelConfig",
    "Source",
    "SpeedConfig",
    "SpeedName",
    "Split",
    "SyntheticSource",
    "TokenConfig",
    "TrainingConfig",
    "TrainingRunConfig",
    "VideoRequest",
    "ViewRequest",
    "WindowConfig",
    "WorldConfig",
    "precision",
    "require_peft",
    "require_torchao",
]
