"""The jobsys side of shipping.py, as a run does it: ``create STORE TOLD`` on the leader, ``localise TOLD`` on a worker.

``create`` runs in the environment that is shipped, and this script's directory is the project; ``localise`` needs the core only.
"""

import json
import os
import sys
import time
from pathlib import Path

from measured import measure, tell


def create(store_path: str, told: str) -> dict[str, float]:
    """Find, hash, archive and save; what was shipped goes to ``told``, for the worker."""
    from jobsys import sending, shipment
    from jobsys.cache import Cache
    from jobsys.jobstores import create as create_store
    from jobsys.jobstores import locate
    from jobsys.jobstores.base import FORMAT, StoreInfo
    from jobsys.shipping.main import Main
    from jobsys.shipping.plan import Options, make_plan

    locator = f"file:{store_path}"
    store = locate(locator) if os.path.exists(store_path) else create_store(locator, StoreInfo(FORMAT, 0.0, "0"))
    sender = sending.Sender(store)

    def ship() -> bytes:
        main = Main()
        options = Options(environment="always", remote=True, facts=os.path.join(Cache.of_host().root, "digests"))
        made = sending.make(sender, make_plan(main.start, options), main, remote=True)
        return shipment.write(store, time.time_ns(), made)

    figures, data = measure(ship)
    Path(told).write_bytes(data)
    return figures | {"sent": sender.sent}


def localise(told: str) -> dict[str, float]:
    """Fetch, verify, unpack and assemble what was shipped."""
    from jobsys.arrival.arrive import bring

    shipped = json.loads(Path(told).read_bytes())
    figures, environment = measure(lambda: bring(shipped))
    if not os.path.isdir(f"{environment.site}/msgspec"):
        sys.exit(f"{environment.path} is not what was shipped")
    return figures


if __name__ == "__main__":
    deed, *arguments = sys.argv[1:]
    tell({"create": create, "localise": localise}[deed](*arguments))
