"""Image classifiers of torchvision: `torchvision:NAME[/WEIGHTS]`; opened in opening.py, imported by library.py."""
