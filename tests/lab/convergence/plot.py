# SPDX-License-Identifier: GPL-2.0-or-later
"""An SVG of locality over time. Pure: points in, text out."""

import html

WIDTH, HEIGHT, LEFT, TOP = 760, 320, 56, 64
COLOURS = ("#1b9e77", "#d95f02", "#7570b3", "#e7298a", "#66a61e", "#e6ab02", "#a6761d", "#666666")


def svg(title, subtitle, lines, events=()):
    """@lines: [(name, [(at_s, share 0..1)…], is_bold)], @events: [(at_s, text)]."""
    begin_s = min((point[0] for _, points, _ in lines for point in points), default=0.0)
    end_s = max((point[0] for _, points, _ in lines for point in points), default=1.0)
    span_s = max(1.0, end_s - begin_s)

    def x(at_s):
        return LEFT + (at_s - begin_s) / span_s * WIDTH

    def y(share):
        return TOP + (1 - share) * HEIGHT

    rows = (len(lines) + 5) // 6
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH + LEFT + 30}" '
           f'height="{HEIGHT + TOP + 56 + 20 * rows}" font-family="sans-serif" font-size="13">',
           '<rect width="100%" height="100%" fill="white"/>',
           f'<text x="{LEFT}" y="24" font-size="16">{html.escape(title)}</text>',
           f'<text x="{LEFT}" y="44" font-size="12" fill="#555">{html.escape(subtitle)}</text>']
    for tick in range(5):
        share = tick / 4
        out.append(f'<line x1="{LEFT}" y1="{y(share):.0f}" x2="{LEFT + WIDTH}" y2="{y(share):.0f}" stroke="#ddd"/>'
                   f'<text x="{LEFT - 8}" y="{y(share) + 4:.0f}" text-anchor="end">{tick * 25} %</text>')
        at_s = begin_s + span_s * share
        out.append(f'<text x="{x(at_s):.0f}" y="{TOP + HEIGHT + 20}" text-anchor="middle">{at_s:.0f} s</text>')
    for index, (at_s, text) in enumerate(events):
        out.append(f'<line x1="{x(at_s):.1f}" y1="{TOP}" x2="{x(at_s):.1f}" y2="{TOP + HEIGHT}" '
                   f'stroke="#999" stroke-dasharray="4 3"/>'
                   f'<text x="{x(at_s) + 4:.1f}" y="{TOP + HEIGHT - 8 - 14 * (index % 3)}" font-size="11" '
                   f'fill="#555">{html.escape(text)}</text>')
    for index, (name, points, is_bold) in enumerate(lines):
        colour = "#000000" if is_bold else COLOURS[index % len(COLOURS)]
        path = " ".join(f"{x(at_s):.1f},{y(share):.1f}" for at_s, share in points)
        out.append(f'<polyline fill="none" stroke="{colour}" stroke-width="{3 if is_bold else 1.6}" points="{path}"/>')
        key_x, key_y = LEFT + index % 6 * 128, TOP + HEIGHT + 46 + index // 6 * 20
        out.append(f'<line x1="{key_x}" y1="{key_y - 4}" x2="{key_x + 18}" y2="{key_y - 4}" stroke="{colour}" '
                   f'stroke-width="{3 if is_bold else 1.6}"/>'
                   f'<text x="{key_x + 24}" y="{key_y}">{html.escape(name)}</text>')
    return "\n".join(out + ["</svg>", ""])
