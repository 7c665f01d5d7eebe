"""What leaves the house: exported models, model cards, comparison pages.

Scripts import from here. It reads what runs left behind, and nothing below may import it; nor does it train.
"""
