"""The HTTP front. Thin: endpoints translate and call the desk; they decide nothing and never import torch."""
