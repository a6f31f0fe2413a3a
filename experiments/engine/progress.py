"""How far a study is: a bar with rate and time left on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Iterable
from types import TracebackType

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

PLAIN_SECONDS = 15.0


def speed_text(rate: float) -> str:
    """A number of replica-steps per second, in three digits at least where it is small."""
    return f"{rate:,.0f} replica-steps/s" if rate >= 100 else f"{rate:.3g} replica-steps/s"


class _Bar(Progress):
    """A bar with a line of text below it."""

    note = ""

    def get_renderables(self) -> Iterable[RenderableType]:
        """The bar, then the note over the whole width."""
        yield from super().get_renderables()
        if self.note:
            yield Text(self.note)


class Meter:
    """Counts replica-steps; `with Meter(total) as meter: meter.advance(n, "program 1/4")`."""

    def __init__(self, total: int, *, quiet: bool = False) -> None:
        self._total, self._done = max(total, 1), 0
        self._started = self._printed = time.monotonic()
        self._before = 0  # replica-steps that the clock does not know
        self._note = ""
        self._quiet = quiet
        self._bar: _Bar | None = None
        console = Console(file=sys.stderr)
        if console.is_terminal and not quiet:
            self._bar = _Bar(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.percentage:>3.0f} %  {task.fields[rate]}"),
                TimeRemainingColumn(),
                console=console,
                transient=True,
            )

    def __enter__(self) -> "Meter":
        if self._bar:
            self._bar.start()
            self._task = self._bar.add_task("", total=self._total, rate="")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar:
            self._bar.stop()

    def skip(self, steps: int, text: str) -> None:
        """Counts replica-steps that were done before, so that they do not enter the rate."""
        self._total -= steps
        if self._bar:
            self._bar.update(self._task, total=self._total, description=text)

    @property
    def rate(self) -> float:
        """Replica-steps per second since the first call ended, which waits for compiling."""
        return (self._done - self._before) / max(time.monotonic() - self._started, 1e-9)

    def note(self, text: str) -> None:
        """Says how the replicas in training stand; shown until the next note."""
        self._note = text
        if self._bar:
            self._bar.note = text

    def advance(self, steps: int, text: str) -> None:
        """Counts finished replica-steps; `text` says where the study is."""
        self._done += steps
        if not self._before:
            self._before, self._started = self._done, time.monotonic()
        rate = self.rate
        shown = speed_text(rate) if rate else ""
        if self._bar:
            self._bar.update(self._task, advance=steps, description=text, rate=shown)
        elif not self._quiet and time.monotonic() - self._printed > PLAIN_SECONDS:
            self._printed = time.monotonic()
            share = 100 * self._done / self._total
            where = f"{share:3.0f} %  {'; '.join(filter(None, (text, self._note)))}"
            if rate:
                where += f"  {shown}, {(self._total - self._done) / rate:.0f} s left"
            print(where, file=sys.stderr, flush=True)
