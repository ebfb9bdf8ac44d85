"""Heads judged on a split: what ``evaluate`` and ``compare`` share."""
