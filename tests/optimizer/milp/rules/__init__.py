"""What holds over all assets of a problem, one module each: offers, islands, phases and the like.

Each has `formulate(f: Formulation) -> None`, its rows once the assets and connections are there, and
`draw(random: Random, document: Document, place: Place) -> None`, which adds it to a random problem;
`tariffs` writes itself where a connection's bill is written, `scenarios` around whole formulations.
"""
