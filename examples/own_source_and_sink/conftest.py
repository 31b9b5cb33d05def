"""Let the tests find the package beside them, whether it is installed or not."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
