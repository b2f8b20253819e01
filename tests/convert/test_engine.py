"""The engine on tables of its own: nothing is dropped, doubled or missed in silence."""

from __future__ import annotations

import numpy as np
import pytest

from convert.engine import CONVOLUTION, FEATURE_MAP, LINEAR, SAME, Ignore, Layout, Use, convert_arrays, model_shapes
from convert.errors import ConversionError


def array(*shape: int) -> np.ndarray:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def problems(source, table, shapes) -> list[str]:
    with pytest.raises(ConversionError) as caught:
        convert_arrays(source, table, shapes)
    head, *listed = str(caught.value).split('\n  ')
    return listed or [head.removeprefix('does not fit the model: ').removesuffix('.')]


def test_layouts():
    assert LINEAR(array(2, 3)).shape == (3, 2)
    assert CONVOLUTION(array(2, 3, 4, 5)).shape == (4, 5, 3, 2)
    assert FEATURE_MAP(array(2, 3, 4)).shape == (3, 4, 2)
    np.testing.assert_array_equal(CONVOLUTION(array(2, 3, 4, 5))[3, 2, 1, 0], array(2, 3, 4, 5)[0, 1, 3, 2])
    np.testing.assert_array_equal(Layout((1, 0), third=1)(array(6, 4)), array(6, 4)[2:4].T)
    np.testing.assert_array_equal(Layout(third=2)(array(9)), array(9)[6:])
    for layout, shape in ((LINEAR, (2,)), (CONVOLUTION, (2, 3)), (Layout(third=0), (4,)), (Layout(third=0), ())):
        with pytest.raises(ValueError, match=r'axes|thirds'):
            layout(array(*shape))


def test_arrays_and_report():
    table = (
        Use.one(r'(\w+)\.w', LINEAR, r'new.\1'),
        Use(r'joint', (('part.0', Layout(third=0)), ('part.1', Layout(third=1)), ('part.2', Layout(third=2)))),
        Ignore(r'old.*', 'it is old'),
    )
    source = {'a.w': array(2, 3), 'old': array(1), 'joint': array(6), 'older': np.ones(2, np.int64)}
    shapes = {'part.2': (2,), 'part.1': (2,), 'part.0': (2,), 'new.a': (3, 2)}
    arrays, report = convert_arrays(source, table, shapes)
    assert list(arrays) == list(shapes)
    assert [np.asarray(arrays[f'part.{index}']).tolist() for index in range(3)] == [[0, 1], [2, 3], [4, 5]]
    np.testing.assert_array_equal(arrays['new.a'], array(2, 3).T)
    assert np.shares_memory(np.asarray(arrays['new.a']), source['a.w'])  # a view: nothing was copied
    assert report.used == ('a.w', 'joint')
    assert report.ignored == {'it is old': ('old', 'older')}
    assert report.filled == tuple(shapes)
    assert report.values == 12


def test_names_are_matched_in_full():
    table = (Use.one('a', SAME),)
    assert problems({'a': array(1), 'ab': array(1), 'ba': array(1)}, table, {'a': (1,)}) == [
        'ab [1] is unknown',
        'ba [1] is unknown',
    ]


def test_each_entry_has_one_rule_and_each_array_one_entry():
    table = (Use.one('a', SAME), Ignore('[ab]', 'why not'), Use.one('c|d', SAME, 'both'), Use.one('e', SAME))
    source = {name: array(1) for name in 'abcde'}
    assert problems(source, table, {'both': (1,), 'a': (1,)}) == [
        'a [1] is claimed by several rules',
        'both would be filled twice',
        'e [1] has no place in the model',
        'a [1] is missing',
    ]


def test_ignored_entries_must_have_the_expected_value():
    table = (Ignore('a|b|c', 'constant', expected=np.ones(2, np.float32)),)
    source = {'a': np.ones(2, np.float32), 'b': np.zeros(2, np.float32), 'c': np.ones(3, np.float32)}
    expected = [f'{name} has not the value that the model takes for granted' for name in 'bc']
    assert problems(source, table, {}) == expected


def test_model_of_impossible_sizes():
    def build():
        raise ZeroDivisionError('width 0')

    with pytest.raises(ConversionError, match='impossible sizes: width 0'):
        model_shapes(build)


@pytest.mark.parametrize('dtype', [np.float64, np.int32, np.bool_])
def test_types_that_float32_cannot_hold(dtype):
    assert problems({'a': np.ones(2, dtype)}, (Use.one('a', SAME),), {'a': (2,)}) == [
        f'a is {np.dtype(dtype).name}, which float32 cannot hold exactly'
    ]
