"""Puts the published results, which lie in baselines/, into the wheel; everything else stands in pyproject.toml."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

TABLE = Path("baselines/published/compressed_trust.csv")


class WithPublishedResults(build_py):
    """`build_py` that copies the table beside the package's own data. An editable install reads it in place."""

    def run(self) -> None:
        """Copy the modules, then the table."""
        super().run()
        if not self.editable_mode:
            target = Path(self.build_lib, "trust_tests/data/published", TABLE.name)
            self.mkpath(str(target.parent))
            self.copy_file(str(TABLE), str(target), preserve_mode=False)


setup(cmdclass={"build_py": WithPublishedResults})
