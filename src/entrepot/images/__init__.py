"""Images: layers packed from files, images assembled from layers."""
