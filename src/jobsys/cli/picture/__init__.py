"""Pictures of a run's graph, made without graphviz: model, folding, layout, SVG and DOT. Pure: from a history to text."""
