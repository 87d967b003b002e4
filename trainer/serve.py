"""Serves an exported SavedModel on this machine, with a page to try it.

    python -m trainer.serve --saved_model=runs/a/export
    curl -d '{"instances": ["What a film!"]}' localhost:8501/v1/models/model:predict

The page is at http://localhost:8501/. The REST API is TensorFlow Serving's. Needs the
extra `serve`. Ctrl-C ends it.
"""

from __future__ import annotations

import importlib.util

from trainer import flags
from trainer.config import ServeConfig
from trainer.messages import message


def main(config: ServeConfig) -> None:
    missing = [m for m in ("starlette", "uvicorn") if not importlib.util.find_spec(m)]
    if missing:
        raise ValueError(
            message(
                "python -m trainer.serve needs the extra `serve`",
                received=f"no package {', '.join(missing)}",
                mend=f"pip install {' '.join(missing)}",
            )
        )
    from trainer.runtime import gpus
    from trainer.serving.local import server

    gpus.limit(memory_mib=config.gpu_memory_mib)
    server.run(config)


if __name__ == "__main__":
    flags.run(ServeConfig, main)
