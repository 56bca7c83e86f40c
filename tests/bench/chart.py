# SPDX-License-Identifier: MIT
"""The SVG chart: time of Lockstep and QEMU as a multiple of native time, on a logarithmic scale."""
import math
from html import escape

import report
from catalogue import GROUPS, engines

LEFT, WIDTH, RIGHT, ROW, TOP = 130, 560, 150, 26, 84
COLOURS = {"lockstep": "#1f6fb4", "qemu": "#d08b28"}
TEXT = 'font-family="sans-serif" font-size="12" fill="#333"'


def multiple(result, engine):
    return report.ratio(result.best.get(engine), result.best.get("native"))


class Chart:
    def __init__(self, results):
        values = [v for r in results for e in COLOURS if (v := multiple(r, e))]
        self.low = min(0, math.floor(math.log10(min(values, default=1))))
        self.high = max(1, math.ceil(math.log10(max(values, default=10))))
        self.parts, self.y = [], TOP

    def x(self, value):
        return LEFT + WIDTH * (math.log10(value) - self.low) / (self.high - self.low)

    def text(self, x, y, words, more=""):
        self.parts.append(f'<text x="{x:.0f}" y="{y:.0f}" {TEXT} {more}>{escape(words)}</text>')

    def bar(self, y, value, colour):
        start, end = sorted((self.x(1), self.x(value)))
        self.parts.append(f'<rect x="{start:.1f}" y="{y}" width="{max(end - start, 1):.1f}" height="9" '
                          f'fill="{colour}"/>')
        self.text(max(end, start) + 4, y + 9, f"{value:.3g}", 'style="font-size:10px"')

    def row(self, result):
        self.text(LEFT - 8, self.y + 15, result.program.name, 'text-anchor="end"')
        drawn = False
        for i, (engine, colour) in enumerate(COLOURS.items()):
            value = multiple(result, engine)
            if value:
                self.bar(self.y + 3 + 10 * i, value, colour)
                drawn = True
        if not drawn and result.best:
            self.text(self.x(1) + 4, self.y + 15,
                      ", ".join(f"{e} {s:.2f} s" for e, s in result.best.items()))
        self.y += ROW

    def group(self, name, results):
        note = ", native on the host's own kernel" if name == "system" else ""
        self.y += 8
        self.text(LEFT, self.y + 12, name + note, 'font-weight="bold"')
        self.y += 18
        for result in results:
            self.row(result)

    def axis(self):
        for power in range(self.low, self.high + 1):
            x = self.x(10 ** power)
            colour = "#555" if power == 0 else "#ddd"
            self.parts.insert(0, f'<line x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{self.y}" '
                                 f'stroke="{colour}"/>')
            self.text(x, TOP - 6, f"{10.0 ** power:g}x", 'text-anchor="middle"')

    def legend(self, facts):
        self.text(LEFT, 22, "Time as a multiple of native time (shorter is better)",
                  'style="font-size:16px" font-weight="bold"')
        self.text(LEFT, 40, f"{facts['host_cpu']}, {facts['date'][:10]}, load average "
                            f"{facts['load_average'][0]:.1f}")
        for i, (colour, name) in enumerate([(COLOURS["lockstep"], f"{facts['lockstep']}, engine "
                                             f"{facts['lockstep_engine']}"),
                                            (COLOURS["qemu"], facts["qemu"] or "QEMU not measured")]):
            x = LEFT + 260 * i
            self.parts.append(f'<rect x="{x}" y="48" width="10" height="10" fill="{colour}"/>')
            self.text(x + 15, 58, name.split(" (")[0])

    def svg(self):
        size = f'width="{LEFT + WIDTH + RIGHT}" height="{self.y + 12}"'
        return (f'<svg xmlns="http://www.w3.org/2000/svg" {size}>\n'
                '<rect width="100%" height="100%" fill="white"/>\n'
                + "\n".join(self.parts) + "\n</svg>\n")


def draw(results, facts):
    chart = Chart(results)
    for group in GROUPS:
        of = [r for r in results if r.program.group == group]
        if of and "native" in engines(group):
            chart.group(group, of)
    chart.axis()
    chart.legend(facts)
    return chart.svg()
