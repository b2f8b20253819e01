"""What the metrics that need no target pictures mean, in words."""

from typing import NamedTuple

from adaptation.evaluation import geometry, multiview

NORMAL = ' Interval: normal, from the standard error over samples.'
JACKKNIFE = ' Interval: delete-a-group jackknife over samples.'
YARDSTICK = ' (The source generator, as a yardstick.)'

SEEN = f'pixels whose rendered weight is at least {geometry.SEEN:g} in both'


class Definition(NamedTuple):
    """A metric's words; `better` is 'lower', 'higher' or None."""

    title: str
    better: str | None
    about: str


_IDENTITY = (
    'Mean cosine between {network} of the source image and of the adapted image, for the same latent and camera; '
    '1 is the same picture.{caveat}' + NORMAL
)
_CLIP = 'CLIP image embeddings'
_CLIP_CAVEAT = (
    ' Not a face recognition network: the embedding changes with the style too, and its encoders (of which this is the '
    'mean) guided the adaptation.'
)
_FACES = 'ArcFace embeddings'
_FACES_CAVEAT = ' It was trained on photographs: a drawn face can lose likeness to it and not to people.'

_YAW = (
    f'Mean cosine between {{network}} of two views of one head, {multiview.YAW_STEP:g} rad of yaw apart; '
    '1 is the same picture.' + NORMAL
)

_REPROJECTION = (
    f'Mean absolute colour difference, in [0, 1], between a view and a second one {multiview.YAW_STEP:g} rad of yaw '
    f'to the side, at the pixels that the rendered depth carries over: inside the second picture, rendered weight at '
    f'least {geometry.SEEN:g} in both, and a depth there within {multiview.DEPTH_TOLERANCE:.0%} of the ray range of '
    f"the point's distance; at the depth map's resolution." + NORMAL
)

VALUES: dict[str, Definition] = {
    'identity_arcface': Definition(
        'Identity (ArcFace)', 'higher', _IDENTITY.format(network=_FACES, caveat=_FACES_CAVEAT)
    ),
    'identity_clip': Definition('Identity (CLIP)', 'higher', _IDENTITY.format(network=_CLIP, caveat=_CLIP_CAVEAT)),
    'depth_difference': Definition(
        'Depth difference',
        'lower',
        'Mean absolute difference between the depth maps of the source and the adapted generator (expected distance '
        f'along the ray), in world units, over {SEEN}, averaged over images. The paper does not say how its own figure '
        'is defined.' + NORMAL,
    ),
    'occupancy_drift': Definition(
        'Geometry drift',
        'lower',
        f'Mean absolute change of occupancy (the share of light that a cell takes, in [0, 1]) over {geometry.GRID}^3 '
        'cells of the whole cube of the planes, unseen space included.' + NORMAL,
    ),
    'occupancy_iou': Definition(
        'Geometry overlap (IoU)',
        'higher',
        f'Intersection over union of the cells of that grid whose occupancy is at least {geometry.OCCUPIED:g} in the '
        'source and in the adapted generator.' + NORMAL,
    ),
    'multiview_error_adapted': Definition('Re-projection error', 'lower', _REPROJECTION),
    'multiview_error_source': Definition('Re-projection error, source', None, _REPROJECTION + YARDSTICK),
    'multiview_compared_adapted': Definition(
        'Re-projection, share of pixels compared', None, 'Share of pixels that passed its tests.' + NORMAL
    ),
    'multiview_compared_source': Definition(
        'Re-projection, share of pixels compared, source',
        None,
        'Share of pixels that passed its tests.' + NORMAL + YARDSTICK,
    ),
    'yaw_identity_arcface_adapted': Definition('Identity across yaw (ArcFace)', 'higher', _YAW.format(network=_FACES)),
    'yaw_identity_arcface_source': Definition(
        'Identity across yaw (ArcFace), source', None, _YAW.format(network=_FACES) + YARDSTICK
    ),
    'yaw_identity_clip_adapted': Definition('Identity across yaw (CLIP)', 'higher', _YAW.format(network=_CLIP)),
    'yaw_identity_clip_source': Definition(
        'Identity across yaw (CLIP), source', None, _YAW.format(network=_CLIP) + YARDSTICK
    ),
}

_COPIES = (
    'Share of samples that are nearer to the reference, in CLIP cosine distance, than all but the nearest 5 % of pairs '
    'of different {pictures} are to each other: about 0.05 where the samples are like {pictures} of many heads, 1 '
    "where they are all the reference. Interval: Wilson's."
)

SETS: dict[str, Definition] = {
    'diversity_clip': Definition(
        "Diversity, share of the source's",
        'higher',
        'Mean CLIP cosine distance between two different adapted samples, divided by that between two different source '
        'samples; 0 is one picture for all, 1 is as different as the source. With one reference there is one cluster, '
        'so this is the intra-cluster distance too. The encoders guided the adaptation.' + JACKKNIFE,
    ),
    'reference_distance_clip': Definition(
        'Distance to the reference (CLIP)',
        None,
        'Mean CLIP cosine distance between an adapted sample and the reference: lower is nearer in style, but 0 would '
        'be the reference itself.' + JACKKNIFE,
    ),
    'reference_distance_clip_source': Definition(
        'Distance to the reference (CLIP), source',
        None,
        'Mean CLIP cosine distance between a source sample and the reference.' + JACKKNIFE + YARDSTICK,
    ),
    'reference_copies': Definition('Copies of the reference', 'lower', _COPIES.format(pictures='source samples')),
    'reference_copies_target': Definition(
        'Copies of the reference, by target pictures', 'lower', _COPIES.format(pictures='target pictures')
    ),
}
