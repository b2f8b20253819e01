"""How near a reference's counterpart is to the head that it shows."""

import json
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from adaptation.inversion.latents import w_basis
from adaptation.pair import Counterpart
from benchmarks import counterparts
from eg3d_jax.cameras import orbit_cameras
from miniature.references import PITCH, YAW


def test_views_are_told_apart_in_degrees():
    camera = counterparts.load_source('miniature').config.camera
    found, true = (
        np.asarray(orbit_cameras(jnp.array([yaw]), jnp.array([pitch]), camera))
        for yaw, pitch in ((0.3, -0.1), (0.1, 0.05))
    )
    assert counterparts.view_error(found, true) == pytest.approx(np.degrees((0.2, 0.15)), abs=1e-3)
    assert counterparts.view_error(true, true) == (0, 0)


def test_psnr_is_that_of_the_mean_square():
    one = np.zeros((1, 4, 4, 3), np.float32)
    assert counterparts.psnr(one, one + 0.2) == pytest.approx(20.0, abs=1e-3)


def test_what_is_found_is_compared_with_the_photograph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The mean head, said to be found, has the numbers of the mean head."""
    asked: list[Any] = []

    def mean_head(generator: Any, clips: Any, layers: Any, embeddings: Any, reference: Any, camera: Any) -> Counterpart:
        asked.append((np.asarray(reference), [len(known) for known in embeddings], layers))
        ws = jnp.broadcast_to(w_basis(generator, camera).mean, (1, generator.config.num_ws, generator.config.w_dim))
        return Counterpart(ws, orbit_cameras(jnp.array([YAW]), jnp.array([PITCH]), camera))

    monkeypatch.setattr(counterparts, 'find_counterpart', mean_head)
    monkeypatch.setattr(counterparts, 'KNOWN', 16)
    flags = ['--styles', 'ukiyoe', '--references=1', f'--workdir={tmp_path / "run"}', f'--output={tmp_path / "out.md"}']
    assert counterparts.main(flags) == 0
    ((reference, known, layers),) = asked
    assert reference.shape == (128, 128, 3)
    assert (known, layers) == ([16, 16], [1, 1])
    (record,) = json.loads((tmp_path / 'out.json').read_text())
    assert record['psnr'] == pytest.approx(record['psnr_of_mean'], abs=1e-3)
    assert 5 < record['psnr'] < 25
    assert record['attributes'] == record['attributes_of_mean'] < 1
    assert record['yaw_error'] == record['pitch_error'] == pytest.approx(0, abs=1e-4)
    with Image.open(tmp_path / 'run' / 'counterparts.png') as picture:
        assert picture.size == (4 * 128, 128)
    assert (tmp_path / 'out.md').read_text().splitlines()[4] == '| | ukiyoe |'


def test_no_references_are_refused(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as stopped:
        counterparts.main(['--references=0'])
    assert stopped.value.code == 2
    assert 'expected at least 1, got 0' in capsys.readouterr().err
