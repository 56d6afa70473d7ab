"""Card → Keras model: the float reference and its quantised twin."""
