"""Labels of a folder of patches: from parent folders, a CSV table or GeoJSON features."""

from georank_zoo.data.readers.labels.read import Labels as Labels
from georank_zoo.data.readers.labels.read import read_labels as read_labels
