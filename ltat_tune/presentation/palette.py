"""Colours for figures and plots that colour-blind people can distinguish."""

from __future__ import annotations

# Okabe and Ito, Color Universal Design (2008), without their yellow, which is invisible on white.
BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
BLUE, VERMILLION, PURPLE = "#0072B2", "#D55E00", "#CC79A7"
PALETTE = (BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY, BLACK)
GREY, LIGHT_GREY = "#8C8C8C", "#D0D0D0"
GROUP_COLOURS = {
    "head": BLUE, "body": GREEN, "tail": VERMILLION, "well": BLUE, "under": VERMILLION,
}  # fmt: skip
