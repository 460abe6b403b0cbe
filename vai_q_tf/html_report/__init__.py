"""The report: one HTML page about a quantized network. It needs the packages of the extra `[report]`."""
