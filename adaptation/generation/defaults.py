"""Defaults and limits of everything that is drawn. Importing them waits for nothing."""

import math

TRUNCATION = 0.7
STRONGEST = 1.5  # times the way from source to adapted weights

LARGEST_SEED = 2**31 - 1  # of reports and of the viewer; other commands take any below 2^32

VIEWS = 3
MOST_VIEWS = 100
YAW = 0.4  # radians: how far pictures and films turn to either side
LARGEST_YAW = math.pi
LARGEST_PITCH = 1.4  # radians; the poles, at pi / 2, have no "up"

TURNTABLE, INTERPOLATION = KINDS = ('turntable', 'interpolation')
TURNTABLE_FRAMES = 60
FRAMES_PER_SEED = 30  # of an interpolation
MOST_FRAMES = 100_000
FPS = 24.0
LARGEST_FPS = 240.0

MP4, GIF, WEBP = FILM_FORMATS = ('mp4', 'gif', 'webp')
PLY, GLB = MESH_FORMATS = ('ply', 'glb')

LEVEL = 25.0  # density of a mesh's surface, in 1 / world unit: a 25th of a unit behind it, light has fallen to 1 / e
CROP = 0.88  # radius of the sphere that holds the head, in halves of the box's side
LARGEST_CROP = math.sqrt(3)  # that reaches the corners
SMALLEST_GRID, LARGEST_GRID = 16, 512  # points of a side
LARGEST_DEFAULT_GRID = 256
TEXTURE = 1024  # texels of a side
SMALLEST_TEXTURE, LARGEST_TEXTURE = 64, 8192
