"""Small reads of objects that never change, served from larger pieces that are read at once and kept. Knows no server and no keys."""

from collections.abc import Callable
from typing import Final

SIZE: Final = 1 << 16
_MOST: Final = 16


class Blocks:
    """The pieces read last. What jobs of one kind read lies side by side, so the next read is most often in a piece that is here.

    There is no lock that a fork could copy while it is held: threads that meet read a piece twice at worst.
    """

    def __init__(self, read: Callable[[str, int, int], bytes]) -> None:
        """Begin with nothing; ``read`` gives a range of an object, shorter where that ends."""
        self._read = read
        self._kept: dict[tuple[str, int], bytes] = {}  # the one used last comes last

    def get(self, key: str, start: int, length: int) -> bytes:
        """Read a range of an object, shorter where that ends."""
        first = start // SIZE
        last = (start + length - 1) // SIZE
        data = b"".join(self._block(key, number) for number in range(first, last + 1))
        return data[start - first * SIZE :][:length]

    def _block(self, key: str, number: int) -> bytes:
        data = self._kept.pop((key, number), None)
        if data is None:
            data = self._read(key, number * SIZE, SIZE)
            for oldest in list(self._kept)[: 1 - _MOST]:
                self._kept.pop(oldest, None)
        self._kept[key, number] = data
        return data
