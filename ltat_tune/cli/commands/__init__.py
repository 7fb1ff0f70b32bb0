"""The commands of `ltat-tune`, one module for each command or group of related commands.

May import every package, inside the functions, so that `--help` answers at once. Only `cli`
imports them.
"""
