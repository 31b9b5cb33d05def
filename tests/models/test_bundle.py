from __future__ import annotations

import hashlib
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save

from neuroloop.config.bundle import BundleInput, BundleSettings
from neuroloop.config.errors import BundleError, StreamMismatch
from neuroloop.models.bundle import Bundle, check_stream, load_bundle, save_bundle
from neuroloop.models.lstm.weights import expected_tensors
from neuroloop.stream.contracts.chunks import StreamInfo
from tests.models.naive import make_bundle, make_network

NETWORK = make_network(2, [(5, True), (3, False)])


def written(folder: Path) -> Bundle:
    bundle = make_bundle(NETWORK, window_samples=10, hop_samples=5, temperature=1.25)
    return save_bundle(folder, bundle.settings, bundle.arrays, "# Test\n")


def rewrite_weights(folder: Path, arrays: dict[str, NDArray[Any]]) -> None:
    """Replace the weights and the hash that model.json states."""
    weights = save(arrays)
    (folder / "model.safetensors").write_bytes(weights)
    edit(folder, sha256=hashlib.sha256(weights).hexdigest())


def edit(folder: Path, **changes: Any) -> None:
    path = folder / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_bundle_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    made = make_bundle(NETWORK, window_samples=10, hop_samples=5, temperature=1.25)
    saved = save_bundle(tmp_path / "deep" / "b", made.settings, made.arrays, "# Test\n")
    loaded = load_bundle(tmp_path / "deep" / "b")
    assert loaded.settings == saved.settings
    assert loaded.settings.model_copy(update={"sha256": ""}) == made.settings
    assert set(loaded.arrays) == set(made.arrays)
    for name, array in loaded.arrays.items():
        np.testing.assert_array_equal(array, made.arrays[name])
        assert not array.flags.writeable
    assert sorted(path.name for path in (tmp_path / "deep" / "b").iterdir()) == [
        "MODEL_CARD.md",
        "model.json",
        "model.safetensors",
    ]


def test_the_hash_is_of_content_not_of_layout(tmp_path: Path) -> None:
    bundle = written(tmp_path / "b")
    edit(tmp_path / "b")
    assert load_bundle(tmp_path / "b").bundle_hash == bundle.bundle_hash
    edit(tmp_path / "b", temperature=1.5)
    assert load_bundle(tmp_path / "b").bundle_hash != bundle.bundle_hash


