"""Sets that come as files: which files, from where, and what is in them."""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np

from experiments.data.formats import parse_cifar, parse_idx


@dataclasses.dataclass(frozen=True)
class Part:
    """A file as it is before it is packed for publication; arrays of one split.

    Attributes:
        name: its path in the archive, or the name of a file that is packed alone.
        split: "train" or "test".
        sha256: of its bytes.
    """

    name: str
    split: str
    sha256: str


@dataclasses.dataclass(frozen=True)
class File:
    """A file as it is published: parts packed by gzip or tar.

    Attributes:
        name: the publisher's file name, ending in `.gz`.
        size: in bytes.
        sha256: of its bytes.
        parts: what is inside; users may keep these instead.
    """

    name: str
    size: int
    sha256: str
    parts: tuple[Part, ...]


@dataclasses.dataclass(frozen=True)
class Published:
    """A data set made of such files.

    Attributes:
        name: as given to `load`.
        url: the publisher's address; a file lies at `url + file.name`.
        shape: of one example.
        classes: number of classes.
        parse: bytes of a part -> its arrays, "x", "y" or both.
        files: whose parts, in this order, are the rows of each split.
        digest: of the finished data set (`dataset.digest_of`): what a prepared copy must have.
    """

    name: str
    url: str
    shape: tuple[int, ...]
    classes: int
    parse: Callable[[bytes], Mapping[str, np.ndarray]]
    files: tuple[File, ...]
    digest: str


def _idx(name: str, split: str, size: int, sha256: str, plain_sha256: str) -> File:
    prefix = {"train": "train", "test": "t10k"}[split]
    part = Part(f"{prefix}-{name}", split, plain_sha256)
    return File(f"{part.name}.gz", size, sha256, (part,))


def _images(split: str, size: int, sha256: str, plain_sha256: str) -> File:
    return _idx("images-idx3-ubyte", split, size, sha256, plain_sha256)


def _labels(split: str, size: int, sha256: str, plain_sha256: str) -> File:
    return _idx("labels-idx1-ubyte", split, size, sha256, plain_sha256)


def _batch(name: str, split: str, sha256: str) -> Part:
    return Part(f"cifar-10-batches-py/{name}", split, sha256)


# LeCun, Cortes and Burges; sizes and sums as TFDS registers them for this address.
MNIST = Published(
    name="mnist",
    url="https://storage.googleapis.com/cvdf-datasets/mnist/",
    shape=(28, 28),
    classes=10,
    parse=parse_idx,
    files=(
        _images(
            "train",
            9912422,
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        ),
        _labels(
            "train",
            28881,
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        ),
        _images(
            "test",
            1648877,
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        ),
        _labels(
            "test",
            4542,
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
    ),
    digest="9e653f1f1b110dc4c58ee3ebb3a91bcc6f8e4af5dd414d5fd2dafa456b056eb2",
)

# Xiao, Rasul and Vollgraf, arXiv 1708.07747; sizes and sums as TFDS registers them.
FASHION_MNIST = Published(
    name="fashion_mnist",
    url="http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    shape=(28, 28),
    classes=10,
    parse=parse_idx,
    files=(
        _images(
            "train",
            26421880,
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        ),
        _labels(
            "train",
            29515,
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        ),
        _images(
            "test",
            4422102,
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        ),
        _labels(
            "test",
            5148,
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
    ),
    digest="360520175045a488decebf17dcdb534c009a05dcce4bc0a213f7944e37f83ed3",
)

# Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009. Size and sum of the
# archive as published; the batches' are of files whose MD5 sums torchvision registers.
CIFAR10 = Published(
    name="cifar10",
    url="https://www.cs.toronto.edu/~kriz/",
    shape=(32, 32, 3),
    classes=10,
    parse=parse_cifar,
    files=(
        File(
            "cifar-10-python.tar.gz",
            170498071,
            "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
            (
                _batch(
                    "data_batch_1",
                    "train",
                    "54636561a3ce25bd3e19253c6b0d8538147b0ae398331ac4a2d86c6d987368cd",
                ),
                _batch(
                    "data_batch_2",
                    "train",
                    "766b2cef9fbc745cf056b3152224f7cf77163b330ea9a15f9392beb8b89bc5a8",
                ),
                _batch(
                    "data_batch_3",
                    "train",
                    "0f00d98ebfb30b3ec0ad19f9756dc2630b89003e10525f5e148445e82aa6a1f9",
                ),
                _batch(
                    "data_batch_4",
                    "train",
                    "3f7bb240661948b8f4d53e36ec720d8306f5668bd0071dcb4e6c947f78e9682b",
                ),
                _batch(
                    "data_batch_5",
                    "train",
                    "d91802434d8376bbaeeadf58a737e3a1b12ac839077e931237e0dcd43adcb154",
                ),
                _batch(
                    "test_batch",
                    "test",
                    "f53d8d457504f7cff4ea9e021afcf0e0ad8e24a91f3fc42091b8adef61157831",
                ),
            ),
        ),
    ),
    digest="aa15e64a8f9f183941929974d16423780494b1f45dd9ddb98f7b0b46b9b477a8",
)

PUBLISHED = {published.name: published for published in (MNIST, FASHION_MNIST, CIFAR10)}
