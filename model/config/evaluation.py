"""What is evaluated, and against what."""

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from model.config.base import SESSION_NAME, Config


class EvaluationRequest(Config):
    """Every metric of the finished videos of a run, or the difference between two runs (`memory-v2v evaluate`)."""

    run: Path
    """Folder of `edit` or `view`, or of a catalog; of each turn the newest video counts."""
    session: str | None = Field(default=None, pattern=SESSION_NAME)
    """Only the turns of this session of `run`."""
    against: Path | None = None
    """Another such folder: then the videos of both that were made of one source are compared in pairs."""
    against_session: str | None = Field(default=None, pattern=SESSION_NAME)
    """Only the turns of this session of `against`, or of `run` where there is no `against`."""
    source: Path | None = None
    """The original video, or a folder of originals; without it the review pages' small copies are measured with."""
    instruments: Path | None = None
    """Folder with the weights that some metrics need (docs/metrics.md); what is not there is not measured."""
    out: Path | None = None
    """Folder for the tables; the default is `evaluation` in `run`."""
    workers: int | None = Field(default=None, ge=1)
    """Videos measured at once; the default is one a core, or a GPU."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where instruments run; `auto` takes a GPU if this machine has one."""

    @model_validator(mode="after")
    def _two_sessions_differ(self) -> "EvaluationRequest":
        if self.against is None and self.against_session is not None and self.session is None:
            raise ValueError("to compare two sessions of one folder, name both: session and against_session")
        return self

    @property
    def other(self) -> Path | None:
        """The folder that is compared with."""
        return self.against or (self.run if self.against_session else None)

    @property
    def tables(self) -> Path:
        """Where the tables go."""
        return self.out or self.run / "evaluation"
