"""DAFA, FAAL and CFA: what they know of the classes, and the step that weighs them."""
