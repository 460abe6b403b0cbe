"""One HTML page that shows what became of a network. It needs the packages of the extra `[report]`."""
