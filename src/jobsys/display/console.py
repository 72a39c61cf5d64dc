"""A console of rich on which text does nothing but show. Needs rich."""

from collections.abc import Iterator

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from jobsys.harmless import colourless


class HarmlessConsole(Console):
    """Writes control characters of the text it is given as signs; colours and cursor movements are the program's own."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """Turn what is to be shown into pieces of text."""
        for segment in super().render(renderable, options):
            text = segment.text
            shown = text if segment.control or text.isprintable() else colourless(text)
            yield segment if shown is text else Segment(shown, segment.style)
