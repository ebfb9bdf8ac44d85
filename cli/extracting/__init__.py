"""What ``extract`` is made of: its options, and what it says of a finished cache."""