def test_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    written(tmp_path / "a")
    written(tmp_path / "b")
    for name in ("model.json", "model.safetensors"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_nothing_is_pickled(tmp_path: Path) -> None:
    written(tmp_path / "b")
    for path in (tmp_path / "b").iterdir():
        with pytest.raises((pickle.UnpicklingError, ValueError, EOFError, KeyError, IndexError, AttributeError)):
            pickle.loads(path.read_bytes())


def test_an_existing_bundle_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    written(tmp_path / "b")
    other = make_bundle(NETWORK, window_samples=20, hop_samples=5, seed=2)
    save_bundle(tmp_path / "b", other.settings, other.arrays, "# Other\n")
    assert load_bundle(tmp_path / "b").settings.window_samples == 20
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_a_folder_with_something_else_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(BundleError, match=r"folder must be new, empty or a bundle, got .* with notes\.txt"):
        written(tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_failed_save_leaves_the_old_bundle_and_no_litter(tmp_path: Path) -> None:
    bundle = written(tmp_path / "b")
    wrong = bundle.settings.model_copy(update={"temperature": -1.0})
    with pytest.raises(BundleError, match="temperature"):
        save_bundle(tmp_path / "b", wrong, bundle.arrays, "# Test\n")
    assert load_bundle(tmp_path / "b").bundle_hash == bundle.bundle_hash
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_foreign_tensors_are_not_saved(tmp_path: Path) -> None:
    bundle = make_bundle(NETWORK, window_samples=10, hop_samples=5)
    with pytest.raises(BundleError, match=r"got also stray"):
        save_bundle(tmp_path / "b", bundle.settings, {**bundle.arrays, "stray": np.zeros(1, np.float32)}, "")
    assert not (tmp_path / "b").exists()


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"bundle must be a folder, got '.*nowhere', which is missing"):
        load_bundle(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(BundleError, match=r"bundle must be a folder, got '.*file', which is a file"):
        load_bundle(tmp_path / "file")


@pytest.mark.parametrize("name", ["model.safetensors", "model.json", "MODEL_CARD.md"])
def test_a_missing_file_is_refused(tmp_path: Path, name: str) -> None:
    written(tmp_path / "b")
    (tmp_path / "b" / name).unlink()
    with pytest.raises(BundleError, match=f"bundle must hold .*, got '.*' without {name}"):
        load_bundle(tmp_path / "b")


@pytest.mark.parametrize("kind", ["BF16", "F8_E4M3"])
def test_weights_of_a_type_that_numpy_has_none_of_are_refused(tmp_path: Path, kind: str) -> None:
    written(tmp_path / "b")
    size = 2 if kind == "BF16" else 1
    header = json.dumps({"a": {"dtype": kind, "shape": [1], "data_offsets": [0, size]}}).encode()
    content = len(header).to_bytes(8, "little") + header + bytes(size)
    (tmp_path / "b" / "model.safetensors").write_bytes(content)
    edit(tmp_path / "b", sha256=hashlib.sha256(content).hexdigest())
    with pytest.raises(BundleError, match=r"model\.safetensors must be"):
        load_bundle(tmp_path / "b")


def test_one_altered_byte_is_refused(tmp_path: Path) -> None:
    written(tmp_path / "b")
    path = tmp_path / "b" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(BundleError, match=r"model\.safetensors must have the SHA-256 that model\.json states"):
        load_bundle(tmp_path / "b")


def test_weights_that_are_no_safetensors_are_refused(tmp_path: Path) -> None:
    written(tmp_path / "b")
    (tmp_path / "b" / "model.safetensors").write_bytes(b"not weights")
    edit(tmp_path / "b", sha256=hashlib.sha256(b"not weights").hexdigest())
    with pytest.raises(BundleError, match=r"model\.safetensors must be a safetensors file"):
        load_bundle(tmp_path / "b")


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"[" * 100_000, b"9" * 5000])
def test_settings_that_are_no_json_are_refused(tmp_path: Path, content: bytes) -> None:
    written(tmp_path / "b")
    (tmp_path / "b" / "model.json").write_bytes(content)
    with pytest.raises(BundleError, match=r"model\.json must be JSON"):
        load_bundle(tmp_path / "b")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "other/1"}, "with format: "),
        ({"window_samples": 0}, "with window_samples: "),
        ({"colour": "red"}, "with colour: "),
        ({"input": {"sfreq": -1, "ch_names": ["a"], "ch_units": [""]}}, r"with input\.sfreq: "),
        ({"window_samples": "x", "temperature": 0}, "with window_samples: .*; temperature: "),
        ({"classes": ["a", "a", "b"]}, "with the whole: .*classes must be distinct"),
        (
            {"input": {"sfreq": 1, "ch_names": ["a"], "ch_units": []}},
            r"input\.ch_units must have one entry per channel \(1\), got 0",
        ),
    ],
)
def test_wrong_settings_are_refused_by_key(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    written(tmp_path / "b")
    edit(tmp_path / "b", **changes)
    with pytest.raises(BundleError, match=message) as caught:
        load_bundle(tmp_path / "b")
    assert "\n" not in str(caught.value)


def misshapen(arrays: dict[str, NDArray[Any]]) -> None:
    arrays["output.weight"] = arrays["output.weight"].T.copy()


def of_float64(arrays: dict[str, NDArray[Any]]) -> None:
    arrays["output.bias"] = arrays["output.bias"].astype(np.float64)


def with_nan(arrays: dict[str, NDArray[Any]]) -> None:
    arrays["lstm.0.backward.weight_hh"][2, 1] = np.nan


def without_one(arrays: dict[str, NDArray[Any]]) -> None:
    del arrays["lstm.1.forward.bias_hh"]


def with_another(arrays: dict[str, NDArray[Any]]) -> None:
    arrays["lstm.1.backward.bias_hh"] = np.zeros(12, np.float32)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (misshapen, r"output\.weight must have shape \(3, 16\), got \(16, 3\)"),
        (of_float64, r"output\.bias must be float32, got 'float64'"),
        (with_nan, r"lstm\.0\.backward\.weight_hh must be finite, got nan at \[2, 1\]"),
        (without_one, r"got none named lstm\.1\.forward\.bias_hh"),
        (with_another, r"got also lstm\.1\.backward\.bias_hh"),
    ],
)
def test_wrong_tensors_are_refused(tmp_path: Path, spoil: Any, message: str) -> None:
    bundle = written(tmp_path / "b")
    arrays = {name: array.copy() for name, array in bundle.arrays.items()}
    spoil(arrays)
    rewrite_weights(tmp_path / "b", arrays)
    with pytest.raises(BundleError, match=message):
        load_bundle(tmp_path / "b")


