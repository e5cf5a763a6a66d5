"""The dashboard: `streamlit run app.py`, or `workbench app`, which finds a free port."""

from __future__ import annotations

from pages.parts import frame

frame.show()
