"""What a command can be told: the YAML schema with every default, and how files, environment and overrides make it.

config = load_config(Path("configs/demo.yaml"), ["data=my/folder", "limits.questions=60"])

docs/configuration.md lists every key; arbiter/config/reference.py writes it.
"""

from arbiter.config.loading import load_config, load_data_keys
from arbiter.config.schema import Config, config_faults
from arbiter.config.sections import (
    STANDARD_ADAPTERS,
    STANDARD_ARMS,
    ArmConfig,
    EmbeddingConfig,
    LimitsConfig,
    RequireConfig,
)

__all__ = [
    "STANDARD_ADAPTERS",
    "STANDARD_ARMS",
    "ArmConfig",
    "Config",
    "EmbeddingConfig",
    "LimitsConfig",
    "RequireConfig",
    "config_faults",
    "load_config",
    "load_data_keys",
]
