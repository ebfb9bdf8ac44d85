"""What trained heads minimise, and how: losses, objectives, and the solvers under every method."""
