"""Many small writes as one transaction: what comes while one is under way goes along with the next."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Final, Generic, TypeVar

MOST: Final = 500

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Batcher(Generic[Item, Answer]):
    """Hands items that wait to one call, in the order in which they came. Its thread ends with ``close``."""

    def __init__(self, write: Callable[[Sequence[Item]], Sequence[Answer]], name: str) -> None:
        """Begin; ``write`` gives an answer for each item, all or none of which is then durable. It is called from one thread."""
        self._write = write
        self._queue: SimpleQueue[tuple[Item, Future[Answer]] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, item: Item) -> Future[Answer]:
        """Have an item written; the future has the answer, or what ``write`` raised."""
        future: Future[Answer] = Future()
        self._queue.put((item, future))
        return future

    def close(self) -> None:
        """Write what is there, and end."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        over = False
        while not over:
            first = self._queue.get()
            if first is None:
                return
            batch = [first]
            while len(batch) < MOST and not self._queue.empty():
                more = self._queue.get()
                if more is None:
                    over = True
                    break
                batch.append(more)
            self._handle(batch)

    def _handle(self, batch: list[tuple[Item, "Future[Answer]"]]) -> None:
        try:
            answers = self._write([item for item, _ in batch])
        except Exception as error:  # noqa: BLE001 - whoever waits for the answer gets it
            if len(batch) == 1:
                batch[0][1].set_exception(error)
            else:  # one of them may be to blame
                for each in batch:
                    self._handle([each])
            return
        for (_, future), answer in zip(batch, answers, strict=True):
            future.set_result(answer)
