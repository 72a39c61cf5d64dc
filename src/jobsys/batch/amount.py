"""Amounts of what a machine has: compared, added up, and asked for by a job."""

import math
from typing import Final, NamedTuple

from jobsys.batch.machine import Machine
from jobsys.errors import RequirementError
from jobsys.requirements import Requirements, format_bytes

_CORE: Final = 1000
SMALLEST_CORES: Final = 100  # a tenth of a core: below that, processes would outnumber the work


class Amount(NamedTuple):
    """So much of a machine; cores in thousandths, sizes in bytes."""

    cores: int
    memory: int
    disk: int
    accelerators: int

    @classmethod
    def of_machine(cls, machine: Machine) -> "Amount":
        """Tell how much a machine has."""
        return cls(round(machine.cores * _CORE), machine.memory, machine.disk, len(machine.accelerators))

    def fits(self, other: "Amount") -> bool:
        """Tell whether this is no more than the other in every respect."""
        return self[0] <= other[0] and self[1] <= other[1] and self[2] <= other[2] and self[3] <= other[3]

    def plus(self, other: "Amount") -> "Amount":
        """Add another amount."""
        return Amount(self[0] + other[0], self[1] + other[1], self[2] + other[2], self[3] + other[3])

    def minus(self, other: "Amount") -> "Amount":
        """Take another amount away; what is left may be negative."""
        return Amount(self[0] - other[0], self[1] - other[1], self[2] - other[2], self[3] - other[3])


def amount_of(requirements: Requirements, machine: Machine) -> Amount:
    """Tell how much of a machine a job holds; one that names no memory holds that of its cores."""
    cores = max(SMALLEST_CORES, math.ceil(requirements.cores * _CORE - 1e-6))
    memory = requirements.memory
    if memory is None:
        memory = min(machine.memory, int(machine.memory * cores / _CORE / machine.cores))
    return Amount(cores, memory, requirements.disk or 0, requirements.accelerators)


def check_fits(requirements: Requirements, machine: Machine) -> None:
    """Raise RequirementError for the first requirement that the machine can never meet."""
    for name, asked, there, text in (
        ("cores", requirements.cores, machine.cores, "{:g}".format),
        ("memory", requirements.memory or 0, machine.memory, format_bytes),
        ("disk", requirements.disk or 0, machine.disk, format_bytes),
        ("accelerators", requirements.accelerators, len(machine.accelerators), "{:g}".format),
    ):
        if asked > there:
            raise RequirementError(
                f"a job asks for {name}={text(asked)}, but jobs on this machine can have {text(there)} at most: "
                f"lower {name}=, or run where there is more"
            )
