import os
import subprocess
import sys


def test_ctrl_c_while_modules_are_imported_ends_without_a_traceback(tmp_path):
    (tmp_path / "typer.py").write_text("raise KeyboardInterrupt\n")

    ended = subprocess.run(
        [sys.executable, "-m", "imctl", "--version"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")


def test_the_module_runs_the_command():
    ended = subprocess.run([sys.executable, "-m", "imctl", "--version"], capture_output=True, text=True, timeout=60)

    assert ended.returncode == 0
    assert ended.stdout.startswith("imctl ")
