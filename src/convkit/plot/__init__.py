"""Pictures of networks and of what they do, drawn with matplotlib, which the extra ``plot`` brings.

Every function draws on the Axes (or the figure) it is given, or on those of a new pyplot figure, and returns them: to
add a title, to save, to show.
"""

from convkit.plot.architecture import graph
from convkit.plot.curves import confusion_matrix, training_curves
from convkit.plot.field import receptive_field
from convkit.plot.tiles import feature_maps, filters, mistakes

__all__ = [
    "filters",
    "feature_maps",
    "receptive_field",
    "graph",
    "training_curves",
    "confusion_matrix",
    "mistakes",
]
