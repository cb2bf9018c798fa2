"""Arrivals over time, a strip for each client, as inline SVG: one sees the waves, and their absence.

Each bar is what arrived in 100 ms: at the bottom what was answered, above it what was refused or
failed. All strips of a drawing have the same axes.
"""
import html
import itertools

import analysis

WIDTH, LEFT, RIGHT = 1000, 152, 108
STRIP, GAP, TOP, BOTTOM = 46, 14, 30, 40
KINDS = ("ok", "refused", "failed")
WORDS = {"ok": "answered", "refused": "refused", "failed": "failed (error, reset, no answer)"}

COLOURS = """
:root { color-scheme: light dark;
  --bg: #ffffff; --fg: #1c2024; --soft: #5b6570; --line: #d5dae0; --panel: #f6f8fa;
  --ok: #2a78b8; --refused: #d1451b; --failed: #8250c4; --good: #1a7f37; --bad: #b32a1a; }
@media (prefers-color-scheme: dark) { :root {
  --bg: #14171b; --fg: #e6e9ec; --soft: #98a2ad; --line: #343b44; --panel: #1c2127;
  --ok: #58a6e8; --refused: #ff7b54; --failed: #b491f0; --good: #56c271; --bad: #ff8272; } }
"""

STYLE = """
svg text { font: 12px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: var(--fg); }
svg text.soft { fill: var(--soft); font-size: 11px; } svg text.own { font-weight: 700; }
svg .ok { fill: var(--ok); } svg .refused { fill: var(--refused); } svg .failed { fill: var(--failed); }
svg .axis { stroke: var(--line); stroke-width: 1; fill: none; }
svg .grid { stroke: var(--line); stroke-width: 1; stroke-dasharray: 1 4; }
svg .ideal { stroke: var(--soft); stroke-width: 1; stroke-dasharray: 5 3; }
svg .outage { fill: var(--soft); opacity: 0.13; }
svg .cut { fill: var(--fg); } svg .own { fill: var(--fg); } svg .back { fill: var(--panel); }
"""


def nice_step(span, most):
    """The smallest of 0.1, 0.2, 0.5, 1, 2, 5, … that divides `span` into at most `most` parts."""
    step = 0.1
    for factor in itertools.cycle((2, 2.5, 2)):
        if span / step <= most:
            return round(step, 1)
        step *= factor


def _scale(scenario, lanes):
    """(seconds, sends per bin) that the axes end with."""
    ends = [max(len(lane["bins"][k]) for k in KINDS) * analysis.BIN for lane in lanes]
    seconds = min(max(ends, default=1), 3 * scenario["ideal_s"] + 2)
    seconds = max(seconds, 1.02 * scenario["ideal_s"], 1)
    highest = max((sum(counts) for lane in lanes for counts in _columns(lane)), default=1)
    # So that what is paced is still to be seen beside a wave of a hundred.
    if scenario["rate"] is not None:
        highest = min(highest, max(16, round(8 * scenario["rate"] * analysis.BIN)))
    return seconds, max(highest, 4)


def _columns(lane):
    length = max(len(lane["bins"][k]) for k in KINDS)
    padded = [lane["bins"][k] + [0] * (length - len(lane["bins"][k])) for k in KINDS]
    return list(zip(*padded))


def _bars(lane, seconds, highest, base):
    plot = WIDTH - LEFT - RIGHT
    wide = plot * analysis.BIN / seconds
    paths = {kind: [] for kind in KINDS}
    cut = []
    for k, counts in enumerate(_columns(lane)):
        x = LEFT + k * wide
        if x + wide > LEFT + plot + 0.5:
            break
        below = 0
        for kind, count in zip(KINDS, counts):
            shown = min(below + count, highest) - min(below, highest)
            if shown > 0:
                height = STRIP * shown / highest
                y = base - STRIP * min(below, highest) / highest - height
                paths[kind].append("M%.1f %.1fh%.2fv%.1fh-%.2fz" % (x, y, wide, height, wide))
            below += count
        if below > highest:
            cut.append("M%.1f %.1fl3 5h-6z" % (x + wide / 2, base - STRIP - 7))
    out = ['<path class="%s" d="%s"/>' % (kind, "".join(p)) for kind, p in paths.items() if p]
    if cut:
        out.append('<path class="cut" d="%s"/>' % "".join(cut))
    return out


