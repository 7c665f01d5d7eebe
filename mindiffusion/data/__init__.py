"""Training images as one uint8 tensor: found, decoded once, cached; or synthetic, with features that are known.

Everything above imports ``images``. This room uses runtime alone.
"""
