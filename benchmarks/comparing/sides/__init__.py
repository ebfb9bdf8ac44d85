"""The sides of the comparison: each module has ``open_data`` and ``FITS: name -> data -> a fit to be timed``."""
