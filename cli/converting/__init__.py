"""What ``convert`` turns into what: features and caches, and heads."""
