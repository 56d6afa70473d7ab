"""l1dl inside other tools: a back end of hls4ml, and a tracer of alkaid. They are found by their entry points."""
