"""The two tables of a store: published scenes and trained models. How they lie there: ``storage.table``."""

from collections.abc import Sequence
from dataclasses import replace

from storage.catalog_rows import CatalogRow
from storage.model_rows import ModelRow
from storage.parquet_rows import utc_now
from storage.store import Store
from storage.table import Table

CATALOG = "catalog"
MODEL_CATALOG = "catalog-models"


class Catalog(Table[CatalogRow]):
    """The published scenes of a store, in ``catalog/``."""

    def __init__(self, store: Store) -> None:
        super().__init__(store, CATALOG, CatalogRow)

    def tag(self, row: CatalogRow, tags: Sequence[str]) -> CatalogRow:
        """The row of a listed scene with other tags, which counts from now on; when the scene was published stays."""
        tagged = replace(row, tags=tuple(sorted(set(tags))), tagged_at=utc_now())
        self.replace(tagged)
        return tagged


class ModelCatalog(Table[ModelRow]):
    """The published models of a store, in ``catalog-models/``."""

    def __init__(self, store: Store) -> None:
        super().__init__(store, MODEL_CATALOG, ModelRow)
