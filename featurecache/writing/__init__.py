"""What writers share: the one plan on the disk, and rows that come from elsewhere on their way into shards."""
