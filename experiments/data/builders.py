"""TFDS builder for sets whose stock builders need TensorFlow; imports TFDS, so import it late."""

import threading
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core import units
from tensorflow_datasets.core.download import checksums, download_manager

from experiments.data.files import locate, missing, parts_of, read
from experiments.data.published import Published
from experiments.engine.errors import DataMissingError

PATIENCE = 10.0  # seconds in which a publisher's server must answer


class PublishedImages(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Rows {"x": uint8 image, "y": int32 label} in the publisher's order, as array_record.

    Plain tensors instead of TFDS's image features, which would import TensorFlow.

    Attributes:
        published: the set.
        manual_dir: folder of the publishers' files.
        offline: whether files missing there are an error instead of being downloaded.
    """

    VERSION = tfds.core.Version("1.0.0")

    def __init__(self, published: Published, *, manual_dir: Path, offline: bool, data_dir: Path):
        self.published = published
        self.manual_dir = manual_dir
        self.offline = offline
        super().__init__(data_dir=data_dir)

    @property
    def url_infos(  # pyright: ignore[reportIncompatibleVariableOverride]
        self,
    ) -> dict[str, checksums.UrlInfo]:
        """What TFDS's download manager checks each download against."""
        return {
            self.published.url + file.name: checksums.UrlInfo(
                size=units.Size(file.size), checksum=file.sha256, filename=file.name
            )
            for file in self.published.files
        }

    def _info(self) -> tfds.core.DatasetInfo:
        features = tfds.features.FeaturesDict(
            {
                "x": tfds.features.Tensor(shape=self.published.shape, dtype=np.uint8),
                "y": tfds.features.Scalar(dtype=np.int32),
            }
        )
        return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        places = self._places(dl_manager)
        found: dict[str, dict[str, list[np.ndarray]]] = {}
        for file in self.published.files:
            for part, data in read(file, places):
                for name, array in self.published.parse(data).items():
                    found.setdefault(part.split, {}).setdefault(name, []).append(array)
        joined = {s: {n: np.concatenate(a) for n, a in named.items()} for s, named in found.items()}
        return {split: self._generate_examples(**named) for split, named in joined.items()}

    def _generate_examples(
        self, x: np.ndarray, y: np.ndarray
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        for row, (image, label) in enumerate(zip(x, y, strict=True)):
            yield row, {"x": image, "y": np.int32(label)}

    def _places(self, dl_manager: tfds.download.DownloadManager) -> Mapping[str, Path]:
        """Name of each part -> the file that holds it."""
        found = locate(self.published, self.manual_dir)
        if all(part.name in found for _, part in parts_of(self.published)):
            return found
        reason = f"not found in {self.manual_dir}"
        if not self.offline:
            first = self.published.url + self.published.files[0].name
            reason = unreachable(first, PATIENCE)
            if not reason:
                return self._download(dl_manager)
        raise DataMissingError(missing(self.published, self.manual_dir, found, reason))

    def _download(self, dl_manager: tfds.download.DownloadManager) -> Mapping[str, Path]:
        names = [file.name for file in self.published.files]
        try:
            paths = dl_manager.download({name: self.published.url + name for name in names})
        except (
            OSError,
            tfds.download.DownloadError,
            download_manager.NonMatchingChecksumError,
        ) as error:
            reason = f"the download failed: {error}"
            text = missing(self.published, self.manual_dir, {}, reason)
            raise DataMissingError(text) from error
        return {part.name: Path(paths[file.name]) for file, part in parts_of(self.published)}


def unreachable(url: str, patience: float) -> str:
    """Why a file cannot be downloaded, in words, or nothing where its server answers.

    TFDS's download manager waits without limit and tries ten times, so it is asked only once the
    server has answered here. Looking up a host name cannot be given a limit, hence the thread.
    """
    answers = ["it does not answer"]

    def ask() -> None:
        request = urllib.request.Request(url, method="HEAD")
        try:
            with urllib.request.urlopen(request, timeout=patience):
                answers.append("")
        except (OSError, ValueError) as error:
            answers.append(str(error))

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(patience)
    return f"{url} cannot be reached ({answers[-1]})" if answers[-1] else ""