def draw(scenario, rows):
    """rows: [(client, lane)]"""
    lanes = [lane for _, lane in rows]
    seconds, highest = _scale(scenario, lanes)
    plot = WIDTH - LEFT - RIGHT
    height = TOP + len(rows) * (STRIP + GAP) + BOTTOM
    out = [
        '<svg viewBox="0 0 %d %d" role="img" aria-label="%s">' %
        (WIDTH, height, html.escape("Arrivals over time in %s, a strip for each client" % scenario["name"]))
    ]
    # Legend.
    x = LEFT
    used = [kind for kind in KINDS if any(any(lane["bins"][kind]) for lane in lanes)]
    for kind in used:
        out.append('<rect class="%s" x="%d" y="5" width="11" height="11"/><text x="%d" y="15">%s</text>' %
                   (kind, x, x + 16, WORDS[kind]))
        x += 34 + 7 * len(WORDS[kind])
    out.append('<line class="ideal" x1="%d" y1="11" x2="%d" y2="11"/><text x="%d" y="15">ideal end</text>' %
               (x, x + 22, x + 28))
    out.append('<text class="soft" x="%d" y="15">sends per 100 ms, 0 to %d%s</text>' %
               (x + 104, highest, "; ▲ more than that" if _is_cut(lanes, highest) else ""))
    bottom = TOP + len(rows) * (STRIP + GAP) - GAP
    for k, (client, _) in enumerate(rows):
        if client == "forbear":
            out.append('<rect class="back" x="0" y="%d" width="%d" height="%d"/>' %
                       (TOP + k * (STRIP + GAP) - 7, WIDTH, STRIP + 13))
    if scenario["outage_s"]:
        begin, end = (LEFT + plot * min(t, seconds) / seconds for t in scenario["outage_s"])
        out.append('<rect class="outage" x="%.1f" y="%d" width="%.1f" height="%d"/>' %
                   (begin, TOP - 4, end - begin, bottom - TOP + 8))
        out.append('<text class="soft" x="%.1f" y="%d" text-anchor="middle">outage</text>' %
                   ((begin + end) / 2, bottom + 33))
    step = nice_step(seconds, 12)
    k = 0
    while k * step <= seconds + 1e-9:
        x = LEFT + plot * k * step / seconds
        out.append('<line class="grid" x1="%.1f" y1="%d" x2="%.1f" y2="%d"/>' % (x, TOP, x, bottom + 4))
        out.append('<text class="soft" x="%.1f" y="%d" text-anchor="middle">%g</text>' % (x, bottom + 18, k * step))
        k += 1
    out.append('<text class="soft" x="%d" y="%d" text-anchor="middle">seconds since the first send</text>' %
               (LEFT + plot / 2, bottom + 33))
    for k, (client, lane) in enumerate(rows):
        base = TOP + k * (STRIP + GAP) + STRIP
        out.append('<g><title>%s</title>' % html.escape(
            "%s: %d of %d answered, %d sends" %
            (client, lane["figures"]["answered"], lane["figures"]["asked"], lane["figures"]["sends"])))
        out.append('<text%s x="%d" y="%d" text-anchor="end">%s</text>' %
                   (' class="own"' if client == "forbear" else "", LEFT - 26, base - STRIP / 2 + 5, html.escape(client)))
        out.append('<text class="soft" x="%d" y="%d" text-anchor="end">%d</text>' % (LEFT - 5, base - STRIP + 8, highest))
        out.append('<text class="soft" x="%d" y="%d" text-anchor="end">0</text>' % (LEFT - 5, base))
        out += _bars(lane, seconds, highest, base)
        out.append('<path class="axis" d="M%d %dv%dh%d"/>' % (LEFT, base - STRIP, STRIP, plot))
        end = lane["figures"]["wall_s"]
        if end is not None and end > seconds:
            out.append('<text class="soft" x="%d" y="%d" text-anchor="end">until %.0f s →</text>' %
                       (LEFT + plot - 2, base - STRIP + 8, end))
        asked, answered = lane["figures"]["asked"], lane["figures"]["answered"]
        first = "%d wasted" % lane["figures"]["wasted"]
        x_ideal = lane["figures"]["x_ideal"]
        if answered < asked:
            second = "%d of %d" % (answered, asked)
        else:
            second = "%.2f × ideal" % x_ideal if x_ideal else ""
        out.append('<text%s x="%d" y="%d">%s</text><text class="soft" x="%d" y="%d">%s</text></g>' %
                   (' class="own"' if client == "forbear" else "", LEFT + plot + 10, base - STRIP / 2 + 1, first,
                    LEFT + plot + 10, base - STRIP / 2 + 16, second))
    x = LEFT + plot * scenario["ideal_s"] / seconds
    out.append('<line class="ideal" x1="%.1f" y1="%d" x2="%.1f" y2="%d"/>' % (x, TOP - 4, x, bottom + 4))
    return "\n".join(out) + "</svg>"


def alone(scenario, rows):
    """As draw, but a file that needs nothing else."""
    drawn = draw(scenario, rows)
    end = drawn.index(">") + 1
    head = drawn[:end].replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ')
    return "%s\n<style>%s%s svg { background: var(--bg); }</style>\n%s\n" % (head, COLOURS, STYLE, drawn[end:])


def _is_cut(lanes, highest):
    return any(sum(counts) > highest for lane in lanes for counts in _columns(lane))
