"""What a command can be told: the YAML schema with every default, and how files, environment and overrides make it.

config = load_config(Path("configs/demo.yaml"), ["data=my/folder", "limits.questions=60"])

docs/configuration.md lists every key; arbiter/config/reference.py writes it.
"""

from arbiter.config.arms import STANDARD_ADAPTERS, STANDARD_ARMS, ArmConfig
from arbiter.config.loading import data_home, load_config, load_data_keys
from arbiter.config.policy import PolicyConfig, RequireConfig
from arbiter.config.retrieval import EmbeddingConfig, FactoryConfig, IndexConfig
from arbiter.config.schema import Config, config_faults

__all__ = [
    "STANDARD_ADAPTERS",
    "STANDARD_ARMS",
    "ArmConfig",
    "Config",
    "EmbeddingConfig",
    "FactoryConfig",
    "IndexConfig",
    "PolicyConfig",
    "RequireConfig",
    "config_faults",
    "data_home",
    "load_config",
    "load_data_keys",
]
