"""The elastic lab: what every sub-model of a mixture-of-experts model costs, and the chosen one as a checkpoint of its own.

    workbench.elastic.carve    write a smaller checkpoint
    workbench.elastic.gather   the same in memory, to measure it
    workbench.elastic.sweep    quality and cost of a grid of sub-models -> curve.parquet
    workbench.elastic.budget   the best sub-model for given bytes, active parameters or milliseconds

Importing any of these costs nothing: torch and transformers load where a model is first touched.
"""
