"""The JSON that the API sends, as JSON Schemas and examples of it; parts of app/openapi.py's document."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from app import doctor
from app.answer import OUTSIDE, VERDICTS
from app.bundle import Bundle
from app.card import FORMAT
from app.errors import CODES, Refusal

Json = dict[str, Any]

# What each code means, as a sentence of the kind that a refusal's message is.
MEANINGS = {
    "bad_request": "A parameter, the form or the request itself cannot be read.",
    "bad_url": "This is not one http:// or https:// URL with a host.",
    "blocked_url": "This URL may not be fetched.",
    "no_file": "There is no file in the field 'file'.",
    "unauthorized": "This needs the service's key.",
    "cross_site": "A page of another site sent this.",
    "not_found": "There is nothing at this address.",
    "method_not_allowed": "This address takes other methods.",
    "slow_body": "The upload took too long.",
    "too_large": "The upload, or the photo at the URL, has more megabytes than this service takes.",
    "too_many_pixels": "The photo has more megapixels than this service takes.",
    "not_an_image": "This is not an image in a format that this service reads.",
    "broken_image": "The photo is damaged and cannot be read.",
    "large_head": "The headers of the request are larger than 32 KB together.",
    "internal": "Something went wrong here.",
    "fetch_failed": "The site could not be reached, or did not answer with a photo.",
    "busy": "The service is busy.",
    "starting": "The service is starting.",
    "draining": "The service is shutting down.",
    "url_route_off": "This service does not fetch photos from URLs.",
    "feedback_off": "This service keeps no photos.",
    "not_kept": "There is no room left for photos, or they cannot be written.",
    "fetch_slow": "The photo at the URL did not arrive in time.",
}
FORMATS = ["JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF", "HEIF"]
NOTES = ["first_frame", "scaled_down", "rotated", "alpha_on_white", *(code for code, _ in doctor.NOTES.values())]

TEXT = {"type": "string"}
COUNT = {"type": "integer", "minimum": 1}
SHARE = {"type": "number", "minimum": 0, "maximum": 1}


def ref(name: str) -> Json:
    """A reference to one of the schemas."""
    return {"$ref": f"#/components/schemas/{name}"}


def schemas(classes: Sequence[str] | None, max_files: int) -> dict[str, Json]:
    """Every schema of the document by name. Without `classes`, a class may be any text."""
    return {
        "Answer": _answer(),
        "Answers": record(
            "What was seen on several photos, or why one was refused, in the order sent.",
            results=array({"oneOf": [ref("Answer"), ref("Error")]}, minItems=2, maxItems=max_files),
        ),
        "Prediction": {
            "description": "A class and its probability.",
            "type": "array",
            "prefixItems": [ref("Class"), SHARE],
            "items": False,
            "minItems": 2,
        },
        "Class": {
            "description": "A class of the model at work.",
            **TEXT,
            **({"enum": list(classes)} if classes else {}),
        },
        "Heatmap": record(
            "Where a class was seen: 1 most, 0 not at all. Rows from the top; 7 × 7 for an input of 224 pixels. "
            "It lies on `box`, all that the network sees: left, top, width, height as shares of the upright sides.",
            **{"class": ref("Class"), "grid": array(array(SHARE)), "box": array(SHARE, minItems=4, maxItems=4)},
        ),
        "Error": record(
            "Why a request, or one photo of several, was refused.",
            error=record(
                "A code for programs, sentences for people.",
                code={**TEXT, "enum": list(CODES)},
                message=TEXT,
                hint=TEXT,
            ),
        ),
        "Url": {
            "description": "An absolute http:// or https:// URL without a password.",
            **TEXT,
            "format": "uri",
            "pattern": "^[Hh][Tt][Tt][Pp][Ss]?://",
            "maxLength": 2048,
        },
        "Feedback": record(
            "What became of a photo and the label that a person gave it.",
            label={"anyOf": [ref("Class"), {"const": OUTSIDE}]},
            kept={"description": "Whether it is new, or new with this label.", "type": "boolean"},
            verdict={"anyOf": [ref("Class"), {"enum": list(VERDICTS)}]},
            agrees={"description": "Whether the verdict is the label.", "type": "boolean"},
            model=record("Which model said so.", name=TEXT, version=TEXT),
        ),
        "Card": _card(),
        "Alive": record("The process answers.", status={"const": "alive"}),
        "Ready": record("Photos would be answered.", status={"const": "ready"}),
        "Document": {"description": "An OpenAPI document.", "type": "object", "required": ["openapi", "paths"]},
    }


def _answer() -> Json:
    image = record(
        "The photo as it was read, upright.",
        format={**TEXT, "enum": FORMATS},
        width=COUNT,
        height=COUNT,
        notes=array(record("What was done to it, or may hurt its answer.", code={**TEXT, "enum": NOTES}, text=TEXT)),
    )
    found = record(
        "What was seen on one photo.",
        predictions=array(ref("Prediction"), minItems=1),
        verdict={"anyOf": [ref("Class"), {"enum": list(VERDICTS)}]},
        model=record("Which model said so.", name=TEXT, version=TEXT),
        image=image,
    )
    found["properties"] |= {
        "heatmap": ref("Heatmap"),
        "thumbnail": {
            "description": "A JPEG of at most 320 pixels a side, as a data: URI.",
            **TEXT,
            "pattern": "^data:image/jpeg;base64,",
        },
    }
    return found


def _card() -> Json:
    plan = record(
        "How the cores are used, and how the last reload ended.",
        engine=TEXT,
        threads=COUNT,
        workers=COUNT,
        usable_cores=COUNT,
        max_waiting={"type": "integer", "minimum": 0},
        last_reload={
            "anyOf": [
                record("When, and how it ended.", at=TEXT, outcome={**TEXT, "enum": ["loaded", "refused"]}),
                {"type": "null"},
            ]
        },
    )
    found = record(
        "The bundle's model.json, and the plan.",
        format={"const": FORMAT},
        name=TEXT,
        version=TEXT,
        classes=array(ref("Class"), minItems=2, uniqueItems=True),
        preprocess={"type": "object"},
        precision=TEXT,
        golden={"type": "object"},
        files={"type": "object"},
        plan=plan,
    )
    found["properties"] |= {
        "about": TEXT,
        "architecture": TEXT,
        **{name: {"type": "object"} for name in ("calibration", "usual", "metrics", "training")},
    }
    return found


def record(description: str, **properties: Json) -> Json:
    """An object that always has these properties."""
    return {"description": description, "type": "object", "required": list(properties), "properties": properties}


def array(items: Json, **bounds: Any) -> Json:
    return {"type": "array", "items": items, **bounds}


def examples(bundle: Bundle | None) -> Json:
    """An answer to one photo and to several, by the names of OpenAPI's examples."""
    classes = bundle.classes[:3] if bundle else ("black", "grizzly", "teddys")
    rest = 0.01 * (len(classes) - 1)
    answer = {
        "predictions": [[name, 0.01 if number else 1 - rest] for number, name in enumerate(classes)],
        "verdict": classes[0],
        "model": {"name": bundle.name, "version": bundle.version} if bundle else {"name": "bears", "version": "1"},
        "image": {
            "format": "JPEG",
            "width": 4032,
            "height": 3024,
            "notes": [{"code": "rotated", "text": "turned upright 90° clockwise, as its EXIF data says"}],
        },
    }
    return {
        "one": {"summary": "One photo", "value": answer},
        "several": {"summary": "Several photos", "value": {"results": [answer, error_example("not_an_image")]}},
    }


def error_example(code: str) -> Json:
    """A refusal with that code."""
    return Refusal(code, MEANINGS[code]).as_json()


def sentence_example(code: str) -> Json:
    """The same as other APIs say it."""
    return {"error": Refusal(code, MEANINGS[code]).as_text()}
