"""A model's AP on published scenes with truth."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from ovseg3r_model.benchmark_files import read_scenes, write_predictions, write_truth
from ovseg3r_model.benchmark_summary import BenchmarkSummary, benchmark_summary, scannet200_names, scannet200_subsets
from ovseg3r_model.errors import InputError
from storage.catalog import Catalog
from storage.model_store import ModelStore
from storage.selection import SelectionSettings, select
from storage.store import Store
from tasks.evaluate import Classes, judged_scenes, summarise, true_names
from tasks.found import on_device
from tasks.model_files import find_model, keys_of, read_model

TRAINED, NEVER = "trained on", "never trained on"
PREDICTIONS, TRUTH = "predictions", "truth"


def evaluate_model(
    store: Store,
    model_id: str,
    selection: SelectionSettings,
    asked: Mapping[str, str],
    device: str,
    write: Path | None,
    words: Sequence[str] = (),
) -> BenchmarkSummary:
    """AP over the classes that the scenes hold, over those that the model was and was not trained on, and, where the
    names are ScanNet200's, over that benchmark's groups.

    Args:
        asked: by name, another word to ask for.
        words: what else to ask for, besides the names that the scenes hold; of ScanNet200's names, all are.
        write: a new folder for predictions and truth in the benchmark's text format.

    Raises:
        InputError: there is no such model, no scene is selected, the truth of one is not known, or ``asked`` has a name
            that none holds, or ``write`` cannot be written to.
    """
    if write is not None:
        _check_new(write)
    model, encoder = read_model(store, find_model(store, model_id))
    scenes = keys_of(select(Catalog(store).rows(), selection))
    if not scenes:
        raise InputError(f"{store.url}: the selection holds no scene; `ovseg3r catalog` lists them with their tags.")
    names = true_names(store, scenes)
    unknown = sorted(set(asked) - set(names))
    if unknown:
        raise InputError(f"No scene holds {unknown[0]!r}, for which a word is given; they hold: {', '.join(names)}.")
    every = _every_class(names, words)
    classes = _classes(every, asked)
    learned = set(model.vocabulary)
    subsets = {
        TRAINED: [name for name in names if name in learned],
        NEVER: [name for name in names if name not in learned],
    }
    if set(names) <= set(scannet200_names().values()):
        by_id = scannet200_names()
        subsets |= {group: [by_id[i] for i in ids if by_id[i] in names] for group, ids in scannet200_subsets().items()}
    judged = judged_scenes(store, on_device(model, device), encoder, scenes, classes)
    if write is None:
        return summarise((pair for _, pair in judged), classes, subsets)
    kept = list(judged)
    try:
        write_predictions(write / PREDICTIONS, [(scene, predicted) for scene, (_, predicted) in kept])
        write_truth(write / TRUTH, [(scene, truth) for scene, (truth, _) in kept])
    except OSError as error:
        raise InputError(f"{write}: cannot be written to ({error.strerror}); name another folder.") from error
    return summarise((pair for _, pair in kept), classes, subsets)


def learned_from(store: Store, model_id: str, selection: SelectionSettings) -> tuple[str, ...]:
    """The selected scenes that the model was trained on, or whose film it was: there, AP says little."""
    row = find_model(store, model_id)
    sources = set(ModelStore(store).read(row.model_id, row.digest).manifest["sources"])
    return tuple(row.scene_id for row in select(Catalog(store).rows(), selection) if row.source_digest in sources)


def check_choice(model: str | None, predictions: Path | None, truth: Path | None) -> tuple[Path, Path] | None:
    """The two folders; None where a model is to be judged.

    Raises:
        InputError: neither or both are given, or one folder alone.
    """
    if (predictions is None) != (truth is None):
        raise InputError("Predictions and their truth are judged together: give both, --predictions and --truth.")
    if (model is None) == (predictions is None):
        raise InputError("Name one thing to judge: a MODEL, or files with --predictions and --truth.")
    return None if predictions is None or truth is None else (predictions, truth)


def evaluate_files(predictions: Path, truth: Path) -> BenchmarkSummary:
    """AP of the benchmark's own files, over ScanNet200's classes and groups.

    Raises:
        InputError: a file cannot be read, or is not as the format has it.
    """
    names = scannet200_names()
    return benchmark_summary(read_scenes(predictions, truth, names), names, scannet200_subsets())


def _every_class(names: Sequence[str], words: Sequence[str]) -> tuple[str, ...]:
    """The classes to ask for: the more there are, the harder it is to name a thing rightly."""
    benchmark = set(scannet200_names().values())
    return tuple(sorted({*names, *words, *(benchmark if set(names) <= benchmark else ())}))


def _check_new(folder: Path) -> None:
    """What would be found too late: after the evaluation."""
    for part in (PREDICTIONS, TRUTH):
        if (folder / part).exists():
            raise InputError(f"{folder / part}: is there already; name a new folder.")


def _classes(names: tuple[str, ...], asked: Mapping[str, str]) -> Classes:
    """ScanNet200's own ids where all names are its, else numbers from 1."""
    known = {name: i for i, name in scannet200_names().items()}
    ids = {name: known[name] for name in names} if set(names) <= set(known) else None
    return Classes(ids or {name: k + 1 for k, name in enumerate(names)}, {n: asked.get(n, n) for n in names})
