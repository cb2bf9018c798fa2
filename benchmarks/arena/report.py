"""Results as tables for a terminal and as one page for a browser, which needs nothing but itself."""
import collections
import html

import analysis
import goals
import timeline

# A crowd is a scenario over a protocol: who played it, and what each came to.
Crowd = collections.namedtuple("Crowd", "scenario protocol peers lanes")


def crowds(results, group):
    """[Crowd] in order; peers: {peer: combined figures}, lanes: {peer: [lane]}."""
    found = []
    for scenario in results["scenarios"]:
        if scenario["group"] != group:
            continue
        for protocol in ("http", "grpc"):
            lanes = collections.OrderedDict()
            for lane in results["lanes"]:
                if (lane["scenario"], lane["protocol"]) == (scenario["name"], protocol):
                    lanes.setdefault(lane["peer"], []).append(lane)
            # What is measured first, then what it is measured by, then the others.
            order = sorted(lanes, key=lambda p: {"forbear": 0, "oracle": 1}.get(p, 2))
            if order:
                peers = {p: analysis.combine([lane["figures"] for lane in lanes[p]]) for p in order}
                found.append(Crowd(scenario, protocol, peers, {p: lanes[p] for p in order}))
    return found


def median(figures, name):
    value = figures.get(name)
    return None if value is None else value[0]


def number(value, digits=0):
    if value is None:
        return "–"
    return "%.*f" % (digits, value) if digits else "%g" % round(value, 1)


def ranged(figures, name, digits=0):
    """The median, and the range where there is one."""
    value = figures.get(name)
    if value is None:
        return "–"
    middle, low, high = (number(v, digits) for v in value)
    return middle if low == high else "%s (%s–%s)" % (middle, low, high)


def answered_all(figures):
    return figures["answered"][1] >= figures["asked"][0]


def times_ideal(figures):
    """In brackets where not all was answered: less work takes less time."""
    text = ranged(figures, "x_ideal", 3)
    return text if answered_all(figures) else "[%s]" % text


def verdicts(scenario, figures):
    """[(figure, median, the most it may be, met)] of Forbear's figures."""
    found = []
    for name, most in goals.of(scenario).items():
        if name == "unanswered":
            value = figures["asked"][0] - figures["answered"][1]
        else:
            value = median(figures, name)
        found.append((name, value, most, value is not None and value <= most + 1e-9))
    return found


def figure_text(name, value):
    return number(value, 3 if name in ("x_ideal", "per_call") else 0)


COLUMNS = ["client", "answered", "wasted", "× ideal", "waves", "after 1st", "peak/mean", "p99 ms", "late p99 ms"]


def row(peer, lanes, figures):
    name = peer if len(lanes) == 1 else "%s ×%d" % (peer, len(lanes))
    if not figures["consistent"]:
        name += " (!)"
    return [
        name,
        "%s of %s" % (ranged(figures, "answered"), number(figures["asked"][0])),
        ranged(figures, "wasted"),
        times_ideal(figures),
        ranged(figures, "waves"),
        ranged(figures, "waves_after_first"),
        ranged(figures, "peak_to_mean", 1),
        ranged(figures, "p99_ms"),
        number(max(lane["figures"]["late_p99_ms"] or 0 for lane in lanes), 1),
    ]


