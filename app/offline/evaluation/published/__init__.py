"""FlexPatch as published (Yang et al., INFOCOM 2022): the rival that this project's own pipeline is compared with.

The method's choices are the paper's: a canvas of one size on every frame, three canvases of likely tracking
failures to one of likely new objects, a decision tree with three priorities, guillotine packing. Where the paper
is silent, the choice made here is said beside it. Detection here is never late, so its replay of late detections
through cached frames has nothing to do.
"""
