"""A row of the catalog of models."""

from dataclasses import dataclass

from storage.names import check_digest, check_model_id
from storage.parquet_rows import check_time


@dataclass(frozen=True)
class ModelRow:
    """One published model.

    uri: its folder when it was published. created_at: UTC, as ``utc_now`` writes it. size: of the network, like "tiny".
    parameters: how many weights it has. text_encoder: whose embeddings its classes are. vocabulary: how many names it
    was trained on. scenes: how many it was trained on; data_digest: which. steps: of the optimiser. metrics: figures by
    name. bytes: stored size. settings: JSON.
    """

    model_id: str
    digest: str
    uri: str
    created_at: str
    size: str
    parameters: int
    text_encoder: str
    vocabulary: int
    scenes: int
    data_digest: str
    steps: int
    seed: int
    metrics: dict[str, float]
    bytes: int
    settings: str

    def __post_init__(self) -> None:
        check_model_id(self.model_id)
        check_digest(self.digest)
        check_time("created_at", self.created_at)

    @property
    def id(self) -> str:
        return self.model_id

    @property
    def listed_at(self) -> str:
        return self.created_at

    @property
    def written_at(self) -> str:
        return self.created_at
