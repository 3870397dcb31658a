"""The base models that training starts from: found, checked, cut, built and loaded."""
