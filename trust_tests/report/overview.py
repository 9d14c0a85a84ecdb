"""What `templates/overview.html` calls: the parts of a report that stand above its details."""

from __future__ import annotations

from collections.abc import Mapping

from trust_tests.report import curves, curves_drawing, forest, heatmap, leaderboard

GLOBALS: Mapping[str, object] = {
    "heat_map_of": heatmap.heat_map,
    "heat_scale": heatmap.heat_scale,
    "heat_tolerance": heatmap.heat_tolerance,
    "bit_curves_of": curves.bit_curves,
    "panel_in_words": curves.spoken,
    "draw_panel": curves_drawing.draw,
    "plot_area": curves_drawing.PLOT,
    "curve_mark": curves_drawing.mark,
    "colours": curves_drawing.COLOURS,
    "forest_plot_of": forest.forest_plot,
    "leaderboard_of": leaderboard.leaderboard,
    "verdict_rank": leaderboard.RANK,
}
"""The functions and constants of its macros, by the names that these use."""
