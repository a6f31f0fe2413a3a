"""The JavaScript that draws the charts, as one text without any address to load from."""

import functools
import importlib.metadata
import pathlib
import uuid

from experiments.engine.errors import UsageError
from experiments.engine.paths import cache_folder

SNIPPET = "window.vegaEmbed = vegaEmbed;"
"""What the page's own code needs of it all."""
INSTALL = "python -m pip install altair vl-convert-python"


def is_installed() -> bool:
    """Whether charts can be made here: the extra `report`."""
    try:
        import altair
        import vl_convert
    except ImportError:
        return False
    return bool(altair and vl_convert)


def need() -> None:
    """Raises `UsageError` where the extra `report` is not installed."""
    if not is_installed():
        raise UsageError(f"charts need the extra `report`: {INSTALL}")


def schema_version() -> str:
    """The version of Vega-Lite that Altair writes for, such as 6.4."""
    import altair

    return altair.SCHEMA_VERSION.removeprefix("v").rpartition(".")[0]


@functools.cache
def javascript() -> str:
    """Vega, Vega-Lite and Vega-Embed in the version that Altair writes for.

    Bundling takes seconds, so it is done once per version and kept in the user's cache.
    """
    import vl_convert

    version = schema_version()
    maker = importlib.metadata.version("vl-convert-python")
    path = cache_folder() / f"vega-lite-{version}-by-vl-convert-{maker}.js"
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        text = _inside_html(vl_convert.javascript_bundle(SNIPPET, vl_version=version))
    _keep(path, text)
    return text


def _inside_html(code: str) -> str:
    """Code that ends no script element and opens no comment in it."""
    return code.replace("</script", r"<\/script").replace("<!--", r"<\!--")


def _keep(path: pathlib.Path, text: str) -> None:
    """Writes a file of the cache in one go; one that cannot be written is made again next time."""
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(text, "utf-8")
        partial.replace(path)
    except OSError:
        return
