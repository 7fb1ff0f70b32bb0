"""The commands of `ltat-tune`, one file each, or one for a pair that shares its options.

May import every package, inside the functions, so that `--help` answers at once. Only `cli`
imports them.
"""
