"""Presets as settings: last of all sources, whole, and honest about what they don't know."""

import io
import json
import tomllib
import zlib
from pathlib import Path
from typing import Any

import fastavro
import pytest

from skimstream.cli.settings_file import settings_file
from skimstream.consumer.config import ConfigError, Settings, load_settings
from skimstream.consumer.configured import configured_stream, decoder_of
from skimstream.consumer.origins import Origins, effective
from skimstream.consumer.preset import NAMES, Preset, preset_of, presets
from skimstream.consumer.streams.own import Own

ROOT = Path(__file__).resolve().parents[2]


def test_every_file_is_a_preset_and_every_preset_has_a_file() -> None:
    assert sorted(one.stem for one in (ROOT / "consumer" / "presets").glob("*.toml")) == sorted(NAMES)


@pytest.mark.parametrize("preset", presets(), ids=NAMES)
def test_a_preset_loads_and_its_stream_reads(preset: Preset, tmp_path: Path) -> None:
    """Where none of our streams reads the messages, the file that it comes with defines one."""
    file = tmp_path / "skim.toml"
    file.write_text(preset.own or f'preset = "{preset.name}"\n')
    settings = load_settings(file, {})
    assert settings.preset == preset.name
    assert settings.framing == preset.settings["framing"]
    assert ("stream" in preset.required) == bool(preset.own) == (settings.definition is not None)
    decoder = decoder_of(settings, configured_stream(settings))
    assert decoder.framing == settings.framing
    assert len(preset.start.strip().splitlines()) <= 5


def test_what_is_said_elsewhere_comes_before_a_preset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "skim.toml"
    file.write_text('preset = "babamul"\n[kafka.options]\n"sasl.mechanism" = "PLAIN"\n"linger.ms" = 5\n')
    monkeypatch.setenv("SKIM_KAFKA__BOOTSTRAP", "env:1")
    settings = load_settings(file, {"framing": "auto"})
    assert (settings.kafka.bootstrap, settings.framing, settings.stream) == ("env:1", "auto", "ztf")
    # Options are joined key by key: ours stay where the user's don't speak.
    assert settings.kafka.options == {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN",
        "linger.ms": 5,
    }
    assert settings.again().model_dump() == settings.model_dump()


def test_a_flag_names_it_before_the_environment_and_that_before_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "skim.toml"
    file.write_text('preset = "ztf"\n')
    assert load_settings(file, {}).topic == "ztf_{date:%Y%m%d}_programid1"
    monkeypatch.setenv("SKIM_PRESET", "rubin")
    assert load_settings(file, {}).topic == "lsst-alerts-v11"
    assert load_settings(file, {"preset": "ztf-archive"}).topic == "ztf-archive"
    assert load_settings(None, {"preset": ""}).topic == ""


def test_a_definition_is_nearer_than_a_preset(tmp_path: Path) -> None:
    file = tmp_path / "skim.toml"
    definition = '[stream.sky]\ntopic = "mine"\nframing = "json"\nkey = "k"\ntime = "t"\nnumbers = ["x"]\n'
    file.write_text(f'preset = "ztf"\n{definition}')
    settings = load_settings(file, {})
    assert (settings.stream, settings.topic, settings.framing) == ("sky", "mine", "json")
    assert load_settings(file, {"stream": "ztf"}).topic.startswith("ztf_")
    assert load_settings(file, {"topic": "flag"}).topic == "flag"


def test_an_unknown_name_is_told_with_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="no preset 'fink_ztf'; did you mean fink-ztf"):
        load_settings(None, {"preset": "fink_ztf"})
    monkeypatch.setenv("SKIM_PRESET", "nothing-like-it-at-all")
    with pytest.raises(ConfigError, match=r"`skim presets` lists them: ztf, ztf-archive, rubin"):
        load_settings(None, {})


def origins_of(file: Path, **flags: Any) -> dict[str, str]:
    settings = load_settings(file, flags)
    found = effective(settings, Origins(file, {(name,): f"--{name}" for name in flags}, preset=settings.preset))
    return {".".join(one.key): one.origin.replace(str(file), "file") for one in found}


def test_settings_say_that_they_come_from_a_preset(tmp_path: Path) -> None:
    file = tmp_path / "skim.toml"
    file.write_text('preset = "babamul"\n[kafka]\nbootstrap = "b:1"\n')
    found = origins_of(file, topic="babamul.ztf.lsst-match.hosted")
    assert found["preset"] == "file:1"
    assert found["kafka.bootstrap"] == "file:3"
    assert found["topic"] == "--topic"
    assert found["framing"] == found["kafka.options.sasl.mechanism"] == "preset babamul"
    assert found["redis.url"] == "default"


def test_the_file_of_a_preset_gives_its_stream_an_origin(tmp_path: Path) -> None:
    file = tmp_path / "skim.toml"
    file.write_text(preset_of("lasair").own)
    found = origins_of(file)
    assert (found["stream"], found["stream.sky.key"]) == ("file:4", "file:5")
    assert found["framing"] == "preset lasair"
    assert found["topic"] == "file:2"


