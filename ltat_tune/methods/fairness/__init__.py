"""DAFA, FAAL, CFA and WAT: what they know of the classes, and the step that weighs them."""
