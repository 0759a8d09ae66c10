"""What every request passes before its route: keys, signatures, browsers, forms of requests."""
