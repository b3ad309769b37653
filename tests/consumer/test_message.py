"""What people read, and the picture of a light curve."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from skimstream.consumer.message import NAMED, digest_message, message_of, summary_message
from skimstream.consumer.picture import HEIGHT, WIDTH, draw

CURVE = {
    "jd": [2_461_000.5, 2_461_001.5, 2_461_002.5, None],
    "band": ["g", "r", "g", "g"],
    "mag": [18.2, 17.9, None, 18.0],
    "sigma": [0.1, 0.05, None, 0.1],
    "limit": [None, None, 19.5, None],
    "positive": [True, True, None, True],
}
FLUXES = {"jd": [2_461_000.5, 2_461_001.5], "band": ["u", "z"], "flux": [-50.0, 900.0], "sigma": [20.0, None]}


def record(**more: Any) -> dict[str, Any]:
    return {
        "id": "alerts/3/1207",
        "stream": "ztf",
        "object": "ZTF18abcdefg",
        "night": "2026-11-21",
        "score": 0.99987,
        "combined": 5.1,
        "severity": "high",
        "model": "m1",
        "rules": ["odd"],
        "reasons": [{"words": "g_amplitude 1.9 mag: above 99.8 % of objects"}],
        "candidate": {"ra": 123.456, "dec": -7.5, "drb": 0.99, "rb": None},
        "lightcurve": CURVE,
    } | more


def test_an_alert_says_what_how_odd_why_and_where_to_look() -> None:
    message = message_of(record(), ["odd"])
    assert (message.id, message.title) == ("alerts/3/1207", "ztf: ZTF18abcdefg 0.9999")
    assert message.body.splitlines() == [
        "ZTF18abcdefg 0.9999, high, night 2026-11-21",
        "g_amplitude 1.9 mag: above 99.8 % of objects",
        "ra 123.456, dec -7.5, drb 0.99",
        "Fink: https://ztf.fink-portal.org/ZTF18abcdefg",
        "ALeRCE: https://alerce.online/object/ZTF18abcdefg",
        "Lasair: https://lasair-ztf.lsst.ac.uk/objects/ZTF18abcdefg/",
        "TNS: https://www.wis-tns.org/search?ra=123.456000&decl=-7.500000&radius=5&coords_unit=arcsec",
        "rule: odd; id alerts/3/1207; model m1",
    ]
    assert message.payload["links"]["Fink"].endswith("/ZTF18abcdefg")
    assert message.draw() is not None
    assert message_of(record(lightcurve=None), ["odd"]).draw() is None


def test_text_of_streams_begins_no_line() -> None:
    hostile = record(object="ZTF1\nUser: root\x1b[2J", candidate={"name": "\r\n\u202egpj.exe"})
    message = message_of(hostile, ["odd"])
    assert len(message.body.splitlines()) == 4
    assert all(one.isprintable() for one in message.body.replace("\n", "") + message.title)
    assert message.payload["links"] == {}


def test_a_digest_names_the_most_anomalous_first() -> None:
    many = [record(id=f"a/0/{n}", object=f"o{n}", score=n / 100) for n in range(NAMED + 5)]
    message = digest_message(many, "odd")
    assert message.id == "digest/a/0/0"
    lines = message.body.splitlines()
    assert lines[0].startswith(f"o{NAMED + 4} 0.24")
    assert lines[-1] == "… and 5 more"
    assert len(message.payload["alerts"]) == NAMED + 5


def test_a_summary_says_how_often_each_was_there() -> None:
    row = {"rank": 1, "object": "a", "score": 0.9999, "reasons": ["odd"], "nights": 3}
    night = {"id": "summary/ztf/n", "stream": "ztf", "night": "n", "scored": 12, "median": 0.43}
    body = summary_message({**night, "objects": [row, row | {"rank": 2, "object": "b", "nights": 1}]}).body
    assert body.splitlines() == [
        "12 events scored, their median score 0.43 (frozen part)",
        "1. a 0.9999, in the top 2 on 3 of the last 90 nights",
        "   odd",
        "2. b 0.9999, for the first time",
        "   odd",
    ]


@pytest.mark.parametrize("curve", [CURVE, FLUXES, {"jd": [1.5], "band": ["g"], "mag": [18.0], "sigma": [0.1]}])
def test_a_picture_shows_the_points(curve: Any) -> None:
    png = draw(curve, "ZTF1\u202e")
    assert png is not None
    with Image.open(io.BytesIO(png)) as image:
        assert (image.size, image.format) == ((WIDTH, HEIGHT), "PNG")
        pixels = np.asarray(image.convert("RGB")).reshape(-1, 3)
    ink = {tuple(one) for one in pixels.tolist()}
    bands = {band for band, jd in zip(curve["band"], curve["jd"], strict=True) if jd}
    assert len(ink) >= 3 + len(bands)
    assert draw({"jd": [], "band": [], "mag": []}, "") is None
