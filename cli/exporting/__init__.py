"""What ``export`` is made of: its options, the cache and model a head belongs to, what is written, its proof."""
