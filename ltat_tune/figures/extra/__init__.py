"""Figures that neither paper has. Part of `figures`; the registry imports the specifications."""