def test_expected_tensors_follow_the_layers() -> None:
    shapes = expected_tensors(NETWORK)
    assert shapes["lstm.0.backward.weight_ih"] == (20, 2)
    assert shapes["lstm.1.forward.weight_ih"] == (12, 10)
    assert shapes["head.0.weight"] == (16, 3)
    assert shapes["output.bias"] == (3,)
    assert len(shapes) == 3 * 4 + 2 * 2


def bundle_for(sfreq: float, names: tuple[str, ...], units: tuple[str, ...], *, any_names: bool = False) -> Bundle:
    bundle = make_bundle(NETWORK, window_samples=10, hop_samples=5)
    wanted = BundleInput(sfreq=sfreq, ch_names=names, ch_units=units, any_names=any_names)
    return Bundle(BundleSettings.model_validate({**dict(bundle.settings), "input": wanted}), bundle.arrays)


def stream(sfreq: float, names: tuple[str, ...], units: tuple[str, ...]) -> StreamInfo:
    return StreamInfo("amp", "EEG", "id", sfreq, names, ("eeg",) * len(names), units)


def test_the_stream_it_was_made_for_is_accepted() -> None:
    check_stream(bundle_for(173.61, ("C3", "C4"), ("uV", "uV")), stream(173.610001, ("C3", "C4"), ("uV", "uV")))


def test_an_unknown_unit_of_the_bundle_accepts_any() -> None:
    check_stream(bundle_for(250.0, ("C3", "C4"), ("", "")), stream(250.0, ("C3", "C4"), ("V", "")))


def test_other_names_are_accepted_only_where_the_bundle_says_so() -> None:
    check_stream(bundle_for(250.0, ("C3",), ("uV",), any_names=True), stream(250.0, ("Oz",), ("uV",)))


@pytest.mark.parametrize(
    ("sfreq", "names", "units", "message"),
    [
        (173.7, ("C3", "C4"), ("uV", "uV"), r"rate 173\.7 Hz in place of 173\.61 Hz$"),
        (173.61, ("C4", "C3"), ("uV", "uV"), r"channel order C4, C3 in place of C3, C4$"),
        (173.61, ("C3", "Cz"), ("uV", "uV"), "channels C4 missing, Cz unknown$"),
        (173.61, ("C3", "C4"), ("uV", "V"), "unit 'V' in place of 'uV' in channel C4$"),
        (173.61, ("C3", "C4"), ("", "uV"), "unit '' in place of 'uV' in channel C3$"),
        (173.61, ("C3",), ("uV",), "1 channels in place of 2; channels C4 missing, none unknown$"),
        (
            250.0,
            ("C4", "C3"),
            ("V", "uV"),
            "rate .*; channel order .*; unit 'V' in place of 'uV' in channel C4$",
        ),
    ],
)
def test_every_difference_of_a_stream_is_said_in_one_line(
    sfreq: float, names: tuple[str, ...], units: tuple[str, ...], message: str
) -> None:
    bundle = bundle_for(173.61, ("C3", "C4"), ("uV", "uV"))
    with pytest.raises(StreamMismatch, match=f"bundle 'test' was made for, got 'amp' with {message}") as caught:
        check_stream(bundle, stream(sfreq, names, units))
    assert "\n" not in str(caught.value)
