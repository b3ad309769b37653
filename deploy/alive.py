"""Exit code 0 if the process beside it answers 200 at ALIVE_URL; else 1 and what it said. For health checks."""

import os
import sys
import urllib.error
import urllib.request

# One question, 200 or not; well under the health check's own time limit.
SECONDS = 3.0

try:
    with urllib.request.urlopen(os.environ["ALIVE_URL"], timeout=SECONDS):  # noqa: S310 (the image's own variable)
        pass
except urllib.error.HTTPError as refused:
    sys.exit(f"{refused.code}: {refused.read(2_000).decode(errors='replace')}")
except OSError as error:
    sys.exit(str(error))
