"""Sub-models: fewer layers, fewer experts or a smaller top-k of a loaded model, without reloading it.

    with SubModel(layers="first:4", experts="share:0.5:mass", top_k=2).applied(model, ranking=capture):
        model(input_ids=ids)

`spec` is the description, `plan` what it means for one model, `limits` which families resist what, and `applied` makes the
model run that way and puts everything back.
"""
