"""Prompt templates: what is put around the name of a domain before CLIP reads it; `{}` stands for the name.

CLIP's zero-shot classifiers average the embeddings of many such prompts (arXiv 2103.00020, section 3.1.4), so that what
one wording brings along matters less. An experiment file takes one of these lists, or any other, for
`config.prompt_templates`. A template holds no comma, which separates them on the command line:

    --config.prompt_templates="'a photo of {}','art of {}'"
"""

PLAIN_TEMPLATES = ('{}',)  # the text alone

# Wordings of CLIP's ImageNet ensemble that leave the subject and its number open. Texts bring their own article here:
# 'a face', 'a pencil sketch of a face'.
CLIP_TEMPLATES = (
    '{}.',
    'a photo of {}.',
    'a bad photo of {}.',
    'a good photo of {}.',
    'a bright photo of {}.',
    'a dark photo of {}.',
    'a blurry photo of {}.',
    'a low resolution photo of {}.',
    'a cropped photo of {}.',
    'a close-up photo of {}.',
    'a jpeg corrupted photo of {}.',
    'a black and white photo of {}.',
    'a rendering of {}.',
    'a rendition of {}.',
    'art of {}.',
    'itap of {}.',
)

# The miniature's CLIPs have read captions of the form 'a photo of a head with brown hair and freckles', and know no
# other words. The attributes differ from template to template, so that none of them is part of the direction.
MINIATURE_TEMPLATES = (
    '{}',
    '{} with short brown hair and fair skin',
    '{} with long blonde hair and tan skin',
    '{} with curly black hair and dark skin',
    '{} with red hair and green eyes',
    '{} with black hair and round glasses',
    '{} with a plain blue shirt and brown eyes',
    '{} with a striped red shirt and a big smile',
    '{} with white hair and a full beard',
    '{} with brown pigtails and freckles',
)
