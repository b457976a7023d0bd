"""The plain version that tellapart is measured against: Starlette + eager torch inside the handler, as
cougar-or-not (2018) has it. Same bundle, same answers. Run: `python -m bench.plain PORT`."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import cast

import torch
import uvicorn
from PIL import Image, ImageOps
from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from torchvision.models import resnet34
from torchvision.transforms import v2

from app.bundle import read_bundle
from tests.bundles import resnet_state

bundle = read_bundle(Path("models/bears"))
transform = v2.Compose(
    [
        v2.Resize(256),
        v2.CenterCrop(224),
        v2.PILToTensor(),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(bundle.preprocess.mean, bundle.preprocess.std),
    ]
)


model = resnet34(num_classes=len(bundle.classes))
model.load_state_dict(resnet_state(bundle))
model.eval()


async def upload(request: Request) -> JSONResponse:
    """Everything in the handler, on the event loop."""
    form = await request.form()
    photo = await cast(UploadFile, form["file"]).read()
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(photo))).convert("RGB")
    with torch.inference_mode():
        probabilities = model(transform(image)[None]).softmax(1)[0].tolist()
    pairs = sorted(zip(bundle.classes, probabilities, strict=True), key=lambda pair: -pair[1])
    return JSONResponse({"predictions": pairs})


async def readyz(request: Request) -> JSONResponse:
    """The health check, on the same event loop."""
    return JSONResponse({"status": "ready"})


app = Starlette(routes=[Route("/upload", upload, methods=["POST"]), Route("/readyz", readyz)])

if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), log_level="warning")
