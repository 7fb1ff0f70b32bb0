"""Rules that several modules of `config` share, and those of one family of methods."""
