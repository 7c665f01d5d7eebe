"""Training images as one uint8 tensor: found, decoded once, cached; or synthetic, with features that are known.

A folder goes through image_files, decode and image_cache to images, which everything above imports. This room uses
runtime alone.
"""
