"""Numbers as a person writes them: counts of things, and bytes."""


def count_text(number: int, what: str, plural: str = "") -> str:
    """A count as a person writes it: `1 segment`, `2 segments`."""
    return f"{number} {what if number == 1 else plural or what + 's'}"


def size_text(size: int) -> str:
    """Bytes as a person reads them."""
    for unit, bytes_of in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= bytes_of:
            return f"{size / bytes_of:.1f} {unit}"
    return f"{size} B"
