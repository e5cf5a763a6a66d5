"""Tiny random models of every mixture-of-experts family of transformers, and an independent account of their routing.

Builders: `text`, `text_of_multimodal`, `multimodal`, `apart`; all of them: `catalogue`. The routing computed without the
probe: `scores` (numpy), `rules` (which family scores how), `observe` (inputs of the routers, taken by a hook of our own),
`causal` (which tokens change when an expert's weights change).
"""
