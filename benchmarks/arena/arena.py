"""./dev arena: every client against every scenario, counted at the server's door.

docs/arena.md says how to read what it prints.
"""
import argparse
import datetime
import json
import os
import platform
import sys
import time

import goals
import lanes
import report

AT_ONCE = 6
# Seconds after which no lane begins: {quick: …}. A lane that runs may take two minutes more.
BEGIN_WITHIN = {False: 22 * 60, True: 140}
QUICK = {
    "main": {
        ("S1w", "http"): ["urllib3"],
        ("S2", "http"): ["urllib3", "tenacity", "botocore-adaptive"],
        ("S5", "http"): ["urllib3", "tenacity"],
        ("S7", "http"): ["urllib3", "botocore-adaptive"],
        ("S2", "grpc"): ["grpc-policy"],
    },
    "buckets": ["bucket-02-int", "bucket-03-xrl"],
    "variants": ["wait-short", "sliding-none", "outage-hang"],
}
# Of several processes each is started as often: a few say enough.
P4_PEERS = ["urllib3", "botocore-adaptive", "full-jitter"]


def parse(argv):
    parser = argparse.ArgumentParser(
        prog="./dev arena",
        description="Runs clients against rate-limited and failing services on this machine, counts at the services' "
        "doors, and writes results.json and index.html.")
    parser.add_argument(
        "--scenario", action="append", metavar="NAME", help="S2, bucket-03-int, outage-hang, …, or a group: main, "
        "buckets, variants (default: all three). May be repeated")
    parser.add_argument("--peer", action="append", metavar="NAME", help="forbear, urllib3, … (default: all). May be "
                        "repeated; the oracle always runs")
    parser.add_argument("--protocol", choices=["http", "grpc"], help="default: both")
    parser.add_argument("--runs", type=int, default=3, help="how often Forbear and the oracle play each scenario of "
                        "main (default 3: medians). Everything else is played once")
    parser.add_argument("--quick", action="store_true", help="a part of it, in three minutes")
    parser.add_argument("--out", metavar="DIR", help="where results go (default: arena-out below TMPDIR, or /tmp)")
    parser.add_argument("--list", action="store_true", help="print scenarios and clients, and do nothing")
    parser.add_argument("--render", metavar="FILE", help="print and draw an earlier results.json again")
    parser.add_argument("--picture", metavar="FILE", help="with --render and one --scenario: its timelines as SVG")
    parser.add_argument("--bin", required=True, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if not 1 <= args.runs <= 9:
        parser.error("--runs must be from 1 to 9")
    if args.picture and not (args.render and len(args.scenario or []) == 1):
        parser.error("--picture needs --render and one --scenario")
    if args.out is None:
        args.out = os.path.join(os.environ.get("TMPDIR", "/tmp"), "arena-out")
    return args


def peers_of(scenario, protocol):
    """Who plays it beside the oracle and Forbear."""
    if scenario["group"] == "buckets":
        return []
    if scenario["group"] == "variants":
        return ["full-jitter"]
    if protocol == "grpc":
        return list(lanes.GRPC_PEERS)
    if scenario["processes"] > 1:
        return P4_PEERS
    return [peer for peer in lanes.HTTP_PEERS if peer != "full-jitter"]


def plan(scenarios, args):
    """The lanes, in the order in which they begin."""
    planned = []
    wanted = set(args.scenario or [])
    oracles = set()
    for scenario in scenarios:
        if wanted and not wanted & {scenario["name"], scenario["group"]}:
            continue
        for protocol in ("http", "grpc") if scenario["grpc"] else ("http",):
            if args.protocol not in (None, protocol):
                continue
            peers = peers_of(scenario, protocol)
            if args.quick:
                if scenario["group"] == "main":
                    quick = QUICK["main"].get((scenario["name"], protocol))
                else:
                    quick = peers if scenario["name"] in QUICK[scenario["group"]] else None
                if quick is None:
                    continue
                peers = quick
            peers = ["forbear"] + peers
            if args.peer:
                peers = [peer for peer in peers if peer in args.peer]
            if not peers and "oracle" not in (args.peer or []):
                continue
            runs = args.runs if scenario["group"] == "main" and not args.quick else 1
            own = [lanes.Lane(scenario, protocol, "forbear", k + 1) for k in range(runs)] if "forbear" in peers else []
            others = [lanes.Lane(scenario, protocol, peer) for peer in peers if peer != "forbear"]
            # Five announcements of one bucket are one schedule: one oracle.
            bucket = scenario["name"].rsplit("-", 1)[0]
            oracle = []
            if scenario["group"] != "buckets":
                oracle = [lanes.Lane(scenario, protocol, "oracle", k + 1) for k in range(runs)]
            elif bucket not in oracles:
                oracles.add(bucket)
                oracle = [lanes.Lane(scenario, protocol, "oracle")]
            # Runs of one client are spread over the scenario's crowd.
            share = -(-len(others) // runs)
            for k in range(runs):
                planned += oracle[k:k + 1] + own[k:k + 1] + others[k * share:(k + 1) * share]
    return planned


def machine():
    model = ""
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            model = next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), "")
    return {"cores": os.cpu_count(), "cpu": model, "kernel": platform.release()}


