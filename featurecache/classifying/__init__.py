"""What `featurecache.classifier` is made of: the layers behind the logits, how each computes, how they add up."""
