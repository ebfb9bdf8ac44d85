"""Heads chosen on held-out rows: what ``tune`` and ``compare`` share, and the contest of all methods."""
