"""What a lane's door log says: how much was wasted, how late it was, whether it came in waves.

Pure functions on plain values; analysis_test.py has their truth by hand. All times are seconds
since the first arrival, which is when a scenario's time begins.
"""
import json
import math
import statistics

BIN = 0.1  # seconds; what is counted together
WAVE = 5   # refusals in one bin

# HTTP statuses and gRPC codes (RESOURCE_EXHAUSTED, UNAVAILABLE) that refuse.
REFUSALS = {429, 503, 8, 14}
OK = {200, 0}


class Arrival:
    """One send, as the server saw it."""

    __slots__ = ("time", "status", "fault", "due", "answered", "gone")

    def __init__(self, time, status, fault="none", due=None, answered=None, gone=False):
        self.time = time
        self.status = status
        self.fault = fault
        self.due = due
        self.answered = answered
        self.gone = gone

    @property
    def kind(self):
        """"ok", "refused" or "failed" (an error, a reset, no answer)."""
        if self.fault == "none":
            if self.status in OK:
                return "ok"
            if self.status in REFUSALS:
                return "refused"
        return "failed"


def read_door(path):
    """(what the log says of its run, [Arrival])"""
    with open(path, encoding="utf-8") as file:
        run = json.loads(next(file))
        arrivals = []
        for line in file:
            a = json.loads(line)
            arrivals.append(Arrival(a["t"], a["s"], a["f"], a["due"], a["at"], a.get("gone", False)))
    return run, arrivals


def percentile(values, part):
    """The smallest value that this part of them does not exceed; None of none."""
    if not values:
        return None
    return sorted(values)[max(1, math.ceil(part * len(values))) - 1]


def bins(times, width=BIN):
    """How many times fall into [k * width, (k + 1) * width), for k from 0 to the last."""
    counts = []
    for time in times:
        # 0.3 / 0.1 is less than 3.
        index = int(time / width + 1e-9)
        counts.extend([0] * (index + 1 - len(counts)))
        counts[index] += 1
    return counts


def waves(arrivals):
    """(bins that hold a wave of refusals, those of them after the first)

    A wave that goes on in the next bin counts in both.
    """
    full = [k for k, n in enumerate(bins(a.time for a in arrivals if a.kind == "refused")) if n >= WAVE]
    return len(full), max(0, len(full) - 1)


def fullest(times, width=BIN, start=0.0):
    """The most times in any stretch of this width that begins at `start` or later.

    It slides, so that nothing hides on a border.
    """
    times = sorted(t for t in times if t >= start)
    most, first = 0, 0
    for last, time in enumerate(times):
        while time - times[first] >= width:
            first += 1
        most = max(most, last - first + 1)
    return most


def peak_to_mean(times):
    """The fullest bin by the mean bin, from the first to the last arrival; None of none."""
    counts = bins(times)
    if not counts:
        return None
    return max(counts) * len(counts) / sum(counts)


def wall(arrivals):
    """From the first arrival to the last answer."""
    return max((a.answered for a in arrivals if a.answered is not None), default=None)


def lateness(arrivals):
    """How late each answer left against the server's own intention."""
    return [a.answered - a.due for a in arrivals if a.answered is not None and a.due is not None]


def milliseconds(seconds):
    return None if seconds is None else round(1000 * seconds, 3)


def measure(scenario, arrivals, calls):
    """A lane's figures.

    scenario: as `provider --list` describes it. calls: [(begin, end, ok)] of the client, of which
    only durations and `ok` are used: sends are counted at the door.
    """
    answered = sum(1 for call in calls if call[2])
    good = sum(1 for a in arrivals if a.kind == "ok" and not a.gone)
    times = [a.time for a in arrivals]
    total = wall(arrivals)
    latencies = [end - begin for begin, end, ok in calls if ok]
    outage = scenario["outage_s"]
    count, later = waves(arrivals)
    late = lateness(arrivals)
    return {
        "asked": scenario["calls"],
        "answered": answered,
        "sends": len(arrivals),
        "wasted": len(arrivals) - answered,
        "per_call": round(len(arrivals) / scenario["calls"], 4),
        "refused": sum(1 for a in arrivals if a.kind == "refused"),
        "failed": sum(1 for a in arrivals if a.kind == "failed"),
        "wall_s": total,
        "x_ideal": None if total is None else total / scenario["ideal_s"],
        "waves": count,
        "waves_after_first": later,
        "peak_to_mean": peak_to_mean(times),
        "fullest_bin": fullest(times),
        "outage_sends": sum(1 for t in times if outage[0] <= t < outage[1]) if outage else None,
        "fullest_after_outage": fullest(times, BIN, outage[1]) if outage else None,
        "p50_ms": milliseconds(percentile(latencies, 0.50)),
        "p95_ms": milliseconds(percentile(latencies, 0.95)),
        "p99_ms": milliseconds(percentile(latencies, 0.99)),
        "late_p50_ms": milliseconds(percentile(late, 0.50)),
        "late_p99_ms": milliseconds(percentile(late, 0.99)),
        "late_max_ms": milliseconds(max(late, default=None)),
        # A client that claims more answers than left the door is not believed.
        "consistent": answered <= good,
    }


def combine(runs):
    """The medians of several runs' figures; {"figure": (median, smallest, largest)}.

    A figure that a run does not have is left out of it; None if no run has it.
    """
    combined = {}
    for name in runs[0]:
        values = [run[name] for run in runs if run[name] is not None and not isinstance(run[name], bool)]
        combined[name] = (statistics.median(values), min(values), max(values)) if values else None
    combined["consistent"] = all(run["consistent"] for run in runs)
    return combined
