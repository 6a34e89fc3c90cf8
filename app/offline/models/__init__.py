"""The models folder: known public detectors by name, fetched, checked and recorded."""
