"""Window sizes of the browser."""

SIZES = {"wide": (1280, 900), "phone": (390, 844)}
