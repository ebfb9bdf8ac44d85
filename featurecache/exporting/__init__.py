"""What `featurecache.checkpoint` and `featurecache.export` are made of: folders of weights, programs, their proof."""
