"""What ``train`` is made of: its options, its data, its model, and what it keeps of a run that was stopped."""
