"""The group of a request about who checks, embeds and predicts images."""

from typing import Literal, Self

from pydantic import Field, model_validator

from flows.group_config import Group


class ShardsConfig(Group):
    """Who carries out the work on images, which is divided into shards of some hundreds; results are the same."""

    runner: Literal["threads", "dask"] = Field(
        default="threads",
        description="`threads` of this machine, or the workers of a `dask` cluster, which see the images and "
        "Keeneye's home at the same paths.",
        json_schema_extra={"position": 1},
    )
    address: str = Field(
        default="",
        pattern=r"^((tcp|tls)://[A-Za-z0-9._:\[\]-]+:[0-9]{1,5})?$",
        description="Dask's scheduler, as tcp://HOST:PORT, or tls://HOST:PORT with the certificates of Dask's own "
        "configuration.",
        json_schema_extra={"position": 2},
    )
    threads: int = Field(
        default=0,
        ge=0,
        le=256,
        description="Threads of this machine that compute at once; 0 means one per core.",
        json_schema_extra={"position": 3},
    )

    @model_validator(mode="after")
    def _names_a_cluster_where_there_is_one(self) -> Self:
        if self.runner == "dask" and not self.address:
            raise ValueError("shards.runner dask needs shards.address, such as tcp://127.0.0.1:8786")
        if self.runner == "dask" and self.threads:
            raise ValueError("shards.threads does nothing with shards.runner dask; give the workers their threads")
        if self.runner == "threads" and self.address:
            raise ValueError("shards.address does nothing with shards.runner threads; leave it out, or choose dask")
        return self
