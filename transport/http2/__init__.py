"""HTTP/2 (RFC 9113) for one connection as a codec without I/O, both roles."""
