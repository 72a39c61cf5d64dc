"""The table of all shapes, in the order of the four files that hold them."""

from typing import Final

from shipping import behaviours, environments, layouts, starts  # type: ignore[import-not-found]
from shipping.shape import Shape  # type: ignore[import-not-found]

SHAPES: Final[list[Shape]] = [*layouts.SHAPES, *starts.SHAPES, *environments.SHAPES, *behaviours.SHAPES]
