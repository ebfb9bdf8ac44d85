"""What a reader stands on: a mapped shard, a split, blocks for a device, and the checking of every byte."""
