"""What an extraction stands on: what was asked for, the pass of the model, and the filling of the missing files."""
