"""The staged training loop and what a step needs.

Scripts import ``loop.train``. This room uses reports, checkpoints, data, runtime and the science; none of them may
import from here, and neither may evaluation or sharing.
"""
