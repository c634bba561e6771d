"""Recall against queries a second: medians of rounds, interpolation, the table of ratios and the figure."""

from math import exp, log, log10, nan
from statistics import median

GLEANER = "native"
RECALLS = (0.90, 0.95, 0.99)


def medians(lines):
    """Points by builder: of each setting the medians of all rounds."""
    settings = {}
    for line in lines:
        key = line["builder"], line["ef"], line.get("reorder")
        settings.setdefault(key, []).append(line)
    builders = {}
    for (builder, *_), rounds in settings.items():
        numbers = [name for name, value in rounds[0].items() if isinstance(value, (int, float))]
        point = {name: median(line[name] for line in rounds) for name in numbers}
        builders.setdefault(builder, []).append(point)
    return builders


def envelope(points, qps="qps"):
    """(recall, queries a second) of the points that no other point beats in both, by rising recall."""
    best = []
    for point in sorted(points, key=lambda point: (-point["recall@10"], -point[qps])):
        if not best or point[qps] > best[-1][1]:
            best.append((point["recall@10"], point[qps]))
    return best[::-1]


def at(curve, recall):
    """Queries a second at a recall: their logarithm is linear between neighbours on the envelope. `None` where the
    curve does not reach the recall; the fastest point where all of it is above."""
    if recall > curve[-1][0]:
        return None
    if recall <= curve[0][0]:
        return curve[0][1]
    for (low, fast), (high, slow) in zip(curve, curve[1:]):
        if recall <= high:
            part = (recall - low) / (high - low)
            return exp((1 - part) * log(fast) + part * log(slow))


def table(builders):
    """Markdown: each builder, then gleaner over each peer."""
    first = {name: points[0] for name, points in builders.items()}
    curves = {name: envelope(points) for name, points in builders.items()}
    one_call = {
        name: envelope(points, "one_call_qps") if "one_call_qps" in points[0] else curves[name]
        for name, points in builders.items()
    }

    def with_vectors(point):
        return point["bytes_per_vector"] + point.get("original_bytes_per_vector", nan)

    def queries(curve, recall):
        found = at(curve, recall)
        return "not reached" if found is None else f"{found:,.0f}"

    def ratio(curves, name, recall):
        ours, theirs = at(curves[GLEANER], recall), at(curves[name], recall)
        if ours is None:
            return "not reached by gleaner"
        return "not reached" if theirs is None else f"{ours / theirs:.2f}"

    recalls = " | ".join(f"{recall:.2f}" for recall in RECALLS)
    in_one_call = " | ".join(f"{recall:.2f}, one call" for recall in RECALLS)
    rows = [f"| builder | build s | bytes a vector | QPS at {recalls} | {in_one_call} |", "|---" * 9 + "|"]
    for name, point in first.items():
        cells = [queries(curve[name], recall) for curve in (curves, one_call) for recall in RECALLS]
        size = f"{point['build_seconds']:.1f} | {point['bytes_per_vector']:,.0f}"
        if name == GLEANER:
            size += f" (with the vectors {with_vectors(point):,.0f})"
        rows.append(f"| {name} | {size} | {' | '.join(cells)} |")
    if GLEANER in builders:
        rows += ["", f"| gleaner over | build s | bytes | QPS at {recalls} | {in_one_call} |", "|---" * 9 + "|"]
    for name, point in first.items() if GLEANER in builders else ():
        if name != GLEANER:
            cells = [ratio(curve, name, recall) for curve in (curves, one_call) for recall in RECALLS]
            size = [f"{first[GLEANER][part] / point[part]:.2f}" for part in ("build_seconds", "bytes_per_vector")]
            size[1] += f" ({with_vectors(first[GLEANER]) / point['bytes_per_vector']:.2f})"
            rows.append(f"| {name} | {' | '.join(size + cells)} |")
    return "\n".join(rows)


COLOURS = {
    GLEANER: "#d62728",
    "hnswlib": "#1f77b4",
    "faiss": "#2ca02c",
    "usearch": "#9467bd",
    "scann": "#e69f00",
    "rabitqlib": "#17a2b8",
}
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 440, 70, 20, 40, 50
LOWEST = 0.80  # recall at the left edge


def figure(builders, title):
    """SVG: recall@10 from left to right, queries a second upwards on a logarithmic scale."""
    curves = {name: [p for p in envelope(points) if p[0] >= LOWEST] for name, points in builders.items()}
    curves = {name: curve for name, curve in curves.items() if curve}
    speeds = [qps for curve in curves.values() for _, qps in curve]
    low, high = log10(min(speeds)) - 0.05, log10(max(speeds)) + 0.05

    def x(recall):
        return LEFT + (recall - LOWEST) / (1 - LOWEST) * (WIDTH - LEFT - RIGHT)

    def y(qps):
        return HEIGHT - BOTTOM - (log10(qps) - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    def text(across, down, words, more=""):
        return f'<text x="{across:.1f}" y="{down:.1f}" {more}>{words}</text>'

    def line(x1, y1, x2, y2, colour):
        return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>'

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"',
        'font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
        text(LEFT, 22, title, 'font-size="14" font-weight="bold"'),
        text(LEFT + (WIDTH - LEFT - RIGHT) / 2, HEIGHT - 10, "recall@10", 'text-anchor="middle"'),
        text(16, HEIGHT / 2, "queries a second", f'text-anchor="middle" transform="rotate(-90 16 {HEIGHT / 2})"'),
    ]
    for step in range(9):
        recall = LOWEST + step * (1 - LOWEST) / 8
        parts.append(line(x(recall), TOP, x(recall), HEIGHT - BOTTOM, "#ddd"))
        parts.append(text(x(recall), HEIGHT - BOTTOM + 16, f"{recall:.3f}", 'text-anchor="middle"'))
    for qps in (digit * 10**power for power in range(7) for digit in (1, 2, 5)):
        if low <= log10(qps) <= high:
            parts.append(line(LEFT, y(qps), WIDTH - RIGHT, y(qps), "#ddd"))
            parts.append(text(LEFT - 6, y(qps) + 4, f"{qps:,}", 'text-anchor="end"'))
    for number, (name, curve) in enumerate(curves.items()):
        colour, width = COLOURS.get(name, "#666"), 3 if name == GLEANER else 1.5
        path = " ".join(f"{x(recall):.1f},{y(qps):.1f}" for recall, qps in curve)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}"/>')
        parts += [f'<circle cx="{x(r):.1f}" cy="{y(q):.1f}" r="{width + 1}" fill="{colour}"/>' for r, q in curve]
        down = HEIGHT - BOTTOM - 16 * (len(curves) - number) + 4
        parts.append(f'<rect x="{LEFT + 10}" y="{down - 9}" width="14" height="8" fill="{colour}"/>')
        parts.append(text(LEFT + 30, down, "gleaner" if name == GLEANER else name))
    return "\n".join([*parts, "</svg>", ""])
