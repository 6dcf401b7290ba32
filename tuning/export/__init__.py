"""From a trained model to what is served: files, manifests, and which engine may load them."""
