"""What is measured: samples and networks against real images, as named numbers with intervals.

Scripts and sharing import from here, experiments too. It reads networks and images, and never imports training,
reports or sharing.
"""
