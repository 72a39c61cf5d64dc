"""What the tests of batch systems share."""

import pytest

from batch import offspring  # type: ignore[import-not-found]


@pytest.fixture(autouse=True)
def children_are_counted_from_here(isolated_session: None) -> None:
    offspring.begin()
