"""Pictures from tables: `interactive` draws them with Plotly for a page, `paper` with matplotlib for a file; `style` holds
the colours and scales of both. Pure functions: the same table in, the same figure out, nothing read and nothing kept."""
