"""Looking for a hyperparameter: exact along a path, on a grid, coordinate by coordinate; and the rules that choose."""
