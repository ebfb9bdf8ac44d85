"""Models of timm: `timm:NAME[.TAG]`; opened in opening.py."""
