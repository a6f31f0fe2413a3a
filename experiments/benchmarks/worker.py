"""Each side works in a process of its own, with its own threads, devices and environment.

Only one works at a time: the others wait for a message, which costs no processor time.
"""

import multiprocessing
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from experiments.benchmarks.problem import Side


class Worker:
    """A process that gets a side ready and trains its epochs when asked.

    Args:
        prepare: the side's module-level function.
    """

    def __init__(self, prepare: Callable[[Any], Side]) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, remote = context.Pipe()
        self._process = context.Process(target=_serve, args=(remote, prepare), daemon=True)
        self._process.start()
        remote.close()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.join()
        self._connection.close()

    def prepare(self, problem: Any) -> tuple[float, str]:
        """Gets ready; the seconds spent compiling, and what was chosen."""
        return self._ask("prepare", problem)

    def epoch(self) -> float:
        """Trains every replica for one epoch; seconds."""
        return self._ask("epoch")

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """What a module-level function returns there."""
        return self._ask("call", function, *args)

    def _ask(self, what: str, *args: Any) -> Any:
        self._connection.send((what, args))
        try:
            answer, error = self._connection.recv()
        except EOFError:
            raise RuntimeError("a side's process ended before it answered") from None
        if error:
            raise RuntimeError(error)
        return answer


def _serve(connection: Connection, prepare: Callable[[Any], Side]) -> None:
    held: list[Side] = []
    while True:
        try:
            what, args = connection.recv()
        except EOFError:
            return
        try:
            connection.send((_answer(held, prepare, what, args), None))
        except Exception:
            connection.send((None, traceback.format_exc()))


def _answer(
    held: list[Side], prepare: Callable[[Any], Side], what: str, args: tuple[Any, ...]
) -> Any:
    if what == "call":
        return args[0](*args[1:])
    if what == "prepare":
        held.clear()  # the old replicas go before the new ones come
        held.append(prepare(*args))
        return held[0].setup_seconds, held[0].note
    start = time.perf_counter()
    held[0].epoch()
    return time.perf_counter() - start
