"""What the house's own pages have in common: one HTML file that loads nothing, and one look."""

from collections.abc import Sequence

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1a1a1a; max-width: 1060px; margin: 24px auto; padding: 0 24px; }
h1 { font-size: 26px; margin: 0 0 12px; padding: 10px 14px; color: #fff; background: #b3261e; }
h1.promoted { background: #2e7d32; } h1.noted { background: #9a5b00; }
h2 { font-size: 19px; margin: 28px 0 6px; } h3 { font-size: 15px; margin: 18px 0 4px; }
table { border-collapse: collapse; margin: 6px 0 14px; font-size: 14px; }
th, td { padding: 3px 12px 3px 0; text-align: left; border-bottom: 1px solid #ddd; }
th.n, td.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.time { white-space: nowrap; }
tr.own td { font-weight: 600; } tr.lost td { color: #b3261e; font-weight: 600; } tr.aside td { color: #777; }
td.bad { color: #b3261e; font-weight: 600; }
.scroll { overflow-x: auto; } .dim { color: #666; } summary { cursor: pointer; margin: 6px 0; }
svg { width: 100%; max-width: 860px; height: auto; font: 11px system-ui, sans-serif; }
svg .frame { fill: none; stroke: #ddd; } svg .dim { fill: #777; } svg .limit { stroke: #999; stroke-dasharray: 4 3; }
"""


def document(title: str, parts: Sequence[str], style: str = "") -> str:
    """Write a page.

    Args:
        title: escaped.
        parts: of the body, HTML, with all that came from outside escaped.
        style: of this page alone, beside the house's own.
    """
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="UTF-8"><title>{title}</title>'
        f"<style>{STYLE}{style}</style></head><body>{''.join(parts)}</body></html>\n"
    )
