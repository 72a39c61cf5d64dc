"""What tests ask of a database, where the answer must be there."""

from jobsys.server import leases, tasks


def find(connection, id):
    """Give a task."""
    found = tasks.find(connection, id)
    assert found is not None
    return found


def take(database, clock):
    """Take a lease that is free."""
    lease = leases.take(database, clock)
    assert lease is not None
    return lease
