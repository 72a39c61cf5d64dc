"""What the tests of security share: scripts that run as a user runs them."""

from acceptance.conftest import workflow  # type: ignore[import-not-found]

__all__ = ["workflow"]
