"""How the project grows: with rows, with processes, and on paper."""