def describe_all(planned):
    """({peer: description}, {peer: why it was not run})"""
    described, missing = {}, {}
    for peer in {lane.peer for lane in planned} - set(lanes.OWN):
        description, reason = lanes.describe(peer)
        if description is None:
            missing[peer] = reason
        else:
            described[peer] = description
    return described, missing


def main(argv):
    args = parse(argv)
    os.makedirs(args.out, exist_ok=True)
    if args.render:
        with open(args.render, encoding="utf-8") as file:
            results = json.load(file)
        if args.picture is None:
            return finish(results, args.out)
        drawn = report.picture(results, args.scenario[0])
        if drawn is None:
            print("./dev arena: %s was not played" % args.scenario[0], file=sys.stderr)
            return 2
        with open(args.picture, "w", encoding="utf-8") as file:
            file.write(drawn)
        return 0
    runner = lanes.Runner(
        os.path.join(args.bin, "benchmarks/arena/provider"), os.path.join(args.bin, "benchmarks/arena/oracle"),
        os.path.join(args.bin, "tools/forbear"), os.path.join(args.bin, "benchmarks/simulator/simulate"), args.out)
    scenarios = runner.scenarios()
    if args.list:
        for scenario in scenarios:
            print("%-14s %-9s %s" % (scenario["name"], scenario["group"], scenario["title"]))
        print("clients: " + ", ".join([*lanes.OWN, *lanes.HTTP_PEERS, *lanes.GRPC_PEERS]))
        return 0
    known = {s["name"] for s in scenarios} | {s["group"] for s in scenarios}
    for name in args.scenario or []:
        if name not in known:
            print("./dev arena: there is no scenario '%s'; --list names them" % name, file=sys.stderr)
            return 2
    clients = {*lanes.OWN, *lanes.HTTP_PEERS, *lanes.GRPC_PEERS}
    for name in args.peer or []:
        if name not in clients:
            print("./dev arena: there is no client '%s'; --list names them" % name, file=sys.stderr)
            return 2
    planned = plan(scenarios, args)
    if not planned:
        print("./dev arena: nothing to play: that client does not play that scenario", file=sys.stderr)
        return 2
    described, missing = describe_all(planned)
    planned = [lane for lane in planned if lane.peer not in missing]
    print("./dev arena: %d lanes, %d at a time" % (len(planned), AT_ONCE), file=sys.stderr)

    start = time.monotonic()
    results, failed = [], []

    def done(lane, result, error):
        if error is None:
            results.append(result)
            said = "%d of %d answered, %d sends" % (
                result["figures"]["answered"], result["figures"]["asked"], result["figures"]["sends"])
        else:
            failed.append({"lane": lane.name, "why": error})
            said = "NOT RUN: " + error
        print("%5.0f s  %3d/%d  %-40s %s" %
              (time.monotonic() - start, len(results) + len(failed), len(planned), lane.name, said),
              file=sys.stderr, flush=True)

    lanes.run_all(runner, planned, AT_ONCE, start + BEGIN_WITHIN[args.quick], done)
    used = {lane.scenario["name"] for lane in planned}
    played = sorted({lane.scenario["name"] for lane in planned
                     if lane.peer == "forbear" and lane.scenario["group"] == "main"})
    order = {lane.name: k for k, lane in enumerate(planned)}
    results.sort(key=lambda r: order["%s-%s-%s-%d" % (r["scenario"], r["protocol"], r["peer"], r["run"])])
    return finish({
        "made": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "command": "./dev arena " + " ".join(a for a in argv if a not in ("--bin", args.bin)),
        "quick": args.quick,
        "seconds": round(time.monotonic() - start, 1),
        "at_once": AT_ONCE,
        "machine": machine(),
        "described": described,
        "not_run": missing,
        "failed": failed,
        "scenarios": [s for s in scenarios if s["name"] in used],
        "simulated": runner.simulated(played) if played else [],
        "lanes": results,
    }, args.out)


def finish(results, out):
    with open(os.path.join(out, "results.json"), "w", encoding="utf-8") as file:
        json.dump(results, file, indent=None, separators=(",", ":"))
    print(report.text(results))
    with open(os.path.join(out, "index.html"), "w", encoding="utf-8") as file:
        file.write(report.page(results))
    print("results: %s\npage:    %s" % (os.path.join(out, "results.json"), os.path.join(out, "index.html")))
    # Goals are reported; that the bench itself worked is what the exit code says.
    return 1 if results["failed"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
