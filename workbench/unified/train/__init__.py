"""Training of the unified model: recipe, order of the data, elastic passes, state on disk, and the loop."""
