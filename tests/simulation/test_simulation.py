"""Random workflows under random disturbances: the state machine does what the model says, and nothing is lost or doubled."""

import copy
import os
from random import Random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobsys.events import Policy
from simulation.chaos import CALM, Chaos  # type: ignore[import-not-found]
from simulation.simulator import Simulator  # type: ignore[import-not-found]
from simulation.workflows import generate  # type: ignore[import-not-found]

EXAMPLES = int(os.environ.get("JOBSYS_EXAMPLES", "300"))
# More and other ones: JOBSYS_EXAMPLES=5000 pytest --timeout 0 tests/simulation
thorough = settings(
    max_examples=EXAMPLES, deadline=None, derandomize=EXAMPLES <= 1000, suppress_health_check=list(HealthCheck), print_blob=False
)
seeds = st.integers(0, 2**32)
sizes = st.sampled_from((1, 2, 3, 4, 5, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30, 35, 40))


@thorough
@given(sizes, seeds)
def test_any_order_of_events_leads_to_what_the_model_says(size, seed):
    random = Random(seed)
    root = generate(random, size)
    simulator = Simulator(root, random, CALM, Policy(retries=random.randint(0, 2)))
    simulator.run()


@thorough
@given(sizes, seeds)
def test_crashes_between_any_two_steps_change_nothing_of_the_outcome(size, seed):
    random = Random(seed)
    root = generate(random, size)
    policy = Policy(retries=random.randint(0, 2))
    undisturbed = Simulator(copy.deepcopy(root), Random(seed), CALM, policy)
    undisturbed.run()
    chaos = Chaos(crash=random.choice((0.0, 0.01, 0.05)), snapshot=0.1, duplicate=0.2, cancel=0.01, flush=random.choice((1.0, 0.5, 0.1)))
    disturbed = Simulator(root, random, chaos, policy)
    disturbed.run()
    assert disturbed.outcome() == undisturbed.outcome()
