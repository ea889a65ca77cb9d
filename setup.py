"""The packages of a wheel; all else that installing needs stands in pyproject.toml.

The settings of the data sets lie in configs/ and become part of the package, which
pyproject.toml alone cannot say beside a search for packages.
"""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["dam_tf*"]), "dam_tf.configs"],
    package_dir={"dam_tf.configs": "configs"},
    package_data={"dam_tf.configs": ["*.toml", "*/*.toml"]},
)
