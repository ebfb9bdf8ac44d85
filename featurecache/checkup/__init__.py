"""What `rebalance doctor` looks at: one file a place where an installation or a machine can be wrong."""
