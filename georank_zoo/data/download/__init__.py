"""Downloads of data sets: pinned, resumed, checked and recorded."""
