"""What an attempt keeps in the job store beside its report, because it is too large for a message."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from jobsys.jobstores.base import JobStore
from jobsys.parts import write_parts
from jobsys.record import Blob, JobRecord, Part


class Aside(NamedTuple):
    """The objects of one attempt."""

    store: JobStore
    job: int
    token: str

    def value(self, data: bytes) -> Blob:
        """Keep a large value, or a large body."""
        return self.store.write_value(self.job, self.token, data)

    def graph(self, bodies: Iterable[bytes], records: Sequence[JobRecord]) -> tuple[Part, ...]:
        """Keep the jobs that the attempt made; there is one such object an attempt."""
        with self.store.write_graph(self.job, self.token) as (stream, key):
            return write_parts(stream, key, bodies, records)