def shown(lanes):
    """Of several runs, the one that is drawn: the median by what was wasted."""
    ordered = sorted(lanes, key=lambda lane: (lane["figures"]["wasted"], lane["figures"]["x_ideal"] or 0))
    return ordered[(len(ordered) - 1) // 2]


def title(crowd):
    s = crowd.scenario
    processes = "" if s["processes"] == 1 else ", %d processes" % s["processes"]
    return "%s over %s: %s" % (s["name"], {"http": "HTTP", "grpc": "gRPC"}[crowd.protocol], s["title"]), (
        "%d workers%s, %d calls, answers take %g ms; ideal %.2f s" %
        (s["workers"], processes, s["calls"], 1000 * s["answer_s"], s["ideal_s"]))


# ---- over all buckets, over all variants


def bucket_table(results):
    """[(bucket, title, oracle's × ideal, {announcement: combined figures})]"""
    rows = collections.OrderedDict()
    for crowd in crowds(results, "buckets"):
        name, style = crowd.scenario["name"].rsplit("-", 1)
        entry = rows.setdefault(name, [crowd.scenario["title"].split(";")[0], None, collections.OrderedDict()])
        if "oracle" in crowd.peers:
            entry[1] = median(crowd.peers["oracle"], "x_ideal")
        if "forbear" in crowd.peers:
            entry[2][style] = crowd.peers["forbear"]
    return [(name, *entry) for name, entry in rows.items()]


def bucket_goals(results):
    """[(announcement, what, value, the most, met)] of all buckets, by announcement and together."""
    by_style = collections.OrderedDict()
    binding = []
    for crowd in crowds(results, "buckets"):
        figures = crowd.peers.get("forbear")
        if figures is None:
            continue
        by_style.setdefault(crowd.scenario["name"].rsplit("-", 1)[1], []).append(figures)
        by_style.setdefault("all", []).append(figures)
        if goals.binds(crowd.scenario):
            binding.append(figures)
    found = []
    groups = [(style, goals.BUCKETS) for style in by_style] + [("where the limit binds", goals.BINDING)]
    by_style["where the limit binds"] = binding
    for style, aims in groups:
        for name, part, most in aims:
            value = analysis.percentile([median(f, name) for f in by_style[style] if f[name] is not None], part)
            if value is not None:
                found.append((style, "%s p%d" % (goals.WORDS[name], 100 * part), figure_text(name, value), most,
                              value <= most))
    return found


VARIANT_COLUMNS = [
    "variant", "obeyable", "answered", "wasted", "× ideal", "jitter: answered", "wasted", "× ideal", "oracle",
    "worse than jitter"
]


def worse(ours, theirs):
    """In what Forbear was worse than the other, in words; empty: in nothing."""
    if ours is None or theirs is None:
        return "–"
    faults = []
    if ours["answered"][0] < theirs["answered"][0]:
        faults.append("answered less")
    if ours["wasted"][0] > theirs["wasted"][0]:
        faults.append("wasted more")
    if answered_all(ours) and answered_all(theirs) and ours["x_ideal"][0] > theirs["x_ideal"][0] + 0.02:
        faults.append("slower")
    return ", ".join(faults)


def variant_rows(results):
    rows = []
    for crowd in crowds(results, "variants"):
        s = crowd.scenario

        def cells(figures):
            if figures is None:
                return ["–"] * 3
            return [
                "%s of %d" % (number(figures["answered"][0]), s["calls"]),
                ranged(figures, "wasted"),
                times_ideal(figures)
            ]

        ours, theirs = crowd.peers.get("forbear"), crowd.peers.get("full-jitter")
        oracle = crowd.peers.get("oracle")
        rows.append([s["name"], s["obeyable"], *cells(ours), *cells(theirs),
                     number(median(oracle, "x_ideal"), 3) if oracle else "–", worse(ours, theirs)])
    return rows


# ---- beside the simulator

SIMULATED_COLUMNS = ["scenario", "wasted", "simulated", "× ideal", "simulated", "agree"]


def simulated_rows(results):
    """Forbear's medians beside those of the simulator. Scenarios that are to agree say whether they do."""
    simulated = {(s["scenario"], s["protocol"]): s for s in results.get("simulated", [])}
    rows = []
    for crowd in crowds(results, "main"):
        other = simulated.get((crowd.scenario["name"], crowd.protocol))
        ours = crowd.peers.get("forbear")
        if other is None or ours is None or median(ours, "x_ideal") is None:
            continue
        wasted, x_ideal = median(ours, "wasted"), median(ours, "x_ideal")
        agree = (abs(wasted - other["wasted"]) <= goals.SIMULATED_WASTED and
                 abs(x_ideal / other["x_ideal"] - 1) <= goals.SIMULATED_X_IDEAL)
        must = crowd.scenario["name"] in goals.SIMULATED
        rows.append(["%s %s" % (crowd.scenario["name"], crowd.protocol), number(wasted), number(other["wasted"]),
                     number(x_ideal, 3), number(other["x_ideal"], 3),
                     ("yes" if agree else "no") + ("" if agree or not must else ", MISSED")])
    return rows


# ---- the bench itself


def errors(results):
    """[(what, value)] of how far the bench may be believed."""
    oracle = [lane["figures"]["x_ideal"] for lane in results["lanes"] if lane["peer"] == "oracle"]
    oracle = [x for x in oracle if x is not None]
    extra = [
        lane["figures"]["wasted"] - s["ideal_wasted"] for lane in results["lanes"] if lane["peer"] == "oracle"
        for s in results["scenarios"] if s["name"] == lane["scenario"]
    ]
    late = [lane["figures"]["late_p99_ms"] for lane in results["lanes"] if lane["figures"]["late_p99_ms"] is not None]
    beat = [lane["machine_late_ms"]["p99"] for lane in results["lanes"]]
    load = [x for lane in results["lanes"] for x in lane["load"]]
    found = []
    if oracle:
        found.append(("the oracle's × ideal, which is the bench's own error: median / worst",
                      "%.3f / %.3f" % (analysis.percentile(oracle, 0.5), max(oracle))))
        found.append(("the oracle's sends beyond those that nobody can avoid, all lanes", "%d" % sum(extra)))
    if late:
        found.append(("answers left late, p99 of a lane: median / worst",
                      "%.1f / %.1f ms" % (analysis.percentile(late, 0.5), max(late))))
    if beat:
        found.append(("a sleeping thread woke late, p99 of a lane: median / worst",
                      "%.1f / %.1f ms" % (analysis.percentile(beat, 0.5), max(beat))))
    if load:
        found.append(("load average while it ran, on %s cores" % results["machine"]["cores"],
                      "%.1f to %.1f" % (min(load), max(load))))
    return found


def caveats(results):
    """Sentences that belong beside every figure."""
    said = []
    if results["quick"]:
        said.append("--quick: a part of the scenarios and clients, each once.")
    loads = [x for lane in results["lanes"] for x in lane["load"]]
    if loads and max(loads) > 3 * results["machine"]["cores"]:
        said.append("The machine was busy with other things (load average up to %.0f on %d cores): times are longer "
                    "than they would be, and crowds that come at once are spread by it." %
                    (max(loads), results["machine"]["cores"]))
    oracle = [lane["figures"]["x_ideal"] or 0 for lane in results["lanes"] if lane["peer"] == "oracle"]
    if oracle and max(oracle) > 1.02:
        said.append("The oracle, which loses nothing by itself, was up to %.1f %% late: no × ideal is known better "
                    "than that." % (100 * (max(oracle) - 1)))
    for peer, reason in results["not_run"].items():
        said.append("%s: not run: %s" % (peer, reason))
    for lane in results["failed"]:
        said.append("%s: not run: %s" % (lane["lane"], lane["why"]))
    for lane in results["lanes"]:
        if not lane["figures"]["consistent"]:
            said.append("%s in %s claims more answers than left the door." % (lane["peer"], lane["scenario"]))
        if lane["stopped_at_limit"]:
            said.append("%s in %s was stopped at its time limit." % (lane["peer"], lane["scenario"]))
    return said


# ---- for a terminal


def table(columns, rows):
    widths = [max(len(str(line[k])) for line in [columns, *rows]) for k in range(len(columns))]
    lines = []
    for line in [columns, *rows]:
        cells = [str(c).ljust(w) if k == 0 else str(c).rjust(w) for k, (c, w) in enumerate(zip(line, widths))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def text(results):
    out = []
    for crowd in crowds(results, "main"):
        head, sub = title(crowd)
        out += ["", head, "  " + sub]
        out.append(table(COLUMNS, [row(p, crowd.lanes[p], f) for p, f in crowd.peers.items()]))
        if "forbear" in crowd.peers:
            said = [
                "%s %s (goal %s%s)" % (goals.WORDS[name], figure_text(name, value), figure_text(name, most),
                                       "" if met else ", MISSED")
                for name, value, most, met in verdicts(crowd.scenario, crowd.peers["forbear"])
            ]
            out.append("  forbear: " + "; ".join(said))
    buckets = bucket_table(results)
    if buckets:
        styles = list(dict.fromkeys(style for entry in buckets for style in entry[3]))
        out += ["", "Random buckets: Forbear's × ideal / wasted, by how the wait is announced"]
        rows = []
        for name, what, oracle, by_style in buckets:
            cells = [
                "%s / %s" % (times_ideal(by_style[s]), ranged(by_style[s], "wasted")) if s in by_style else "–"
                for s in styles
            ]
            rows.append([name, what, number(oracle, 3), *cells])
        out.append(table(["bucket", "", "oracle", *styles], rows))
        for style, what, value, most, met in bucket_goals(results):
            out.append("  %s: %s %s (goal %g%s)" % (style, what, value, most, "" if met else ", MISSED"))
    variants = variant_rows(results)
    if variants:
        out += ["", "Variants: Forbear, and plain full-jitter backoff"]
        out.append(table(VARIANT_COLUMNS, variants))
    simulated = simulated_rows(results)
    if simulated:
        out += ["", "Forbear here, and in the simulator (./dev simulate): medians; within %d sends and %d %%" %
                (goals.SIMULATED_WASTED, 100 * goals.SIMULATED_X_IDEAL)]
        out.append(table(SIMULATED_COLUMNS, simulated))
    out += ["", "How far this may be believed"]
    out += ["  %s: %s" % error for error in errors(results)]
    out += ["  " + sentence for sentence in caveats(results)]
    out += ["", "Clients"]
    for peer, description in sorted(results["described"].items()):
        versions = ", ".join("%s %s" % item for item in description["versions"].items())
        out.append("  %-18s %s: %s" % (peer, versions, description["settings"]))
    out += ["", "%d lanes in %.0f s, %d at a time. × ideal in brackets: not all was answered." %
            (len(results["lanes"]), results["seconds"], results["at_once"])]
    return "\n".join(out)


# ---- for a browser

_STYLE = timeline.COLOURS + """
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1080px; padding: 24px 16px 64px; background: var(--bg); color: var(--fg);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
h1 { font-size: 26px; margin: 0 0 4px; } h2 { font-size: 19px; margin: 44px 0 2px; }
h3 { font-size: 16px; margin: 28px 0 2px; }
p { margin: 6px 0; max-width: 820px; } .soft { color: var(--soft); }
.scroll { overflow-x: auto; margin: 10px 0; }
table { border-collapse: collapse; font-size: 13.5px; font-variant-numeric: tabular-nums; }
th, td { padding: 3px 10px; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { color: var(--soft); font-weight: 600; } th:first-child, td:first-child { text-align: left; padding-left: 0; }
td.left, th.left { text-align: left; white-space: normal; min-width: 230px; }
td { vertical-align: top; }
tr.forbear td { font-weight: 650; background: var(--panel); } tr.oracle td { color: var(--soft); }
.met { color: var(--good); } .missed { color: var(--bad); font-weight: 650; }
.note { background: var(--panel); border-left: 3px solid var(--soft); padding: 8px 14px; margin: 12px 0; max-width: 900px; }
.note ul { margin: 4px 0; padding-left: 20px; }
nav a { margin-right: 12px; } a { color: var(--ok); }
svg { display: block; width: 100%; height: auto; margin: 8px 0 4px; }
""" + timeline.STYLE


def _cells(tag, cells, left=()):
    return "".join("<%s%s>%s</%s>" % (tag, ' class="left"' if k in left else "", c, tag) for k, c in enumerate(cells))


def _table(columns, rows, classes=None, left=()):
    """`rows` are HTML already."""
    lines = ["<div class=scroll><table><thead><tr>%s</tr></thead><tbody>" % _cells("th", columns, left)]
    for k, line in enumerate(rows):
        lines.append("<tr%s>%s</tr>" % (' class="%s"' % classes[k] if classes and classes[k] else "",
                                        _cells("td", line, left)))
    return "\n".join(lines) + "</tbody></table></div>"


def _escape(cells):
    return [html.escape(str(c)) for c in cells]


def _verdict(value, most, met):
    """Not by colour alone."""
    return '<span class="%s">%s %s</span> <span class=soft>≤ %s</span>' % ("met" if met else "missed", value,
                                                                          "✓" if met else "✗", most)


def _anchor(crowd):
    return "%s-%s" % (crowd.scenario["name"], crowd.protocol)


def _goal_table(found):
    """A column for what most have a goal for, the rest in one."""
    columns = ["unanswered", "wasted", "x_ideal", "waves_after_first"]
    rows = []
    for crowd in found:
        if "forbear" not in crowd.peers:
            continue
        by_name = {
            name: _verdict(figure_text(name, value), figure_text(name, most), met)
            for name, value, most, met in verdicts(crowd.scenario, crowd.peers["forbear"])
        }
        others = ["%s %s" % (goals.WORDS[name], said) for name, said in by_name.items() if name not in columns]
        rows.append(['<a href="#%s">%s</a> %s' % (_anchor(crowd), crowd.scenario["name"], crowd.protocol)] +
                    [by_name.get(name, "") for name in columns] +
                    [number(median(crowd.peers["oracle"], "x_ideal"), 3) if "oracle" in crowd.peers else "–"] +
                    ["<br>".join(others)])
    if not rows:
        return ""
    return _table(["scenario", *(goals.WORDS[name] for name in columns), "oracle × ideal", "and"], rows, left=(6,))


def _crowd(crowd):
    head, sub = title(crowd)
    peers = list(crowd.peers)
    out = ['<h2 id="%s">%s</h2><p class=soft>%s</p>' % (_anchor(crowd), html.escape(head), html.escape(sub))]
    out.append(timeline.draw(crowd.scenario, [(p, shown(crowd.lanes[p])) for p in peers]))
    out.append(_table(COLUMNS, [_escape(row(p, crowd.lanes[p], crowd.peers[p])) for p in peers], peers))
    return "\n".join(out)


def page(results):
    main = crowds(results, "main")
    out = [
        "<!doctype html><html lang=en><head><meta charset=utf-8>",
        '<meta name=viewport content="width=device-width, initial-scale=1">',
        "<title>Forbear arena</title><style>%s</style></head><body>" % _STYLE,
        "<h1>Forbear arena</h1>",
        "<p class=soft>%s · %d lanes in %.0f s, %d at a time · %s, %s cores · <code>%s</code></p>" %
        (results["made"], len(results["lanes"]), results["seconds"], results["at_once"],
         html.escape(results["machine"]["cpu"] or "?"), results["machine"]["cores"], html.escape(results["command"])),
        "<p>Each client plays each scenario against a server of its own, and the server counts at its door. "
        "<b>Wasted</b>: sends that brought no answer to a caller; a refused call is a failed call. <b>× ideal</b>: time "
        "over what a client would need that knows everything; in brackets where not all was answered. <b>Wave</b>: "
        "%d refusals or more in %d ms. The <b>oracle</b> is that all-knowing client, played for real in the same crowd: "
        "what it loses is the bench's own error. Forbear's and the oracle's figures are medians with their range.</p>" %
        (analysis.WAVE, 1000 * analysis.BIN),
        "<div class=note><b>How far this may be believed</b><ul>",
        *("<li>%s: %s</li>" % tuple(_escape(error)) for error in errors(results)),
        *("<li>%s</li>" % html.escape(sentence) for sentence in caveats(results)),
        "</ul></div>",
    ]
    table_of_goals = _goal_table(main)
    if table_of_goals:
        out += ["<h2>Forbear against its goals</h2>", table_of_goals]
    out += [_crowd(crowd) for crowd in main]
    out += _buckets(results) + _variants(results)
    simulated = simulated_rows(results)
    if simulated:
        out += [
            "<h2 id=simulated>Here, and in the simulator</h2><p class=soft>Medians. Virtual time has neither sockets nor "
            "threads: where both agree, it is the decisions that are measured.</p>",
            _table(SIMULATED_COLUMNS, [_escape(line) for line in simulated])
        ]
    out += ["<h2>Clients</h2>", _table(["client", "versions", "settings"], [
        _escape([peer, ", ".join("%s %s" % item for item in d["versions"].items()), d["settings"]])
        for peer, d in sorted(results["described"].items())
    ], left=(1, 2))]
    return "\n".join(out) + "</body></html>\n"


def picture(results, name):
    """The timelines of that scenario, over the first protocol that was played, as a file of its own. None: not played."""
    for crowd in crowds(results, "main"):
        if crowd.scenario["name"] == name:
            return timeline.alone(crowd.scenario, [(p, shown(crowd.lanes[p])) for p in crowd.peers])
    return None


def _buckets(results):
    buckets = bucket_table(results)
    if not buckets:
        return []
    styles = list(dict.fromkeys(style for entry in buckets for style in entry[3]))
    rows = []
    for name, what, oracle, by_style in buckets:
        rows.append(_escape([name, what, number(oracle, 3)]) + [
            "%s <span class=soft>/ %s</span>" % (times_ideal(by_style[s]), ranged(by_style[s], "wasted"))
            if s in by_style else "–" for s in styles
        ])
    return [
        '<h2 id=buckets>Random buckets</h2><p class=soft>Drawn from one seed. Forbear\'s × ideal / wasted, by how '
        "the wait is announced; each once.</p>",
        _table(["bucket", "", "oracle", *styles], rows, left=(1,)),
        _table(["over the buckets", "", "figure and goal"],
               [[html.escape(style), html.escape(what), _verdict(value, "%g" % most, met)]
                for style, what, value, most, met in bucket_goals(results)]),
    ]


def _variants(results):
    found = crowds(results, "variants")
    if not found:
        return []
    out = [
        "<h2 id=variants>Variants</h2><p class=soft>One bucket, and everything that can be wrong with it. Beside "
        "Forbear: plain full-jitter backoff, which listens to nothing. Each once.</p>",
        _table(VARIANT_COLUMNS, [_escape(line) for line in variant_rows(results)], left=(1,)),
    ]
    for crowd in found:
        out.append("<details><summary>%s: %s</summary>" %
                   (html.escape(crowd.scenario["name"]), html.escape(crowd.scenario["title"])))
        out.append(timeline.draw(crowd.scenario, [(p, shown(crowd.lanes[p])) for p in crowd.peers]))
        out.append("</details>")
    return out
