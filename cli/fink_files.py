"""Fink's model files, in a fink-science wheel or a folder; of each no more is read than it may have."""

import csv
import io
import math
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from ..scoring.errors import ModelError
from ..scoring.onnx_forest import FILE_BYTES

# The wheel of fink-science 7.4.0 has 68 MB.
WHEEL_BYTES = 256 << 20
# Two forests of 7 MB take 2.4 MB zipped.
ZIP_BYTES = 32 << 20
# 18 names and numbers take 660 bytes.
MEANS_BYTES = 64 << 10
NAMES = ("g", "r")


@dataclass(frozen=True)
class FinkFiles:
    """By Fink's names, "g" and "r": the ONNX forests' bytes, and the means of their inputs, where there is a table."""

    forests: dict[str, bytes]
    means: dict[str, dict[str, float]]


def read_fink_files(source: Path, user: str) -> FinkFiles:
    """The files of a user's pair of forests ("" = the public one). Raises `ModelError`."""
    end = f"_AAD_{user}" if user else "_AAD"
    try:
        with _opened(source) as files:
            tables = {name: files.get(f"{name}_means.csv", MEANS_BYTES) for name in NAMES}
            zipped = files.get(f"anomaly_detection_forest{end}.zip", ZIP_BYTES)
            if zipped is None:
                forests = {name: files.get(f"forest_{name}{end}.onnx", FILE_BYTES) for name in NAMES}
            else:
                with zipfile.ZipFile(io.BytesIO(zipped)) as archive:
                    inner = _Files(archive.namelist(), archive.open)
                    forests = {name: inner.get(f"forest_{name}{end}.onnx", FILE_BYTES) for name in NAMES}
    except OSError as error:
        raise ModelError(f"can't be read ({error.strerror})", where=str(source)) from error
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise ModelError(f"neither a folder nor a readable wheel: {error}", where=str(source)) from error
    found = {name: data for name, data in forests.items() if data is not None}
    if len(found) < len(NAMES):
        raise ModelError(
            f"has neither anomaly_detection_forest{end}.zip nor forest_g{end}.onnx and forest_r{end}.onnx: "
            "take another release of fink-science (7.4.0 has models) or another --user",
            where=str(source),
        )
    return FinkFiles(found, {name: _means(data, f"{name}_means.csv") for name, data in tables.items() if data})


@dataclass(frozen=True)
class _Files:
    """The files of a folder or an archive: their paths, and how to open one."""

    paths: Sequence[str]
    open: Callable[[str], IO[bytes]]

    def get(self, name: str, limit: int) -> bytes | None:
        """The file of this bare name, None if there is none. Raises `ModelError` if two are, or it is too large."""
        found = [path for path in self.paths if PurePosixPath(path).name == name]
        if len(found) > 1:
            raise ModelError(f"is there {len(found)} times", where=name)
        if not found:
            return None
        with self.open(found[0]) as stream:
            data = stream.read(limit + 1)
        if len(data) > limit:
            raise ModelError(f"larger than {limit} bytes", where=name)
        return data


@contextmanager
def _opened(source: Path) -> Iterator[_Files]:
    if source.is_dir():
        yield _Files(
            [path.name for path in source.iterdir() if path.is_file()], lambda name: (source / name).open("rb")
        )
    elif source.stat().st_size > WHEEL_BYTES:
        raise ModelError(f"larger than {WHEEL_BYTES} bytes", where=str(source))
    else:
        with zipfile.ZipFile(source) as wheel:
            yield _Files(wheel.namelist(), wheel.open)


def _means(data: bytes, where: str) -> dict[str, float]:
    """Feature → mean, from lines `name,number`; the header's name is empty."""
    try:
        rows = [row for row in csv.reader(io.StringIO(data.decode())) if row and row[0]]
        means = {name: float(value) for name, value in rows}
    except (ValueError, csv.Error) as error:
        raise ModelError(f"not lines of a name and a number: {error}", where=where) from error
    if len(means) != len(rows) or not all(math.isfinite(value) for value in means.values()):
        raise ModelError("has a name twice, or a number that is not finite", where=where)
    return means
