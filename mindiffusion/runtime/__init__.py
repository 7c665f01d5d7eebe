"""How a process lives: errors, .env, files, randomness, signals, ranks, the terminal, precision, optional packages.

Everybody may import from here; nothing here imports from the rest of the package.
"""
