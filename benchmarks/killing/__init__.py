"""Extractions whose processes are killed: the work, the ranks that do it, and what must hold afterwards."""
