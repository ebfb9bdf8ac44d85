"""Hugging Face models: `hf:NAME_OR_FOLDER`; opened in opening.py, one step of that a file."""
