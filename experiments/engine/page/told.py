"""The page of a folder, made where it can be, and the line that says where it is."""

from collections.abc import Sequence

from experiments.engine.page.facts import read_facts
from experiments.engine.page.vega import INSTALL, is_installed
from experiments.engine.reopen import Reopened


def comparison_line(studies: Sequence[Reopened]) -> str:
    """Writes the page of several folders; says where it is."""
    from experiments.engine.page.comparison import write_comparison

    return f"side by side: {write_comparison([read_facts(opened) for opened in studies])}"


def page_line(opened: Reopened) -> str:
    """Writes the page of a folder; says where it is, or in one line how to get it."""
    if not is_installed():
        return f"no page: it needs the extra `report`: {INSTALL}"
    from experiments.engine.page.page import write_page

    try:
        return f"page: {write_page(read_facts(opened))}"
    except OSError as error:
        return f"no page: {error.filename or opened.folder}: {error.strerror}"
