"""The Unified Workbench: what a mixture-of-experts model routes where, seen from pages, notebooks and the command line.

Importing this package is cheap: nothing heavy (torch, transformers, streamlit) loads before it is first used.
"""

__version__ = "0.1.0"
