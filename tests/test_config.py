"""Settings from the file, the environment and the command line."""

from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from app.api.schemas import TuningModel, TuningOut
from app.config import FlexPatchSettings, Settings, load_settings
from app.core.errors import SettingsError
from app.core.types import Size
from app.flexpatch.config import PipelineConfig

SAMPLE = Path(__file__).parent.parent / "docker" / "flexpatch.sample.yml"


def load(
    text: str = "", tmp_path: Path | None = None, environment: dict[str, str] | None = None, **overrides: object
) -> Settings:
    file = None
    if tmp_path:
        file = tmp_path / "flexpatch.yml"
        file.write_text(text)
    return load_settings(file, overrides, environment or {})


def test_the_sample_file_equals_the_defaults_and_names_every_setting() -> None:
    content = yaml.safe_load(SAMPLE.read_text(encoding="utf-8"))
    assert load_settings(SAMPLE, environment={}) == load_settings(environment={})
    assert list(content) == list(Settings.model_fields)
    assert list(content["flexpatch"]) == list(FlexPatchSettings.model_fields)


def test_the_sample_file_describes_each_setting_in_the_settings_own_words() -> None:
    text = SAMPLE.read_text(encoding="utf-8")
    for model, indent in ((Settings, ""), (FlexPatchSettings, "  ")):
        for name, field in model.model_fields.items():
            assert f"\n{indent}# {field.description}\n{indent}{name}:" in text


def test_the_schedules_settings_are_the_pipelines_own() -> None:
    # Parts are left out for measurements only, never by an operator.
    names = [field.name for field in fields(PipelineConfig) if field.name != "parts"]
    assert FlexPatchSettings().pipeline_config() == PipelineConfig()
    for model in (FlexPatchSettings, TuningModel, TuningOut):
        assert list(model.model_fields) == names


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("megapixels_per_frame", 0.001, 16),
        ("object_height_px", 24, 512),
        ("context", 0.1, 3),
        ("max_tracks", 1, 2000),
        ("track_lifetime_s", 0.1, 60),
        ("min_output_score", 0, 1),
    ],
)
def test_the_api_admits_exactly_what_the_pipeline_does(name: str, low: float, high: float) -> None:
    for value in (low, high):
        TuningModel.model_validate({name: value})
        PipelineConfig(**{name: value})  # type: ignore[arg-type]
    for value in (low - 1, high + 1):
        with pytest.raises(ValidationError):
            TuningModel.model_validate({name: value})
        with pytest.raises(SettingsError):
            PipelineConfig(**{name: value})  # type: ignore[arg-type]


def test_the_command_line_goes_before_the_environment_and_that_before_the_file(tmp_path: Path) -> None:
    text = "port: 1\nqueue_depth: 1\nmax_sessions: 1\nflexpatch:\n  context: 0.5\n  max_tracks: 1\n"
    environment = {"FLEXPATCH_PORT": "2", "FLEXPATCH_QUEUE_DEPTH": "2", "FLEXPATCH_FLEXPATCH__MAX_TRACKS": "2"}
    settings = load(text, tmp_path, environment, port=3, host=None)
    assert (settings.port, settings.queue_depth, settings.max_sessions) == (3, 2, 1)
    assert (settings.flexpatch.context, settings.flexpatch.max_tracks) == (0.5, 2)
    assert settings.host == "127.0.0.1"


@pytest.mark.parametrize("text", ["640x352", "[640, 352]"])
def test_a_canvas_can_be_written_both_ways(tmp_path: Path, text: str) -> None:
    expected = Size(640, 352)
    assert load(f"flexpatch:\n  max_canvas: {text}", tmp_path).flexpatch.max_canvas == expected
    assert load(environment={"FLEXPATCH_FLEXPATCH__MAX_CANVAS": text}).flexpatch.max_canvas == expected


def test_an_empty_file_and_empty_variables_are_nothing(tmp_path: Path) -> None:
    assert load("", tmp_path, {"FLEXPATCH_PORT": ""}) == load()


