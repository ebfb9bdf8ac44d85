"""What is shown of heads: figures."""
