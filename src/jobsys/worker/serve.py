"""Runs a service: start it, hand its value out, keep it up until told to stop. Knows nothing of other jobs."""

from collections.abc import Callable
from typing import Final

from jobsys import pickling
from jobsys.context import Context
from jobsys.errors import GraphError, JobFailure
from jobsys.job import Service
from jobsys.message import AGAIN, STOP, Said, encode_message
from jobsys.record import Blob
from jobsys.worker.executor import Channel

CHECK_EVERY: Final = 1.0
"""Seconds between two looks at a service."""


def serve(service: Service, context: Context, channel: Channel, spill: Callable[[bytes], Blob | None]) -> None:
    """Keep a service up until told to stop; ``stop`` is called in any case once ``start`` was.

    Raises:
        JobFailure: its check says that it no longer works.
        GraphError: its value is, or holds, a promise.
    """
    try:
        data, promised = pickling.dump(service.start(context), f"the value of service {service.name!r}")
        if promised:
            raise GraphError(f"service {service.name!r} can't promise its value: start must return the value itself")
        context.settle()
        place = spill(data)
        said = Said(context.job_id, context.attempt, service_value=place or Blob.of(data))
        message = encode_message(said, b"" if place else data)
        channel.say(message)
        while (word := channel.receive(CHECK_EVERY)) != STOP:
            if word == AGAIN:
                channel.say(message)
            if not service.check(context):
                raise JobFailure(f"service {service.name!r} no longer works: its check returned False")
    finally:
        service.stop(context)