def test_no_detector_in_a_file_means_the_shipped_one(tmp_path: Path) -> None:
    (tmp_path / "old.yml").write_text("detector: null\n", encoding="utf-8")
    assert load_settings(tmp_path / "old.yml", environment={}).detector == Path("flexpatch-nano")


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        load().port = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prot: 1", r"there is no setting prot \(did you mean port\?\)"),
        ("flexpatch:\n  contxt: 1", r"did you mean flexpatch\.context\?"),
        ("port: http", "port is 'http': input should be a valid integer"),
        ("port: 99999", "port is 99999"),
        ("flexpatch:\n  context: 9", r"context is 9\.0; it must be between 0\.1 and 3\.0"),
        ("- a\n- b", "must hold names and values"),
        ("1: 2", "must hold names and values"),
        ("a: [", r"is not YAML at line 1, column 5: [^\n]+\.$"),
        ("tokens: {ops: flx_hush}", r"make no sense: tokens: [^\n]*valid tuple[^\n]*$"),
        ("traces_endpoint: collector:4318", r"write an address such as"),
    ],
)
def test_a_file_that_makes_no_sense_is_refused_in_a_sentence(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        load(text, tmp_path)


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"FLEXPATCH_PROT": "1"}, r"FLEXPATCH_PROT is unknown\. Did you mean FLEXPATCH_PORT\?"),
        ({"flexpatch_nonsense_entirely": ""}, "flexpatch_nonsense_entirely is unknown"),
        ({"FLEXPATCH_PORT": "x"}, "port is 'x'"),
        ({"FLEXPATCH_FLEXPATCH": "{"}, "environment is not understood: FLEXPATCH_FLEXPATCH is no JSON"),
        ({"FLEXPATCH_SESSIONS": "garbage"}, "FLEXPATCH_SESSIONS is no JSON"),
    ],
)
def test_an_environment_that_makes_no_sense_is_refused(environment: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        load(environment=environment)


def test_variables_of_others_do_not_matter() -> None:
    assert load(environment={"PATH": "/bin", "FLEX": "1"}) == load()


def test_the_environment_may_name_the_file(tmp_path: Path) -> None:
    file, other = tmp_path / "flexpatch.yml", tmp_path / "other.yml"
    file.write_text("port: 9000\nmax_sessions: 3\n")
    other.write_text("port: 9001\n")
    named = {"FLEXPATCH_CONFIG": str(file)}
    settings = load_settings(environment=named | {"FLEXPATCH_PORT": "9002"})
    assert (settings.port, settings.max_sessions) == (9002, 3), "its settings go before those of the file"
    assert load_settings(other, environment=named).port == 9001, "the command line's file goes before it"
    assert load_settings(environment={"flexpatch_config": str(file)}).port == 9000
    assert load_settings(environment={"FLEXPATCH_CONFIG": ""}) == load_settings(environment={})
    with pytest.raises(SettingsError, match="cannot be read"):
        load_settings(environment={"FLEXPATCH_CONFIG": str(tmp_path / "none.yml")})


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        load_settings(tmp_path / "none.yml", environment={})


def test_off_may_be_written_as_yaml_reads_it(tmp_path: Path) -> None:
    (tmp_path / "flexpatch.yml").write_text("authentication: off\n")
    assert load_settings(tmp_path / "flexpatch.yml", environment={}).authentication == "off"


def test_what_may_hold_a_secret_is_not_repeated(tmp_path: Path) -> None:
    for text in ("tokens: {ops: flx_hush}", 'sessions: "rtsp://u:hush@h"', "tokens: [flx_hush\nport: 1"):
        (tmp_path / "flexpatch.yml").write_text(text)
        with pytest.raises(SettingsError) as caught:
            load_settings(tmp_path / "flexpatch.yml", environment={})
        assert "hush" not in str(caught.value)


@pytest.mark.parametrize("origin", ["*", "https://a.org/", "https://a.org/page", "a.org", "ftp://a.org", "null"])
def test_origins_that_no_browser_sends_are_refused(origin: str) -> None:
    with pytest.raises(SettingsError, match="write origins such as"):
        load_settings(overrides={"cors_origins": f"https://b.org:8080,{origin}"}, environment={})


@pytest.mark.parametrize("name", ["idle_ttl_s", "heartbeat_s", "stale_after_s", "longest_backoff_s"])
@pytest.mark.parametrize("value", ["inf", "nan"])
def test_times_are_numbers_that_end(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        load_settings(overrides={name: value}, environment={})
