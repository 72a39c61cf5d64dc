"""Bake a cake with the graph API: children, follow-ons, an encapsulated part, a promise of a part of a value.

python graph_api.py file:my-store
"""

import jobsys


class Bake(jobsys.Job):
    """A job as a class: it has state, and its children and follow-ons are its own business."""

    def __init__(self, dough):
        super().__init__(cores=1, memory="100M")
        self.dough = dough  # a promise here; when run is called, the value

    def run(self, context):
        context.log(f"baking {self.dough['grams']} g")
        return f"a cake of {self.dough['grams']} g"


def weigh(what, grams):
    return {"what": what, "grams": grams}


def mix(parts):
    return {"grams": sum(part["grams"] for part in parts), "parts": [part["what"] for part in parts]}


def serve(cake, parts):
    return f"{cake} made of {', '.join(parts)}"


def wash_up():
    print("clean again")  # what a job prints is kept: see `jobsys logs`


def make_workflow():
    kitchen = jobsys.FunctionJob(print, ("the kitchen is open",), name="kitchen")

    # Children run at the same time, after their parent.
    weighed = [
        kitchen.add_child_fn(weigh, what, grams, memory="50M", name=f"weigh {what}")
        for what, grams in [("flour", 500), ("sugar", 200), ("butter", 250)]
    ]

    # A follow-on runs after all children, and all that came of them.
    dough = kitchen.add_follow_on_fn(mix, [job.rv() for job in weighed])

    # Encapsulated, a job and all that comes of it look like one: what is added runs after all of it.
    baking = dough.add_child(Bake(dough.rv())).encapsulate()
    baking.add_follow_on_fn(wash_up)

    # A promise may be of a part of the value. Jobs that are reached only by their promises belong to the workflow, too.
    served = jobsys.FunctionJob(serve, (baking.rv(), dough.rv("parts")))
    return served.rv()


if __name__ == "__main__":
    args = jobsys.argument_parser(description=__doc__).parse_args()
    print(jobsys.run(make_workflow(), args))
