import subprocess
import sys


def test_the_generator_needs_numpy_alone():
    code = "import sys; from chronos_assets.kernelsynth import windows; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "pandas", "scipy", "dagster", "gluonts", "chronos"} & set(loaded)
