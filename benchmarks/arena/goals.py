"""What Forbear is to reach. A goal is a figure of analysis.measure and the most that its median may be."""

_LIMIT = {"waves_after_first": 0}

MAIN = {
    "S1": {"wasted": 3, "x_ideal": 1.10},
    "S1w": {"wasted": 4, "x_ideal": 1.05},
    "S2": {"wasted": 10, "x_ideal": 1.10, **_LIMIT},
    "S2b": {"wasted": 10, "x_ideal": 1.12, **_LIMIT},
    "S3": {"wasted": 10, "x_ideal": 1.03, **_LIMIT},
    "S4": {"wasted": 10, "x_ideal": 1.06, **_LIMIT},
    "S5": {"per_call": 1.08, "x_ideal": 1.12, "outage_sends": 10, "fullest_after_outage": 16, **_LIMIT},
    # Its faults meet everybody; "ideal" sends again at once.
    "S6": {"wasted": None, "x_ideal": 1.05, "p95_ms": 60},
    "S7": {"wasted": 0, "x_ideal": 1.02, **_LIMIT},
    "P4": {"wasted": 60, "x_ideal": 1.6},
}

# Over all buckets: (figure, which part of them, the most that it may be).
BUCKETS = [
    ("x_ideal", 0.50, 1.05),
    ("x_ideal", 0.90, 1.6),
    ("wasted", 0.50, 9),
    ("wasted", 0.90, 32),
]
# The same where the workers could do more than the limit lets through.
BINDING = [("x_ideal", 0.50, 1.12)]

# The simulator is to say the same of these: within so many sends, and such a part of × ideal.
SIMULATED = ("S2", "S3", "S5")
SIMULATED_WASTED = 3
SIMULATED_X_IDEAL = 0.05

WORDS = {
    "wasted": "wasted",
    "x_ideal": "× ideal",
    "waves_after_first": "waves after the first",
    "per_call": "sends per call",
    "outage_sends": "sends in the outage",
    "fullest_after_outage": "sends in 100 ms after it",
    "p95_ms": "p95, ms",
    "unanswered": "not answered",
}


def of(scenario):
    """{figure: the most} of a scenario as `provider --list` describes it."""
    goals = dict(MAIN.get(scenario["name"], {}))
    if goals:
        goals["unanswered"] = 0
    if "wasted" in goals and goals["wasted"] is None:
        goals["wasted"] = scenario["ideal_wasted"]
    return goals


def binds(scenario):
    """Whether the workers could do more than the limit lets through."""
    return scenario["rate"] is not None and scenario["workers"] / scenario["answer_s"] > 1.2 * scenario["rate"]