def test_settings_written_to_a_file_need_no_preset_any_more(tmp_path: Path) -> None:
    before = load_settings(None, {"preset": "rubin"})
    again = tmp_path / "again.toml"
    again.write_text(settings_file(effective(before, Origins(None, {}, preset="rubin")), {}))
    without = "\n".join(line for line in again.read_text().splitlines() if not line.startswith("preset"))
    again.write_text(without)
    assert load_settings(again, {}).model_dump(exclude={"preset"}) == before.model_dump(exclude={"preset"})


def test_the_probe_reads_as_the_worker_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is another process: it gets settings as one line, and the environment with the preset's name."""
    from skimstream.consumer.probe import SECTIONS

    monkeypatch.setenv("SKIM_PRESET", "rubin")
    settings = load_settings(None, {"kafka": {"group": "any"}})
    line = json.loads(json.dumps(settings.model_dump(mode="json", include=SECTIONS)))
    there = load_settings(None, line)
    assert there.model_dump(include=SECTIONS) == settings.model_dump(include=SECTIONS)
    assert (there.stream, there.framing) == ("lsst", "confluent")


def alerts(name: str) -> list[dict[str, Any]]:
    """What that stream's messages hold, as far as its file speaks of it."""
    if name == "lasair":
        record: dict[str, Any] = {"diaObjectId": 3_138_529_438_941_675_548, "lastDiaSourceMjdTai": 61_000.25}
        return [{**record, "nDiaSources": 7, "latestR": 0.8, "g_psfFlux": None}]
    if name == "babamul":
        shape = {"peak_mag": 18.2, "rising": {"rate": 0.1}, "fading": None}
        candidate = {"jd": 2_461_000.75, "magpsf": 18.2, "distnr": None, "fwhm": 2.1, "drb": 0.9, "band": "r"}
        properties = {"photstats": {"g": None, "r": shape}}
        return [{"objectId": "ZTF26a", "candid": 7, "candidate": candidate, "properties": properties}]
    if name == "antares":
        newest = {"newest_alert_observation_time": 61_000.25, "newest_alert_magnitude": 18.2, "num_mag_values": 9}
        return [{"locus_id": "ANT2026abcde", "properties": newest, "alerts": [{"mjd": 61_000.25}], "tags": []}]
    event = {
        "far": 9.11e-14,
        "group": "CBC",
        "pipeline": "gstlal",
        "instruments": ["H1"],
        "classification": {"BNS": 0.9},
    }
    told = {
        "superevent_id": "S260901a",
        "time_created": "2025-11-21T06:00:00Z",
        "alert_type": "INITIAL",
        "event": event,
    }
    return [told, {**told, "alert_type": "RETRACTION", "event": None}]


def in_container(alert: dict[str, Any]) -> bytes:
    """As Babamul's: what may be missing is a union with null, records too."""

    def record(name: str, **fields: Any) -> dict[str, Any]:
        return {"type": "record", "name": name, "fields": [{"name": key, "type": of} for key, of in fields.items()]}

    number = ["null", "double"]
    band = {"type": "enum", "name": "Band", "symbols": ["g", "r"]}
    candidate = record("Candidate", jd="double", magpsf="double", distnr=number, fwhm=number, drb=number, band=band)
    rate = record("Rate", rate="double")
    shape = record("Shape", peak_mag="double", rising=["null", rate], fading=["null", "Rate"])
    properties = record("Properties", photstats=record("PerBand", g=["null", shape], r=["null", "Shape"]))
    schema = record("Alert", objectId="string", candid="long", candidate=candidate, properties=["null", properties])
    out = io.BytesIO()
    fastavro.writer(out, schema, [alert])
    return out.getvalue()


@pytest.mark.parametrize(
    ("name", "path", "value"),
    [
        ("babamul", "properties.photstats.r.peak_mag", 18.2),
        ("lasair", "latestR", 0.8),
        ("antares", "properties.newest_alert_magnitude", 18.2),
        ("scimma", "event.far", 9.11e-14),
        ("gcn", "event.far", 9.11e-14),
    ],
)
def test_the_file_of_a_preset_reads_such_messages(name: str, path: str, value: float, tmp_path: Path) -> None:
    file = tmp_path / "skim.toml"
    file.write_text(preset_of(name).own)
    settings = load_settings(file, {})
    stream = configured_stream(settings)
    assert isinstance(stream, Own)
    if name == "antares":
        bson = pytest.importorskip("bson", reason="needs the extra antares")
        values = [zlib.compress(bson.encode(one)) for one in alerts(name)]
    elif name == "babamul":
        values = [in_container(one) for one in alerts(name)]
    else:
        values = [json.dumps(one).encode() for one in alerts(name)]
    read = decoder_of(settings, stream).decode(values)
    assert (read.rejected, stream.check(read.columns)) == ((), [])
    assert stream.times(read.columns) == pytest.approx((61_000.25 - 40_587) * 86_400)
    matrix = stream.open().features(read.columns).matrix
    assert matrix.shape == (len(values), len(stream.features))
    assert matrix[0, stream.features.index(path)] == pytest.approx(value)


def test_names_of_settings_in_presets_are_settings() -> None:
    """`required` speaks of keys by name: each is one of ours, or librdkafka's."""
    known = {*Settings.model_fields, "kafka.bootstrap", "kafka.options.ssl.ca.location"}
    assert {key for one in presets() for key in one.required} <= known
    assert all(tomllib.loads(one.own) for one in presets() if one.own)
